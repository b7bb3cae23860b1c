//! The catalogue: every item that a run accounts for.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{Error, ItemId, Result};

const SHIPPED: &str = include_str!("../../../templates/catalog.yaml");

/// The catalogue of items, in ten phases of the protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The phases, in order.
    pub phases: Vec<Phase>,
}

/// The items that a statement on scans rests on, as groups and as single items outside of them.
pub const SCANS: (&[&str], &[&str]) = (&["2.4", "9.3"], &["2.2.3", "7.2.6", "7.3.6"]);

/// A phase of the protocol. These are the catalogue's ten phases; the nine notebooks gather their
/// groups (see [`Group::notebook`]).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The number, from 1 to 10.
    pub phase: u8,
    /// The title.
    pub title: String,
    /// The groups, in order.
    pub groups: Vec<Group>,
}

/// A group of items.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The number, for example `5.4`.
    pub id: String,
    /// The title.
    pub title: String,
    /// The number of the notebook that shows the group, from `01` to `09`.
    pub notebook: PhaseNumber,
    /// The items, in order.
    pub items: Vec<Item>,
}

/// One thing that a run must account for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The number.
    pub id: ItemId,
    /// What kind of thing it is.
    pub kind: ItemKind,
    /// The weakest evidence that counts.
    pub by: Basis,
    /// What must be done or hold.
    pub text: String,
}

/// The kind of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemKind {
    /// One thing to do or establish.
    Task,
    /// A condition that must hold for the whole group.
    Mandatory,
    /// A condition that must not occur anywhere in the group.
    Forbidden,
    /// The group's result, established again by a second, independent method.
    DoubleCheck,
}

/// How something is known; a later one is stronger and always serves for an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// A named person vouches for it.
    Attested,
    /// The program measured it and recorded the measurement.
    Observed,
    /// The program did it and recorded doing it.
    Performed,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Attested => "attested",
            Self::Observed => "observed",
            Self::Performed => "performed",
        })
    }
}

/// The number of a phase of a run, from 1 to 9; also the number of its notebook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "PhaseRepr", into = "u8")]
pub struct PhaseNumber(u8);

#[derive(Deserialize)]
#[serde(untagged)]
enum PhaseRepr {
    Number(u8),
    Text(String),
}

impl TryFrom<PhaseRepr> for PhaseNumber {
    type Error = String;

    fn try_from(value: PhaseRepr) -> Result<Self, String> {
        let number = match value {
            PhaseRepr::Number(number) => Some(number),
            PhaseRepr::Text(text) => text.parse().ok(),
        };
        number
            .and_then(Self::new)
            .ok_or_else(|| "a phase is a number from 1 to 9".to_owned())
    }
}

impl From<PhaseNumber> for u8 {
    fn from(number: PhaseNumber) -> u8 {
        number.0
    }
}

impl fmt::Display for PhaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

impl PhaseNumber {
    /// Returns the phase with that number, if it is one from 1 to 9.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=9).contains(&number).then_some(Self(number))
    }

    /// Returns all nine, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=9).map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Returns the phase's verb: the command and the cell magic that carries it out. Phase 1 has
    /// two, `inventory` and `plan`; the second is returned, because it ends the phase.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self.0 {
            1 => "plan",
            2 => "preflight",
            3 => "build",
            4 => "provision",
            5 => "migrate",
            6 => "release",
            7 => "observe",
            8 => "validate",
            _ => "handover",
        }
    }

    /// Returns the file name of the phase's notebook without its extension.
    #[must_use]
    pub fn notebook(self) -> &'static str {
        match self.0 {
            1 => "01_Deployment_Plan",
            2 => "02_Pre_Deployment_Validation",
            3 => "03_Build_Process",
            4 => "04_Infrastructure_Setup",
            5 => "05_Database_Migration",
            6 => "06_Application_Deployment",
            7 => "07_Monitoring_Setup",
            8 => "08_Validation_Results",
            _ => "09_Operational_Handover",
        }
    }
}

impl Catalog {
    /// Returns the catalogue that is part of the program.
    ///
    /// # Errors
    /// [`Error::Catalog`] if it is damaged, which a test rules out.
    pub fn shipped() -> Result<&'static Self> {
        static READ: OnceLock<Result<Catalog, String>> = OnceLock::new();
        let read =
            READ.get_or_init(|| serde_saphyr::from_str(SHIPPED).map_err(|error| error.to_string()));
        read.as_ref()
            .map_err(|what| Error::Catalog { what: what.clone() })
    }

    /// Returns all items with their groups, in order.
    pub fn items(&self) -> impl Iterator<Item = (&Group, &Item)> {
        let groups = self.phases.iter().flat_map(|phase| &phase.groups);
        groups.flat_map(|group| group.items.iter().map(move |item| (group, item)))
    }

    /// Returns the item with that number.
    #[must_use]
    pub fn item(&self, id: &ItemId) -> Option<&Item> {
        self.items()
            .map(|(_, item)| item)
            .find(|item| item.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_catalogue_has_208_items_each_once() {
        let catalog = Catalog::shipped().unwrap();
        let mut ids: Vec<_> = catalog.items().map(|(_, item)| item.id.clone()).collect();
        assert_eq!(ids.len(), 208);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 208);
    }
}
