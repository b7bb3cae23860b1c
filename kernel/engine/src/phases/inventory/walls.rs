//! Certificates and firewall rules: two items that the target's own listings answer.

use code_deploy_record::{Basis, EvidenceRef};

use super::listings::about;
use crate::inventory::Inventory;
use crate::phases::look::list;
use crate::section::Section;
use crate::step::StepError;
use crate::target::{Listing, Observed, Topic};

/// What becomes of an item, with the reason.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Seen {
        holds: bool,
        text: String,
    },
    /// There is nothing that it could be about.
    Nothing(String),
    Open(String),
}

/// Settles the item about certificates. `listed` is what the target lists about the network.
pub(super) async fn settle_certificates(
    section: &Section<'_>,
    inventory: &Inventory,
    listed: &[Listing],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let files = inventory.certificates.len();
    let answer = certificates(files, about(listed, Topic::Certificates));
    say(section, "1.3.3", answer, evidence).await
}

/// Settles the item about firewall rules. `listed` is what the target lists about the network.
pub(super) async fn settle_rules(
    section: &Section<'_>,
    observed: &Observed,
    listed: &[Listing],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let answer = match about(listed, Topic::FirewallRules) {
        Some(listing) => rules(listing),
        None if section.context.spec.on_this_machine() => loopback_only(observed),
        None => {
            let text = "this program does not read the target's firewall rules";
            Answer::Open(text.to_owned())
        }
    };
    say(section, "1.3.5", answer, evidence).await
}

async fn say(
    section: &Section<'_>,
    item: &str,
    answer: Answer,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    match answer {
        Answer::Seen { holds, text } => {
            let seen = Basis::Observed;
            section.judge(item, holds, seen, text, evidence).await
        }
        Answer::Nothing(fact) => section.none(item, fact).await,
        Answer::Open(text) => section.open(item, text).await,
    }
}

/// Of those of the project only the files' names are read; of those of the target, what it lists.
fn certificates(files: usize, kept: Option<&Listing>) -> Answer {
    if files > 0 {
        return Answer::Open(format!(
            "{files} files look like certificates; this program does not read issuer and expiry"
        ));
    }
    let Some(kept) = kept else {
        return Answer::Nothing("no certificate in the inventory".to_owned());
    };
    match (&kept.gap, kept.rows.len()) {
        (Some(gap), _) => Answer::Open(format!(
            "the target's certificates are not all known: {gap}"
        )),
        (None, 0) => {
            let fact = "no certificate in the inventory, and none that the target keeps";
            Answer::Nothing(fact.to_owned())
        }
        (None, _) => Answer::Seen {
            holds: true,
            text: kept.summary.clone(),
        },
    }
}

fn rules(listing: &Listing) -> Answer {
    match &listing.gap {
        Some(gap) => Answer::Open(format!(
            "the target's firewall rules are not all known: {gap}"
        )),
        None => Answer::Seen {
            holds: true,
            text: listing.summary.clone(),
        },
    }
}

fn loopback_only(observed: &Observed) -> Answer {
    let listening = &observed.listening;
    let beyond = listening.iter().filter(|one| !one.ip().is_loopback());
    let open: Vec<_> = beyond.collect();
    let text = match open.len() {
        0 => format!(
            "the rule of a target on this machine is loopback only; all {} listening addresses keep it",
            listening.len()
        ),
        count => format!(
            "{count} addresses listen beyond loopback: {}",
            list(open.iter())
        ),
    };
    Answer::Seen {
        holds: open.is_empty(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(rows: usize, gap: Option<&str>) -> Listing {
        Listing {
            rows: vec![vec!["one".to_owned()]; rows],
            summary: "what there is".to_owned(),
            gap: gap.map(str::to_owned),
            ..Listing::default()
        }
    }

    fn met() -> Answer {
        Answer::Seen {
            holds: true,
            text: "what there is".to_owned(),
        }
    }

    #[test]
    fn certificates_are_tracked_only_when_all_of_them_are_known() {
        let is_open = |answer: Answer| matches!(answer, Answer::Open(_));
        assert_eq!(certificates(0, Some(&listing(2, None))), met());
        assert!(is_open(certificates(1, Some(&listing(2, None)))));
        assert!(is_open(certificates(
            0,
            Some(&listing(2, Some("no right")))
        )));
        assert!(is_open(certificates(
            0,
            Some(&listing(0, Some("no right")))
        )));
        for none in [
            certificates(0, None),
            certificates(0, Some(&listing(0, None))),
        ] {
            assert!(matches!(none, Answer::Nothing(_)), "{none:?}");
        }
    }

    #[test]
    fn rules_are_mapped_also_where_there_is_none() {
        assert_eq!(rules(&listing(0, None)), met());
        let open = "the target's firewall rules are not all known: no right";
        let answer = rules(&listing(1, Some("no right")));
        assert_eq!(answer, Answer::Open(open.to_owned()));
    }
}
