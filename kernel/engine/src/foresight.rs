//! What of a run is known before it begins: items that the files alone decide.

mod causes;
mod images;
mod outlook;
mod places;
mod probes;

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::NaiveDate;
use code_deploy_record::{Basis, Catalog, Column, Item, ItemId, PhaseNumber, PlannedStep, Report};
use serde::Serialize;

use crate::phases::look::list;
use crate::plan::Inputs;
use crate::spec::{Policy, Reaction};
use crate::{Error, Result, policy};

pub use outlook::Outlook;

use causes::Cause;
use places::Places;

pub use probes::ImageChecks;

/// The code of a run that would stop, or stops, at what is known before anything is started.
pub(crate) const STOPS: &str = "CD0437";

/// Something that a run would find, and that its files tell already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreseen {
    /// The phase in which the run would find it.
    pub phase: PhaseNumber,
    /// The items that would not hold or could not be established; none where a step itself fails.
    pub items: Vec<ItemId>,
    /// Whether the run would stop there, by the policy of its environment.
    pub stops: bool,
    /// What is not as it should be.
    pub what: String,
    /// What mends it, and where: `Write `owner:` ... (deploy.yaml:12)`.
    pub cure: String,
}

/// How an item that a cause names would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was looked at and does not hold.
    Failed,
    /// It cannot be established.
    Open,
    /// The step that looks at it fails, whatever the policy says.
    Broken,
    /// A step may fail, by what the files do not tell.
    Doubtful,
}

/// Returns what is known from the files of a run that would carry out `steps`, by phase, with what
/// stops it first. `program` stands for `{program}` among the artifacts; `images` is what the target knows of the images
/// that services are started from. Looks at files only, and changes nothing.
///
/// # Errors
/// When the shipped catalogue or the deployment file cannot be read.
pub fn foreseen(
    inputs: &Inputs,
    steps: &[PlannedStep],
    program: &std::path::Path,
    images: &ImageChecks,
    today: NaiveDate,
) -> Result<Vec<Foreseen>> {
    let view = View::of(inputs, steps, today)?;
    let causes = causes::of_files(inputs, program, images)?;
    let weighed = causes.into_iter().filter_map(|cause| view.weigh(cause));
    let weighed = weighed.chain(ruled(inputs));
    let mut found: Vec<_> = weighed.chain(view.never_established()).collect();
    found.sort_by_key(|one| (!one.stops, one.phase));
    Ok(found)
}

/// Returns what stops a run for want of probes, now that its images are there and say whether they have a health check of
/// their own.
///
/// # Errors
/// When the shipped catalogue or the deployment file cannot be read.
pub(crate) fn unprobed(
    inputs: &Inputs,
    steps: &[PlannedStep],
    images: &ImageChecks,
    today: NaiveDate,
) -> Result<Vec<Foreseen>> {
    let view = View::of(inputs, steps, today)?;
    let causes = probes::causes(&inputs.spec, &Places::read(&inputs.spec)?, images).into_iter();
    let weighed = causes.filter_map(|cause| view.weigh(cause));
    Ok(weighed.filter(|one| one.stops).collect())
}

/// Returns what of the files the policy alone decides: no step looks at it, so that it is known before a run begins or not
/// at all. Nobody is kept from going back to a release that ran.
pub(crate) fn ruled(inputs: &Inputs) -> Option<Foreseen> {
    match inputs.reverts {
        Some(_) => None,
        None => images::unpinned(&inputs.spec, &inputs.to),
    }
}

/// Refuses a run that what is foreseen would stop for sure.
///
/// # Errors
/// [`Error::Refused`] (`CD0437`) with everything that would stop it.
pub fn refuse(found: &[Foreseen], environment: &str) -> Result<()> {
    let stopping: Vec<_> = found.iter().filter(|one| one.stops).collect();
    if stopping.is_empty() {
        return Ok(());
    }
    let number = stopping.len();
    let (things, it) = match number {
        1 => ("1 thing".to_owned(), "it"),
        _ => (format!("{number} things"), "each"),
    };
    let mut what = format!(
        "the run would stop: the files alone tell {things}, and the policy of {environment} stops \
         at {it}"
    );
    for one in stopping {
        what.push_str(&format!(
            "\n  phase {}: {}. {}",
            one.phase, one.what, one.cure
        ));
    }
    let next = "Mend them all in one go, or accept one by its item under `waivers`; \
                `code-deploy plan` shows them with everything else that is known beforehand.";
    Err(Error::refused(STOPS, what, next))
}

/// Adds to a report what is foreseen: what would stop the run, and what else is known.
#[must_use]
pub fn tell(mut report: Report, found: &[Foreseen]) -> Report {
    for (stops, title) in [
        (true, "What would stop this run"),
        (false, "What is known already and stops nothing"),
    ] {
        let rows = found.iter().filter(|one| one.stops == stops).map(|one| {
            vec![
                one.phase.to_string(),
                one.what.clone(),
                one.cure.clone(),
                one.items
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            ]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            let columns = ["Phase", "What", "What mends it", "Items"].map(Column::text);
            report = report.with_table(title, columns.to_vec(), rows);
        }
    }
    report
}

/// What a cause is weighed by.
struct View<'a> {
    inputs: &'a Inputs,
    catalog: &'a Catalog,
    planned: BTreeSet<&'a ItemId>,
    today: NaiveDate,
}

impl<'a> View<'a> {
    fn of(inputs: &'a Inputs, steps: &'a [PlannedStep], today: NaiveDate) -> Result<Self> {
        Ok(Self {
            inputs,
            catalog: Catalog::shipped()?,
            planned: steps.iter().flat_map(|step| &step.items).collect(),
            today,
        })
    }

    fn policy(&self) -> &Policy {
        &self.inputs.spec.policy
    }

    /// Returns what comes of a cause; nothing when every item of it is waived, attested, explained
    /// by a fact, or not looked at by this plan.
    fn weigh(&self, cause: Cause) -> Option<Foreseen> {
        let mut phase = None;
        let mut items = Vec::new();
        let mut stops = cause.ending == Ending::Broken;
        for (group, item) in self.catalog.items() {
            if !cause.items.contains(&item.id.as_str()) || !self.planned.contains(&item.id) {
                continue;
            }
            if self.accepted(item) {
                continue;
            }
            phase = phase.or(Some(group.notebook));
            stops |= self.stops(cause.ending, item);
            items.push(item.id.clone());
        }
        let of_items = matches!(cause.ending, Ending::Failed | Ending::Open);
        let nothing = items.is_empty() && of_items;
        if nothing || (cause.quiet && !stops) {
            return None;
        }
        Some(Foreseen {
            phase: cause.phase.or(phase)?,
            items,
            stops,
            what: cause.what,
            cure: cause.cure,
        })
    }

    fn stops(&self, ending: Ending, item: &Item) -> bool {
        let policy = self.policy();
        let reaction = match ending {
            Ending::Failed => policy.failed,
            Ending::Open if item.by == Basis::Attested => policy.unattested,
            Ending::Open => policy.open,
            Ending::Broken => Reaction::Stop,
            Ending::Doubtful => Reaction::Note,
        };
        reaction == Reaction::Stop
    }

    /// Returns whether somebody accepts that the item does not hold, or vouches for it.
    fn accepted(&self, item: &Item) -> bool {
        let file = &self.inputs.spec.file;
        let waived = file
            .waivers
            .iter()
            .any(|waiver| policy::waiver_counts(self.policy(), item, waiver, self.today));
        let attested = item.by == Basis::Attested
            && file
                .attestations
                .iter()
                .any(|one| one.item == item.id && one.date <= self.today);
        waived || attested
    }

    /// Returns, by phase, the items that no step of the plan settles, no fact explains and nobody
    /// vouches for, where the policy stops at that.
    fn never_established(&self) -> Vec<Foreseen> {
        let kinds = [
            (
                true,
                "that nobody vouches for",
                "Let a named person do so under `attestations`, or accept them under `waivers`.",
            ),
            (
                false,
                "that no step of this plan establishes",
                "Accept them under `waivers`.",
            ),
        ];
        let mut found = Vec::new();
        for (attested, what, cure) in kinds {
            for phase in PhaseNumber::all() {
                let of_phase = self.catalog.items().filter(|(group, item)| {
                    group.notebook == phase && self.is_left(item, attested)
                });
                let items: Vec<_> = of_phase.map(|(_, item)| item.id.clone()).collect();
                if !items.is_empty() {
                    found.push(Foreseen {
                        phase,
                        what: format!("items {what}: {}", list(&items)),
                        items,
                        stops: true,
                        cure: cure.to_owned(),
                    });
                }
            }
        }
        found
    }

    fn is_left(&self, item: &Item, attested: bool) -> bool {
        // The notebooks are written when the run has ended: no step and no policy waits for them.
        item.id.as_str() != "10.1.6"
            && (item.by == Basis::Attested) == attested
            && !self.planned.contains(&item.id)
            && self.stops(Ending::Open, item)
            && crate::phases::item_facts(item, self.inputs).is_none()
            && !self.accepted(item)
    }
}

/// Returns the files that a build would have to make, or has made, for a service.
fn artifacts(
    inputs: &Inputs,
    service: &crate::spec::Service,
    program: &std::path::Path,
) -> Vec<PathBuf> {
    let build = service.file.build.iter().flat_map(|build| &build.artifacts);
    build
        .map(|path| match path.to_str() {
            Some("{program}") => program.to_owned(),
            _ => inputs.spec.project.join(path),
        })
        .collect()
}

#[cfg(test)]
mod tests;
