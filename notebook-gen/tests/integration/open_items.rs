//! What pages say of items that are open.

use code_deploy_notebook_gen::Page;
use code_deploy_synthetic::Story;

use crate::pages::{page, pages_of};
use crate::text_of;

#[test]
fn failed_waived_and_open_items_come_before_the_sections() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "08_Validation_Results"));
    let waived = text.find("**waived**").unwrap();
    let open = text.find("**open**").unwrap();
    let section = text.find("## Functional").unwrap();
    assert!(waived < open && open < section);
    assert!(text.contains("by person:berta until 2026-12-31"));
}

#[test]
fn the_report_lists_every_open_item_and_the_other_deliverables_say_so() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    let listed = text.split("## What every finished run").next().unwrap();
    let places: Vec<_> = listed
        .lines()
        .filter(|line| line.contains("**open**"))
        .collect();
    assert!(!places.is_empty(), "{listed}");
    for line in &places {
        assert!(line.contains(".ipynb) |"), "{line}");
    }
    let must = |line: &&&str| line.contains("Must hold: ") || line.contains("Must not be: ");
    let first_other = places
        .iter()
        .position(|line| !must(&line))
        .unwrap_or(places.len());
    assert!(
        places.iter().skip(first_other).all(|line| !must(&line)),
        "{places:#?}"
    );
    let other = text_of(page(&pages, "Lessons_Learned"));
    assert!(other.contains("Every item that is open is listed in the [Post-Deployment Report]"));
}

/// An item that its own notebook shows as open: number, text as a page writes it, notebook.
type Open = (String, String, &'static str);

fn open_items(pages: &[Page], wanted: fn(code_deploy_record::ItemKind) -> bool) -> Vec<Open> {
    let texts: std::collections::BTreeMap<&str, String> = pages
        .iter()
        .map(|page| (page.name.as_str(), text_of(page)))
        .collect();
    let catalog = code_deploy_record::Catalog::shipped().unwrap();
    let items = catalog.items().filter(|(_, item)| wanted(item.kind));
    let items = items.map(|(group, item)| {
        let text = code_deploy_notebook_gen::escape(&item.text);
        (item.id.to_string(), text, group.notebook.notebook())
    });
    let open = items.filter(|(id, _, notebook)| {
        let start = format!("| {id} |");
        let mut lines = texts[notebook].lines();
        lines.any(|line| line.starts_with(&start) && line.contains("| open |"))
    });
    open.collect()
}

/// Returns whether a line of a table names an item with its text, and leads to its notebook.
fn is_listed(listed: &str, (id, text, notebook): &Open) -> bool {
    let link = format!("({notebook}.ipynb) |");
    listed.lines().any(|line| {
        let ids = line.trim_start_matches("| ").split(" | ").next().unwrap();
        let own = ids.split(", ").any(|one| one == id);
        own && line.contains(text.as_str()) && line.ends_with(&link)
    })
}

#[test]
fn open_items_with_one_reason_are_named_each_beside_the_notebook_that_shows_them() {
    for story in [Story::Succeeded, Story::Refused] {
        let (_project, pages) = pages_of(story);
        let text = text_of(page(&pages, "Post_Deployment_Report"));
        let listed = text.split("## What every finished run").next().unwrap();
        assert!(!listed.contains("in the table of all items"), "{listed}");
        let open = open_items(&pages, |_| true);
        assert!(!open.is_empty());
        for item in &open {
            assert!(is_listed(listed, item), "{item:?} in\n{listed}");
        }
    }
}

#[test]
fn handover_and_lessons_name_what_must_hold_and_is_open_in_any_notebook() {
    use code_deploy_record::ItemKind;
    let (_project, pages) = pages_of(Story::Succeeded);
    let handover = text_of(page(&pages, "09_Operational_Handover"));
    let handover = handover.split("## Opening the run").next().unwrap();
    let lessons = text_of(page(&pages, "Lessons_Learned"));
    let must = |kind| matches!(kind, ItemKind::Mandatory | ItemKind::Forbidden);
    let open = open_items(&pages, must);
    assert!(!open.is_empty());
    for item in &open {
        assert!(is_listed(&lessons, item), "{item:?} in\n{lessons}");
        if item.2 != "09_Operational_Handover" {
            assert!(is_listed(handover, item), "{item:?} in\n{handover}");
        }
    }
    assert!(handover.contains("Alerts after the run, item 8.1.4"));
}

#[test]
fn who_acts_is_said_once_where_open_items_are_listed() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let times = |name: &str| {
        text_of(page(&pages, name))
            .matches("Who acts on what is open: ")
            .count()
    };
    for name in [
        "08_Validation_Results",
        "09_Operational_Handover",
        "Post_Deployment_Report",
        "Lessons_Learned",
    ] {
        assert_eq!(times(name), 1, "{name}");
    }
    assert_eq!(times("Security_Audit_Report"), 0);
}
