//! What the target itself has, as a part of a report.

use code_deploy_record::{Column, Report};

use crate::phases::look::list;
use crate::section::Section;
use crate::step::StepError;
use crate::target::{Listing, Topic};

/// Returns what the target has, in two parts: what is only shown, and what answers items about the network.
pub(super) async fn listings(
    section: &Section<'_>,
) -> Result<(Vec<Listing>, Vec<Listing>), StepError> {
    let listings = section.context.target.inventory().await?;
    Ok(listings
        .into_iter()
        .partition(|one| one.topic == Topic::Shown))
}

/// Returns the listing that answers a topic.
pub(super) fn about(listings: &[Listing], topic: Topic) -> Option<&Listing> {
    listings.iter().find(|one| one.topic == topic)
}

/// Adds listings to a report: a table each, and in words what there is none of and what is missing.
pub(super) fn with_listings(mut report: Report, listings: &[Listing]) -> Report {
    for one in listings.iter().filter(|one| !one.rows.is_empty()) {
        let columns = one.columns.iter().map(Column::text).collect();
        report = report.with_table(one.title.as_str(), columns, one.rows.clone());
    }
    let is_none = |one: &&Listing| one.rows.is_empty() && one.gap.is_none();
    let none: Vec<_> = listings.iter().filter(is_none).collect();
    if !none.is_empty() {
        let titles = list(none.iter().map(|one| &one.title));
        report = report.with_text(format!("The target has none of these: {titles}."));
    }
    for one in listings {
        if let Some(gap) = &one.gap {
            report = report.with_text(format!("{}: {gap}.", one.title));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use code_deploy_record::Block;

    use super::*;

    fn listing(title: &str, rows: &[&str], gap: Option<&str>) -> Listing {
        Listing {
            title: title.to_owned(),
            columns: vec!["Name".to_owned()],
            rows: rows.iter().map(|name| vec![(*name).to_owned()]).collect(),
            gap: gap.map(str::to_owned),
            ..Listing::default()
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_not_known_are_told_apart() {
        let listings = [
            listing("Nodes", &["one"], None),
            listing("Ingresses", &[], None),
            listing("Quotas", &[], None),
            listing("Claims", &[], Some("the account may not list them")),
        ];
        let report = with_listings(Report::new(), &listings);
        let texts = report.blocks.iter().filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [
                "The target has none of these: Ingresses, Quotas.",
                "Claims: the account may not list them.",
            ]
        );
        assert_eq!(report.blocks.len(), 3);
        assert_eq!(with_listings(Report::new(), &[]), Report::new());
    }
}
