//! What a run would change of the objects that the target holds, for a reader before the run and for its record.

use std::collections::BTreeMap;

use code_deploy_record::{Column, Release, Report};
use serde::Serialize;

use crate::Target;
use crate::lease::answer;
use crate::phases::look::counted;
use crate::spec::Spec;
use crate::target::{Change, ChangeState};

/// The title of the table.
const TITLE: &str = "What changes in the cluster";

/// The fields of an object that a table shows; the evidence has them all.
const SHOWN: usize = 12;

/// What a run would change of the objects that the target holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// Each object that it states.
    pub changes: Vec<Change>,
    /// Why nothing is known, where the target did not say.
    pub gap: Option<String>,
}

impl Outlook {
    /// Asks the target what a run from `from` to `to` would change. Changes nothing; that the target does not say
    /// keeps nobody from anything.
    pub async fn of(
        target: &dyn Target,
        spec: &Spec,
        from: Option<&Release>,
        to: &Release,
    ) -> Self {
        let services = spec.services.iter();
        let replicas: BTreeMap<String, u32> = services
            .map(|service| (service.name.clone(), service.replicas))
            .collect();
        let asked = target.changes(to, from, &replicas);
        match answer("comparing with what is there", asked).await {
            Ok(changes) => Self { changes, gap: None },
            Err(error) => Self {
                changes: Vec::new(),
                gap: Some(format!("{error}. {}", error.next)),
            },
        }
    }

    /// Returns whether there is nothing to tell: the target holds no objects that are stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.gap.is_none()
    }

    /// Says in one sentence how many objects are new, how many change and how many stay.
    #[must_use]
    pub fn sentence(&self) -> String {
        if let Some(gap) = &self.gap {
            return format!("What changes in the cluster is not known: {gap}");
        }
        let number = |state| self.changes.iter().filter(|one| one.state == state).count();
        let mut text = format!(
            "The run states {} in the cluster; new: {}, changed: {}, as before: {}, by a dry run on the server.",
            counted(self.changes.len(), "object"),
            number(ChangeState::New),
            number(ChangeState::Changed),
            number(ChangeState::Unchanged),
        );
        let unknown = number(ChangeState::Unknown);
        if unknown > 0 {
            text.push_str(&format!(" The server could not try out: {unknown}."));
        }
        text
    }

    /// Adds to a report the sentence and a table of what changes, field by field, where there is something to tell.
    #[must_use]
    pub fn tell(&self, mut report: Report) -> Report {
        if self.is_empty() {
            return report;
        }
        report = report.with_text(self.sentence());
        if self.changes.is_empty() {
            return report;
        }
        let columns = ["Object", "What becomes of it", "Field: before -> after"].map(Column::text);
        let rows = self.changes.iter().flat_map(rows);
        report.with_table(TITLE, columns.to_vec(), rows.collect())
    }
}

/// Returns the rows of an object: one for each field that differs, or one that says that none does.
fn rows(change: &Change) -> Vec<Vec<String>> {
    let object = format!("{} {}", change.kind, change.name);
    let row = |field: String| vec![object.clone(), becomes(change), field];
    let shown = change.fields.iter().take(SHOWN);
    let mut rows: Vec<Vec<String>> = shown.map(|field| row(field.line())).collect();
    let hidden = change.fields.len().saturating_sub(SHOWN) + change.more;
    if hidden > 0 {
        rows.push(row(format!("and {}", counted(hidden, "more field"))));
    }
    if rows.is_empty() {
        rows.push(row(change.summary.clone()));
    }
    rows
}

fn becomes(change: &Change) -> String {
    match (change.state, &change.beside) {
        (ChangeState::New, None) => "new".to_owned(),
        (ChangeState::New, Some(beside)) if change.fields.is_empty() => {
            format!("new, otherwise as {beside}")
        }
        (ChangeState::New, Some(beside)) => format!("new, differs from {beside}"),
        (ChangeState::Changed, _) => "changed".to_owned(),
        (ChangeState::Unchanged, _) => "as before".to_owned(),
        (ChangeState::Unknown, _) => "not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_record::Block;

    use super::*;
    use crate::target::FieldChange;

    fn change(name: &str, state: ChangeState, fields: usize) -> Change {
        let field = |number: usize| FieldChange {
            path: format!("spec.f{number}"),
            before: (number != 1).then(|| "a".to_owned()),
            after: Some("b".to_owned()),
        };
        Change {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            state,
            beside: None,
            summary: String::new(),
            fields: (0..fields).map(field).collect(),
            more: 0,
        }
    }

    fn told(outlook: &Outlook) -> (Vec<String>, Vec<Vec<String>>) {
        let (mut texts, mut all) = (Vec::new(), Vec::new());
        for block in outlook.tell(Report::new()).blocks {
            match block {
                Block::Text { text } => texts.push(text),
                Block::Table { rows, .. } => all.extend(rows),
                _ => {}
            }
        }
        (texts, all)
    }

    #[test]
    fn objects_are_counted_and_told_field_by_field() {
        let mut new = change("api-1-1-0", ChangeState::New, 2);
        new.beside = Some("api-1-0-0".to_owned());
        let mut same = change("web-1-1-0", ChangeState::New, 0);
        same.beside = Some("web-1-0-0".to_owned());
        let outlook = Outlook {
            changes: vec![new, same, change("api", ChangeState::Unchanged, 0)],
            gap: None,
        };
        let (texts, rows) = told(&outlook);
        assert_eq!(
            texts,
            [
                "The run states 3 objects in the cluster; new: 2, changed: 0, as before: 1, by a dry run on the server."
            ]
        );
        let differs = "new, differs from api-1-0-0";
        assert_eq!(
            rows,
            [
                ["Deployment api-1-1-0", differs, "spec.f0: a -> b"],
                ["Deployment api-1-1-0", differs, "spec.f1: none -> b"],
                ["Deployment web-1-1-0", "new, otherwise as web-1-0-0", ""],
                ["Deployment api", "as before", ""],
            ]
        );
    }

    #[test]
    fn of_many_fields_the_first_are_shown_and_the_rest_counted() {
        let mut many = change("api", ChangeState::Changed, SHOWN + 2);
        many.more = 3;
        let outlook = Outlook {
            changes: vec![many],
            gap: None,
        };
        let (_, rows) = told(&outlook);
        assert_eq!(rows.len(), SHOWN + 1);
        let last = rows.last().map(|row| row.join("|"));
        assert_eq!(
            last.as_deref(),
            Some("Deployment api|changed|and 5 more fields")
        );
    }

    #[test]
    fn a_target_that_does_not_say_is_told_as_that_and_one_without_objects_is_not() {
        let outlook = Outlook {
            changes: Vec::new(),
            gap: Some("no answer. Try again.".to_owned()),
        };
        let (texts, rows) = told(&outlook);
        assert_eq!(
            texts,
            ["What changes in the cluster is not known: no answer. Try again."]
        );
        assert!(rows.is_empty());
        assert_eq!(Outlook::default().tell(Report::new()), Report::new());
    }
}
