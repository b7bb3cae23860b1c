//! What the verdicts of some of the catalogue's items say together.

use std::fmt;

use code_deploy_record::{Catalog, Group, Item, Verdict};

use crate::Result;
use crate::facts::Facts;
use crate::view::items::Tally;

/// Numbers of items that a sentence names; the tables hold all.
const MOST_NAMED: usize = 8;

/// The verdicts of some items.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    pub(super) tally: Tally,
    failed: Vec<String>,
    waived: Vec<String>,
    open: Vec<String>,
}

impl Verdicts {
    /// Gathers the verdicts of the items that are wanted. An item without a verdict is open.
    pub(super) fn of(facts: &Facts, wanted: impl Fn(&Group, &Item) -> bool) -> Result<Self> {
        let mut verdicts = Self::default();
        for (group, item) in Catalog::shipped()?.items() {
            if !wanted(group, item) {
                continue;
            }
            let state = facts.state.items.get(&item.id);
            verdicts.tally.add(state);
            let named = match state.map(|state| &state.verdict) {
                Some(Verdict::Failed) => &mut verdicts.failed,
                Some(Verdict::Waived { .. }) => &mut verdicts.waived,
                Some(Verdict::Open) | None => &mut verdicts.open,
                Some(Verdict::Met { .. } | Verdict::NotApplicable { .. }) => continue,
            };
            named.push(item.id.to_string());
        }
        Ok(verdicts)
    }

    /// Gathers the verdicts of whole groups and of single items, each by its number.
    pub(super) fn named(facts: &Facts, groups: &[&str], items: &[&str]) -> Result<Self> {
        Self::of(facts, |group, item| {
            groups.contains(&group.id.as_str()) || items.contains(&item.id.to_string().as_str())
        })
    }

    /// Returns how many items there are.
    pub(super) fn all(&self) -> u32 {
        let Tally {
            met,
            failed,
            not_applicable,
            waived,
            open,
        } = self.tally;
        met + failed + not_applicable + waived + open
    }

    /// Returns whether all that can apply is met; nothing while an item is open or waived, or when
    /// none can apply.
    pub(super) fn hold(&self) -> Option<bool> {
        let Tally {
            met,
            failed,
            waived,
            open,
            ..
        } = self.tally;
        match (failed > 0, open + waived > 0, met > 0) {
            (true, ..) => Some(false),
            (false, false, true) => Some(true),
            _ => None,
        }
    }

    /// Returns the word of the verdict that decides.
    pub(super) fn word(&self) -> &'static str {
        let Tally {
            met,
            failed,
            waived,
            open,
            ..
        } = self.tally;
        match (failed > 0, open > 0, waived > 0, met > 0) {
            (true, ..) => "failed",
            (_, true, ..) => "open",
            (_, _, true, _) => "waived",
            (.., true) => "met",
            _ => "not applicable",
        }
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} met", self.tally.met, self.all())?;
        let lists = [
            ("failed", &self.failed),
            ("waived", &self.waived),
            ("open", &self.open),
        ];
        for (word, items) in lists.iter().filter(|(_, items)| !items.is_empty()) {
            let named: Vec<&str> = items.iter().take(MOST_NAMED).map(String::as_str).collect();
            let more = items.len() - named.len();
            write!(f, ", {} {word} ({}", items.len(), named.join(", "))?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
            f.write_str(")")?;
        }
        if self.tally.not_applicable > 0 {
            write!(f, ", {} not applicable", self.tally.not_applicable)?;
        }
        Ok(())
    }
}
