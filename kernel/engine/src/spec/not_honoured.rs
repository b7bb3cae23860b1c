//! What of the files a target does not honour: in words, and as data for who gathers what is alike.

use std::fmt;

use code_deploy_record::{Finding, Severity};

/// How the cure of a key begins that asks nothing of anybody who meant it.
pub const MEANT: &str = "Nothing, if that is meant";

/// Something of the files that a target does not honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is told of it. One of severity `Critical` refuses the run.
    pub finding: Finding,
    /// The key of a Compose file that it is about; nothing where it is about something else.
    pub key: Option<NotHonoured>,
}

impl Limit {
    /// Returns that a key at a place of a file is not honoured.
    #[must_use]
    pub fn of_key(
        key: NotHonoured,
        rule: String,
        severity: Severity,
        place: String,
        cure: String,
    ) -> Self {
        let finding = Finding {
            rule,
            severity,
            place,
            message: key.to_string(),
            cure,
        };
        Self {
            finding,
            key: Some(key),
        }
    }

    /// Returns the key where it asks nothing of anybody who meant it.
    #[must_use]
    pub fn meant(&self) -> Option<&NotHonoured> {
        self.key.as_ref().filter(|key| key.meant)
    }
}

impl From<Finding> for Limit {
    fn from(finding: Finding) -> Self {
        Self { finding, key: None }
    }
}

/// A key of a service in a Compose file that a target does not honour. Written out, it is the message of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHonoured {
    /// The key: `deploy.resources.limits`.
    pub key: String,
    /// The service.
    pub service: String,
    /// By whom not, or where: `by the local target`; empty where nobody does.
    pub place: String,
    /// What that means.
    pub why: String,
    /// Whether that asks nothing of anybody who meant it.
    pub meant: bool,
}

impl NotHonoured {
    /// Returns by whom it is not honoured, or where, as it stands behind `is not honoured`: with a space before it.
    #[must_use]
    pub fn where_not(&self) -> String {
        match self.place.as_str() {
            "" => String::new(),
            place => format!(" {place}"),
        }
    }
}

impl fmt::Display for NotHonoured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, service, why, ..
        } = self;
        let place = self.where_not();
        write!(f, "`{key}` of `{service}` is not honoured{place}: {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_with_its_place_where_it_has_one() {
        let key = NotHonoured {
            key: "deploy.resources.limits".to_owned(),
            service: "web".to_owned(),
            place: "on Docker".to_owned(),
            why: "one of: this, that".to_owned(),
            meant: true,
        };
        let words =
            "`deploy.resources.limits` of `web` is not honoured on Docker: one of: this, that";
        assert_eq!(key.to_string(), words);
        let nowhere = NotHonoured {
            place: String::new(),
            ..key
        };
        let words = "`deploy.resources.limits` of `web` is not honoured: one of: this, that";
        assert_eq!(nowhere.to_string(), words);
    }

    #[test]
    fn only_a_key_that_asks_nothing_is_meant() {
        let key = |meant| NotHonoured {
            key: "image".to_owned(),
            service: "web".to_owned(),
            place: "here".to_owned(),
            why: "the command is run".to_owned(),
            meant,
        };
        let limit = |meant| {
            let (rule, place) = ("compose/image".to_owned(), "compose.yaml:3 web".to_owned());
            Limit::of_key(key(meant), rule, Severity::Info, place, format!("{MEANT}."))
        };
        assert_eq!(limit(true).meant(), Some(&key(true)));
        assert_eq!(limit(false).meant(), None);
        assert_eq!(Limit::from(limit(true).finding).meant(), None);
    }
}
