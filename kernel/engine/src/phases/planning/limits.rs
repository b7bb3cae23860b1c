//! What the target does not honour of the files, told so that what needs a person stands out.

use code_deploy_record::{Finding, Report};

use crate::spec::NotHonoured;

/// Keys that are not honoured at one place, whose findings have one cure.
struct Alike<'a> {
    cure: &'a str,
    /// One of what is said.
    said: NotHonoured<'a>,
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
            self.said.where_not(),
            keys.join("; "),
            self.cure
        )
    }
}

/// Adds the findings: one line each, but for those that ask for nothing, which share one.
pub(super) fn told(mut report: Report, findings: &[Finding]) -> Report {
    let mut all: Vec<Alike<'_>> = Vec::new();
    for finding in findings {
        if let Some(said) = NotHonoured::meant(finding) {
            add(&mut all, finding, said);
        }
    }
    all.retain(|alike| alike.places() > 1);
    let folded = |finding: &Finding| {
        let said = NotHonoured::meant(finding);
        let place = said.map(|said| said.place);
        let same =
            |alike: &Alike<'_>| alike.cure == finding.cure && Some(alike.said.place) == place;
        all.iter().any(same)
    };
    for alike in &all {
        report = report.with_text(alike.text());
    }
    for finding in findings.iter().filter(|finding| !folded(finding)) {
        let Finding {
            place,
            message,
            cure,
            ..
        } = finding;
        report = report.with_text(format!("{place}: {message}. {cure}"));
    }
    report
}

fn add<'a>(all: &mut Vec<Alike<'a>>, finding: &'a Finding, said: NotHonoured<'a>) {
    let NotHonoured {
        key, place, why, ..
    } = said;
    let (cure, file) = (finding.cure.as_str(), finding.place.as_str());
    let keys = vec![(key, why, vec![file])];
    let mut known = all.iter_mut();
    let Some(alike) = known.find(|one| one.cure == cure && one.said.place == place) else {
        all.push(Alike { cure, said, keys });
        return;
    };
    let mut known = alike.keys.iter_mut();
    match known.find(|(other, reason, _)| *other == key && *reason == why) {
        Some((.., places)) => places.push(file),
        None => alike.keys.extend(keys),
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_record::{Block, Severity};

    use super::*;

    fn finding(place: &str, message: &str, cure: &str) -> Finding {
        Finding {
            rule: "compose/key".to_owned(),
            severity: Severity::Info,
            place: place.to_owned(),
            message: message.to_owned(),
            cure: cure.to_owned(),
        }
    }

    fn texts(findings: &[Finding]) -> Vec<String> {
        let report = told(Report::new(), findings);
        let texts = report.blocks.into_iter().filter_map(|block| match block {
            Block::Text { text } => Some(text),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn what_asks_for_nothing_shares_one_line_and_the_rest_has_its_own() {
        let meant = "Nothing, if that is meant.";
        let found = [
            finding(
                "compose.yaml:3 web",
                "`image` of `web` is not honoured here: the command is run",
                meant,
            ),
            finding(
                "compose.yaml:4 web",
                "`web` is published at port 80",
                "Write `port`.",
            ),
            finding(
                "compose.yaml:9 api",
                "`image` of `api` is not honoured here: the command is run",
                meant,
            ),
            finding(
                "compose.yaml:10 api",
                "`volumes` of `api` is not honoured here: it is not mounted",
                meant,
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
        let one = finding(
            "compose.yaml:3 web",
            "`image` of `web` is not honoured here: the command is run",
            "Nothing, if that is meant.",
        );
        let line = "compose.yaml:3 web: `image` of `web` is not honoured here: the command is run. Nothing, if that is \
                    meant.";
        assert_eq!(texts(&[one]), [line]);
    }
}
