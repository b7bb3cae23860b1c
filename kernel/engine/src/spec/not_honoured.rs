//! What is said of a key of a Compose file that a target does not honour: written and read in one place.

use std::fmt;

use code_deploy_record::Finding;

/// How the cure of a finding begins that asks nothing of anybody who meant what it is about.
pub const MEANT: &str = "Nothing, if that is meant";

/// What is said behind the service.
const WORDS: &str = " is not honoured";

/// What stands around a name.
const MARK: char = '\u{60}';

/// A key of a service in a Compose file that a target does not honour. Written out, it is the message of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHonoured<'a> {
    /// The key: `deploy.resources.limits`.
    pub key: &'a str,
    /// The service.
    pub service: &'a str,
    /// By whom not, or where: `by the local target`; empty where nobody does.
    pub place: &'a str,
    /// What that means.
    pub why: &'a str,
}

impl<'a> NotHonoured<'a> {
    /// Returns what a finding says that asks for nothing; nothing for one that asks for something, or is about
    /// something else.
    #[must_use]
    pub fn meant(finding: &'a Finding) -> Option<Self> {
        if !finding.cure.starts_with(MEANT) {
            return None;
        }
        let (about, rest) = finding.message.split_once(WORDS)?;
        let (key, service) = about.split_once(" of ")?;
        let (place, why) = rest.split_once(": ")?;
        if !place.is_empty() && !place.starts_with(' ') {
            return None;
        }
        Some(Self {
            key: bare(key)?,
            service: bare(service)?,
            place: place.trim_start(),
            why,
        })
    }

    /// Returns by whom it is not honoured, or where, as it stands behind `is not honoured`: with a space before it.
    #[must_use]
    pub fn where_not(&self) -> String {
        match self.place {
            "" => String::new(),
            place => format!(" {place}"),
        }
    }
}

impl fmt::Display for NotHonoured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, service, why, ..
        } = self;
        write!(
            f,
            "`{key}` of `{service}`{WORDS}{}: {why}",
            self.where_not()
        )
    }
}

/// Returns a name without the marks of code around it.
fn bare(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)?.strip_suffix(MARK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::Severity;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let said = NotHonoured {
            key: "deploy.resources.limits",
            service: "web",
            place: "on Docker",
            why: "one of: this, that",
        };
        let finding = |cure: &str| Finding {
            rule: "compose/deploy".to_owned(),
            severity: Severity::Info,
            place: "compose.yaml:3 web".to_owned(),
            message: said.to_string(),
            cure: cure.to_owned(),
        };
        let meant = finding("Nothing, if that is meant.");
        assert_eq!(NotHonoured::meant(&meant), Some(said));
        assert_eq!(NotHonoured::meant(&finding("Take it out.")), None);
        let other = Finding {
            message: "one port is routed".to_owned(),
            ..meant
        };
        assert_eq!(NotHonoured::meant(&other), None);
        let nowhere = NotHonoured { place: "", ..said };
        let finding = Finding {
            message: nowhere.to_string(),
            ..other
        };
        let words = "`deploy.resources.limits` of `web` is not honoured: one of: this, that";
        assert_eq!(finding.message, words);
        assert_eq!(NotHonoured::meant(&finding), Some(nowhere));
    }
}
