//! Who acts on what a run leaves open, as far as the record knows it from the deployment file.

use std::collections::BTreeMap;

use code_deploy_record::{Block, PhaseNumber, Role};

use crate::facts::Facts;

/// What the list of contacts writes for one who answers for all services.
const ALL: &str = "all";

/// Somebody whom the deployment file names.
#[derive(Debug, PartialEq, Eq)]
struct Contact {
    /// The name, with what they answer for and how they are reached.
    who: String,
    /// The services, as the list writes them.
    services: String,
}

/// Says who acts on what is open. The deployment file gives no item an owner: it names people for services or for all
/// of them. Where it names nobody, that is said, with the key that would.
pub(crate) fn who_acts(facts: &Facts) -> String {
    let people = match contacts(facts) {
        None => {
            let why = "this record names no contacts, because the run did not come to their handover (phase 9)";
            format!("{why}{}", owners(facts))
        }
        Some(contacts) if contacts.is_empty() => {
            let why = "the deployment file names nobody, which `contacts` would";
            format!("{why}{}", owners(facts))
        }
        Some(contacts) => named(&contacts),
    };
    format!(
        "{people}. No item has an owner of its own; by name, a person settles one with `attestations` or `waivers` of the \
         deployment file."
    )
}

/// Names those who answer for all services before those who answer for some.
fn named(contacts: &[Contact]) -> String {
    let (whole, some): (Vec<&Contact>, Vec<&Contact>) =
        contacts.iter().partition(|one| one.services == ALL);
    let mut texts: Vec<String> = whole
        .iter()
        .map(|one| format!("{} for the application as a whole", one.who))
        .collect();
    texts.extend(
        some.iter()
            .map(|one| format!("{} for {}", one.who, one.services)),
    );
    let nobody = match whole.is_empty() {
        true => ", who name nobody for the application as a whole (a contact without `services`)",
        false => "",
    };
    format!(
        "{}, the `contacts` of the deployment file{nobody}",
        texts.join("; ")
    )
}

/// Returns those whom the handover lists; nothing where the run did not hand them over.
fn contacts(facts: &Facts) -> Option<Vec<Contact>> {
    let mut sections = facts.sections.iter();
    let handed =
        sections.rfind(|one| one.phase == PhaseNumber::new(9) && one.what.name == "contacts")?;
    let mut found = Vec::new();
    for block in &handed.what.report.blocks {
        let Block::Table { columns, rows, .. } = block else {
            continue;
        };
        let place = |title: &str| columns.iter().position(|one| one.title == title);
        let places = ["name", "answers for", "reached by", "services"].map(place);
        let [Some(name), Some(role), Some(reach), Some(services)] = places else {
            continue;
        };
        found.extend(rows.iter().filter_map(|row| {
            let entry = |place: usize| row.get(place).map(String::as_str);
            Some(Contact {
                who: format!("{} ({}, {})", entry(name)?, entry(role)?, entry(reach)?),
                services: entry(services)?.to_owned(),
            })
        }));
    }
    Some(found)
}

/// Names the owners of services that the inventory found; empty where it found none.
fn owners(facts: &Facts) -> String {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let services = facts.state.components.iter();
    for service in services.filter(|one| matches!(one.role, Role::Frontend | Role::Backend)) {
        if let Some(owner) = &service.owner {
            owners.entry(owner).or_default().push(&service.name);
        }
    }
    let owners = owners
        .iter()
        .map(|(owner, services)| format!("{owner} ({})", services.join(", ")));
    let owners: Vec<String> = owners.collect();
    match owners.is_empty() {
        true => String::new(),
        false => format!(
            "; owners of services, by the inventory: {}",
            owners.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::{Column, Report};
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    fn facts(story: Story) -> Facts {
        let project = tempfile::tempdir().unwrap();
        Facts::read(&synthetic::run(project.path(), "run-1", story)).unwrap()
    }

    /// Returns what is said where the handover lists these contacts.
    fn told(rows: &[[&str; 4]]) -> String {
        let mut facts = facts(Story::Succeeded);
        let titles = ["name", "answers for", "reached by", "services"].map(Column::text);
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
        let report = Report::new().with_table("contacts", titles.to_vec(), rows.collect());
        let sections = facts.sections.iter_mut();
        for section in sections.filter(|one| one.what.name == "contacts") {
            section.what.report = report.clone();
        }
        who_acts(&facts)
    }

    #[test]
    fn who_answers_for_all_services_stands_first() {
        let text = told(&[
            ["Ada", "storefront", "ada@shop.example", "storefront"],
            ["Grace", "operations", "+49 30 5550 100", "all"],
        ]);
        let begins = "Grace (operations, +49 30 5550 100) for the application as a whole; Ada (storefront, \
                      ada@shop.example) for storefront, the `contacts` of the deployment file. ";
        assert!(text.starts_with(begins), "{text}");
    }

    #[test]
    fn that_nobody_answers_for_the_whole_is_said_with_the_key() {
        let text = told(&[["Ada", "storefront", "ada@shop.example", "storefront"]]);
        assert!(text.contains("(a contact without `services`)"), "{text}");
    }

    #[test]
    fn where_nobody_is_named_no_name_is_made_up() {
        let text = told(&[]);
        let begins = "the deployment file names nobody, which `contacts` would; owners of services, by the inventory: \
                      team shop (storefront, catalog, orders). ";
        assert!(text.starts_with(begins), "{text}");
        let text = who_acts(&facts(Story::Refused));
        assert!(text.starts_with("this record names no contacts"), "{text}");
    }
}
