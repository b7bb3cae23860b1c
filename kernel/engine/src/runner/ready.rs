//! Which steps can be begun, kept up as steps are done: a large plan costs no more than the
//! lines between its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use code_deploy_record::{RunState, StepName};

use crate::{Plan, Step};

/// The steps of a selection that are not done, by what they wait for.
pub(super) struct Ready<'a> {
    selection: &'a [Arc<dyn Step>],
    places: BTreeMap<StepName, usize>,
    waits_for: Vec<usize>,
    waited_by: BTreeMap<StepName, Vec<usize>>,
    /// The steps that can be begun and mostly wait.
    waiting: BTreeSet<usize>,
    /// The other steps that can be begun.
    working: BTreeSet<usize>,
}

impl<'a> Ready<'a> {
    /// Finds the steps of a selection that are not done.
    pub(super) fn of(plan: &Plan, selection: &'a [Arc<dyn Step>], state: &RunState) -> Self {
        let mut all = Self {
            selection,
            places: BTreeMap::new(),
            waits_for: vec![0; selection.len()],
            waited_by: BTreeMap::new(),
            waiting: BTreeSet::new(),
            working: BTreeSet::new(),
        };
        for (place, step) in selection.iter().enumerate() {
            let planned = step.planned();
            if state.step_done(&planned.step) {
                continue;
            }
            all.places.insert(planned.step.clone(), place);
            let before = plan.before(planned).into_iter();
            let mut waits = 0;
            for before in before.filter(|before| !state.step_done(before)) {
                all.waited_by.entry(before).or_default().push(place);
                waits += 1;
            }
            if let Some(known) = all.waits_for.get_mut(place) {
                *known = waits;
            }
            if waits == 0 {
                all.can_begin(place);
            }
        }
        all
    }

    fn can_begin(&mut self, place: usize) {
        match self.selection.get(place) {
            Some(step) if step.mostly_waits() => self.waiting.insert(place),
            _ => self.working.insert(place),
        };
    }

    /// Takes the first step that can be begun, of those that mostly wait or of the others.
    pub(super) fn take(&mut self, mostly_waits: bool) -> Option<&'a Arc<dyn Step>> {
        let ready = if mostly_waits {
            &mut self.waiting
        } else {
            &mut self.working
        };
        self.selection.get(ready.pop_first()?)
    }

    /// A step was stopped before its end: it can be begun again.
    pub(super) fn give_back(&mut self, step: &StepName) {
        if let Some(place) = self.places.get(step) {
            self.can_begin(*place);
        }
    }

    /// A step is done: what waited only for it can be begun.
    pub(super) fn done(&mut self, step: &StepName) {
        for place in self.waited_by.remove(step).unwrap_or_default() {
            let Some(waits) = self.waits_for.get_mut(place) else {
                continue;
            };
            *waits = waits.saturating_sub(1);
            if *waits == 0 {
                self.can_begin(place);
            }
        }
    }
}
