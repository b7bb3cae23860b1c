//! Who acts on what a run leaves open, as far as the record knows it from the deployment file.

use std::collections::BTreeMap;

use code_deploy_record::{Block, Column, PhaseNumber, Role, contacts as form};

use crate::facts::Facts;

/// Somebody whom the deployment file names.
#[derive(Debug, PartialEq, Eq)]
struct Contact {
    /// The name, with what they answer for and how they are reached.
    who: String,
    /// The services, as the list writes them.
    services: String,
}

/// What a record tells of contacts.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    /// Nothing: the run did not hand them over.
    Not,
    /// A list in a form that is not the one of this program.
    Unread,
    /// The list; empty where the deployment file names nobody.
    Over(Vec<Contact>),
}

/// Says who acts on what is open. The deployment file gives no item an owner: it names people for services or for all
/// of them. Where it names nobody, that is said, with the key that would.
pub(crate) fn who_acts(facts: &Facts) -> String {
    let people = match contacts(facts) {
        Handed::Not => {
            let why =
                "not known, because the run did not come to the handover of contacts (phase 9)";
            format!("{why}.{}", owners(facts))
        }
        Handed::Unread => {
            let why =
                "not known, because the record lists contacts in a form that this page cannot read";
            format!("{why}.{}", owners(facts))
        }
        Handed::Over(contacts) if contacts.is_empty() => {
            let why = "nobody is named, because the deployment file has no `contacts`";
            format!("{why}.{}", owners(facts))
        }
        Handed::Over(contacts) => named(&contacts),
    };
    format!(
        "{people} No single item has an owner. A person settles an item under their own name, by `attestations` or \
         `waivers` of the deployment file."
    )
}

/// Names those who answer for all services before those who answer for some.
fn named(contacts: &[Contact]) -> String {
    let (whole, some): (Vec<&Contact>, Vec<&Contact>) = contacts
        .iter()
        .partition(|one| one.services == form::ALL_SERVICES);
    let mut texts: Vec<String> = whole
        .iter()
        .map(|one| format!("{} for the application as a whole", one.who))
        .collect();
    texts.extend(
        some.iter()
            .map(|one| format!("{} for {}", one.who, one.services)),
    );
    let nobody = match whole.is_empty() {
        true => {
            " Nobody is named for the application as a whole: a contact without `services` would be."
        }
        false => "",
    };
    format!(
        "{} (`contacts` of the deployment file).{nobody}",
        texts.join("; ")
    )
}

/// Returns those whom the handover lists. A report without a table is of a deployment file that names nobody.
fn contacts(facts: &Facts) -> Handed {
    let mut sections = facts.sections.iter();
    let handed =
        sections.rfind(|one| one.phase == PhaseNumber::new(9) && one.what.name == "contacts");
    let Some(handed) = handed else {
        return Handed::Not;
    };
    let mut found = Vec::new();
    for block in &handed.what.report.blocks {
        let Block::Table { columns, rows, .. } = block else {
            continue;
        };
        let read: Option<Vec<Contact>> = match fits(columns) {
            true => rows.iter().map(|row| contact(row)).collect(),
            false => None,
        };
        match read {
            Some(read) => found.extend(read),
            None => return Handed::Unread,
        }
    }
    Handed::Over(found)
}

fn fits(columns: &[Column]) -> bool {
    let titles = columns.iter().map(|column| column.title.as_str());
    titles.eq(form::COLUMNS)
}

/// Reads a row of the list; nothing where an entry is missing.
fn contact(row: &[String]) -> Option<Contact> {
    let [name, role, reach, services] = row else {
        return None;
    };
    Some(Contact {
        who: format!("{name} ({role}, {reach})"),
        services: services.clone(),
    })
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
            " Owners of services, by the inventory: {}.",
            owners.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::Report;
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    fn facts(story: Story) -> Facts {
        let project = tempfile::tempdir().unwrap();
        Facts::read(&synthetic::run(project.path(), "run-1", story)).unwrap()
    }

    /// Returns what is said where the handover lists these contacts.
    fn told(rows: &[[&str; 4]]) -> String {
        let titles = form::COLUMNS.map(Column::text).to_vec();
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
        told_of(&Report::new().with_table("contacts", titles, rows.collect()))
    }

    /// Returns what is said where this is the report of the handover.
    fn told_of(report: &Report) -> String {
        let mut facts = facts(Story::Succeeded);
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
                      ada@shop.example) for storefront (`contacts` of the deployment file). No single item";
        assert!(text.starts_with(begins), "{text}");
    }

    #[test]
    fn that_nobody_answers_for_the_whole_is_said_with_the_key() {
        let text = told(&[["Ada", "storefront", "ada@shop.example", "storefront"]]);
        assert!(
            text.contains("a contact without `services` would be."),
            "{text}"
        );
    }

    #[test]
    fn where_nobody_is_named_no_name_is_made_up() {
        let text = told_of(&Report::new().with_text("The deployment file names no contacts."));
        let begins = "nobody is named, because the deployment file has no `contacts`. Owners of services, by the \
                      inventory: team shop (storefront, catalog, orders). ";
        assert!(text.starts_with(begins), "{text}");
        assert_eq!(told(&[]), text);
        let text = who_acts(&facts(Story::Refused));
        assert!(
            text.starts_with("not known, because the run did not come"),
            "{text}"
        );
    }

    #[test]
    fn a_list_in_another_form_is_not_taken_for_one_that_names_nobody() {
        let titles = ["who", "answers for", "reached by", "services"].map(Column::text);
        let row = ["Ada", "storefront", "ada@shop.example", "all"].map(str::to_owned);
        let report = Report::new().with_table("contacts", titles.to_vec(), vec![row.to_vec()]);
        let text = told_of(&report);
        assert!(
            text.starts_with("not known, because the record lists contacts"),
            "{text}"
        );
    }
}
