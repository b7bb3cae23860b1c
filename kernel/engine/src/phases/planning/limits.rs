//! What the target does not honour of the files, told so that what needs a person stands out.

use code_deploy_record::{Finding, Report};

use crate::spec::{Limit, NotHonoured};

/// Keys that are not honoured at one place, whose findings have one cure.
struct Alike<'a> {
    cure: &'a str,
    /// One of them.
    one: &'a NotHonoured,
    /// Keys with the reason and the places of each in files.
    keys: Vec<(&'a str, &'a str, Vec<&'a str>)>,
}

impl Alike<'_> {
    fn places(&self) -> usize {
        self.keys.iter().map(|(.., places)| places.len()).sum()
    }

    fn text(&self) -> String {
        let keys = self
            .keys
            .iter()
            .map(|(key, why, places)| format!("`{key}` ({}): {why}", places.join(", ")));
        let keys: Vec<String> = keys.collect();
        format!(
            "{} entries, of which each is not honoured{}: {}. {}",
            self.places(),
            self.one.where_not(),
            keys.join("; "),
            self.cure
        )
    }

    fn is_like(&self, key: &NotHonoured, finding: &Finding) -> bool {
        self.cure == finding.cure && self.one.place == key.place
    }
}

/// Adds the limits: one line each, but for those that ask for nothing, which share one.
pub(super) fn told(mut report: Report, limits: &[Limit]) -> Report {
    let mut all: Vec<Alike<'_>> = Vec::new();
    for limit in limits {
        if let Some(key) = limit.meant() {
            add(&mut all, key, &limit.finding);
        }
    }
    all.retain(|alike| alike.places() > 1);
    let folded = |limit: &Limit| {
        let key = limit.meant();
        key.is_some_and(|key| all.iter().any(|alike| alike.is_like(key, &limit.finding)))
    };
    for alike in &all {
        report = report.with_text(alike.text());
    }
    for limit in limits.iter().filter(|limit| !folded(limit)) {
        let Finding {
            place,
            message,
            cure,
            ..
        } = &limit.finding;
        report = report.with_text(format!("{place}: {message}. {cure}"));
    }
    report
}

fn add<'a>(all: &mut Vec<Alike<'a>>, key: &'a NotHonoured, finding: &'a Finding) {
    let (name, why) = (key.key.as_str(), key.why.as_str());
    let (cure, file) = (finding.cure.as_str(), finding.place.as_str());
    let keys = vec![(name, why, vec![file])];
    let mut known = all.iter_mut();
    let Some(alike) = known.find(|alike| alike.is_like(key, finding)) else {
        let one = key;
        all.push(Alike { cure, one, keys });
        return;
    };
    let mut known = alike.keys.iter_mut();
    match known.find(|(other, reason, _)| *other == name && *reason == why) {
        Some((.., places)) => places.push(file),
        None => alike.keys.extend(keys),
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_record::{Block, Severity};

    use super::*;

    fn limit(place: &str, (key, service): (&str, &str), why: &str) -> Limit {
        let key = NotHonoured {
            key: key.to_owned(),
            service: service.to_owned(),
            place: "here".to_owned(),
            why: why.to_owned(),
            meant: true,
        };
        let cure = "Nothing, if that is meant.".to_owned();
        let (rule, place) = ("compose/key".to_owned(), place.to_owned());
        Limit::of_key(key, rule, Severity::Info, place, cure)
    }

    fn texts(limits: &[Limit]) -> Vec<String> {
        let report = told(Report::new(), limits);
        let texts = report.blocks.into_iter().filter_map(|block| match block {
            Block::Text { text } => Some(text),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn what_asks_for_nothing_shares_one_line_and_the_rest_has_its_own() {
        let port = Finding {
            rule: "local/port".to_owned(),
            severity: Severity::Low,
            place: "compose.yaml:4 web".to_owned(),
            message: "`web` is published at port 80".to_owned(),
            cure: "Write `port`.".to_owned(),
        };
        let run = "the command is run";
        let found = [
            limit("compose.yaml:3 web", ("image", "web"), run),
            Limit::from(port),
            limit("compose.yaml:9 api", ("image", "api"), run),
            limit(
                "compose.yaml:10 api",
                ("volumes", "api"),
                "it is not mounted",
            ),
        ];
        assert_eq!(
            texts(&found),
            [
                "3 entries, of which each is not honoured here: `image` (compose.yaml:3 web, compose.yaml:9 api): the \
                 command is run; `volumes` (compose.yaml:10 api): it is not mounted. Nothing, if that is meant.",
                "compose.yaml:4 web: `web` is published at port 80. Write `port`.",
            ]
        );
    }

    #[test]
    fn a_single_one_is_told_as_it_is() {
        let one = limit("compose.yaml:3 web", ("image", "web"), "the command is run");
        let line = "compose.yaml:3 web: `image` of `web` is not honoured here: the command is run. Nothing, if that is \
                    meant.";
        assert_eq!(texts(&[one]), [line]);
    }
}
