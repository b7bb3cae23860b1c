//! What a run would change of the objects that a target holds, as the target itself tells beforehand.

use serde::Serialize;

/// An object that a run states to the target, beside what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is: `Deployment`.
    pub kind: String,
    /// Its name: `api-1-1-0`.
    pub name: String,
    /// What would become of it.
    pub state: ChangeState,
    /// The object whose place it takes, where it is new: that of the release that is there, with which it is compared.
    pub beside: Option<String>,
    /// What is in it, in few words, where it is new and takes nobody's place; why nothing is known of it, where that is so.
    pub summary: String,
    /// The fields that differ, by path.
    pub fields: Vec<FieldChange>,
    /// How many more fields differ than are listed.
    pub more: usize,
}

/// What would become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// It would be made.
    New,
    /// It is there, and fields of it would be others.
    Changed,
    /// It is there and would stay as it is.
    Unchanged,
    /// The target cannot say.
    Unknown,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Where it stands: `spec.template.spec.containers[api].image`.
    pub path: String,
    /// Its value there now, of bounded length; nothing where there is none.
    pub before: Option<String>,
    /// Its value after the run, of bounded length; nothing where there is none.
    pub after: Option<String>,
}

impl FieldChange {
    /// Returns it in one line: `PATH: BEFORE -> AFTER`.
    #[must_use]
    pub fn line(&self) -> String {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let (before, after) = (shown(&self.before), shown(&self.after));
        format!("{}: {before} -> {after}", self.path)
    }
}
