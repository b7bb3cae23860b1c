//! What an environment's policy makes of a phase's items. Policy is data; this reads it.

use code_deploy_record::{
    Basis, Catalog, Gate, Item, ItemKind, ItemState, PhaseNumber, RunState, Verdict,
};

use crate::phases::look;
use crate::spec::{Policy, Reaction, Waiver, WaiverRule};

/// How much of each item's reason is said where a phase stops, in characters: the items have it whole.
const SHOWN: usize = 120;

/// The item that every objective is validated.
const OBJECTIVES: &str = "9.2.5";

/// Why a phase's items stop it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    /// Items that were looked at and do not hold.
    pub failed: Vec<String>,
    /// Items that a person has to attest and nobody did.
    pub unattested: Vec<String>,
    /// Items that the program cannot establish.
    pub open: Vec<String>,
    /// Whether one of them is an item of another phase than the one that stops. A step has looked at it in passing, and
    /// does not look again.
    pub is_of_another_phase: bool,
}

impl Stops {
    /// Returns whether nothing stops the phase.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.unattested.is_empty() && self.open.is_empty()
    }

    /// Returns the reasons in one sentence.
    #[must_use]
    pub fn reason(&self) -> String {
        let parts = [
            ("looked at and found not to hold", &self.failed),
            ("that a named person must attest", &self.unattested),
            ("that cannot be established", &self.open),
        ];
        let parts = parts.into_iter().filter(|(_, items)| !items.is_empty());
        let texts = parts.map(|(what, items)| {
            let number = items.len();
            let noun = if number == 1 { "item" } else { "items" };
            format!("{number} {noun} {what} ({})", items.join("; "))
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}

/// Returns what of a phase's items stops the phase under a policy: also what the phase found not to hold of the items of
/// earlier ones.
#[must_use]
pub fn stops(policy: &Policy, catalog: &Catalog, state: &RunState, phase: PhaseNumber) -> Stops {
    let mut stops = Stops::default();
    for (group, item) in catalog.items() {
        if !is_judged(state, group.notebook, item, phase) {
            continue;
        }
        let Some(settled) = state.items.get(&item.id) else {
            continue;
        };
        let text = match group.notebook == phase {
            true => format!("{} {}", item.id, shown(settled)),
            false => of_phase(group.notebook, item, settled),
        };
        let list = match settled.verdict {
            Verdict::Failed if policy.failed == Reaction::Stop => &mut stops.failed,
            Verdict::Open if item.by == Basis::Attested && policy.unattested == Reaction::Stop => {
                &mut stops.unattested
            }
            Verdict::Open if item.by == Basis::Attested => continue,
            Verdict::Open if item.id.as_str() == OBJECTIVES && held_by_few(state) => continue,
            Verdict::Open if policy.open == Reaction::Stop => &mut stops.open,
            _ => continue,
        };
        list.push(text);
        stops.is_of_another_phase |= group.notebook != phase;
    }
    stops
}

/// Returns the items of all phases that do not hold, where a policy stops at those: a run that succeeds has none.
#[must_use]
pub fn unaccepted(policy: &Policy, catalog: &Catalog, state: &RunState) -> Stops {
    let mut stops = Stops::default();
    if policy.failed != Reaction::Stop {
        return stops;
    }
    let settled = catalog.items().filter_map(|(group, item)| {
        let settled = state.items.get(&item.id)?;
        Some((group.notebook, item, settled))
    });
    let failed = settled.filter(|(.., settled)| settled.verdict == Verdict::Failed);
    let texts = failed.map(|(notebook, item, settled)| of_phase(notebook, item, settled));
    stops.failed.extend(texts);
    stops
}

/// Names an item that another phase than its own tells of.
fn of_phase(notebook: PhaseNumber, item: &Item, settled: &ItemState) -> String {
    format!("{} of phase {notebook}: {}", item.id, shown(settled))
}

fn shown(settled: &ItemState) -> String {
    look::cut(&settled.reason, SHOWN)
}

/// Returns whether an item is judged at the end of a phase: that of its notebook, the one by which it is due, and a later
/// one that found that it does not hold.
pub(crate) fn is_judged(
    state: &RunState,
    notebook: PhaseNumber,
    item: &Item,
    phase: PhaseNumber,
) -> bool {
    if phase == notebook || phase == due(state, notebook, item) {
        return true;
    }
    let settled = state.items.get(&item.id);
    let failed = settled.filter(|settled| settled.verdict == Verdict::Failed);
    phase > notebook && failed.is_some_and(|settled| settled.phase == Some(phase))
}

/// Returns the phase by whose end an item is to be settled: that of its notebook, or where all steps that look at it are
/// of later ones, the first of these. What is known of it earlier is judged earlier, too; that nothing is known then
/// says nothing.
pub(crate) fn due(state: &RunState, notebook: PhaseNumber, item: &Item) -> PhaseNumber {
    let steps = state.plan.iter().flat_map(|plan| &plan.steps);
    let looks = steps.filter(|step| step.items.contains(&item.id));
    let first = looks.map(|step| step.phase).min();
    first.map_or(notebook, |first| first.max(notebook))
}

/// Returns whether objectives are open only because requests were too few to show what was measured. The item says so,
/// with how many would do; that a sample is small is no reason to stop a run whose every measurement holds.
fn held_by_few(state: &RunState) -> bool {
    let mut gates = state.gates.iter().rev();
    let last = gates.find(|answer| answer.gate == Gate::Baseline);
    last.is_some_and(|answer| answer.unshown)
}

/// Returns whether failed items send the run back when traffic has moved, instead of leaving it
/// to the person who runs it.
#[must_use]
pub fn goes_back_on_failed_item(policy: &Policy) -> bool {
    policy.roll_back_on_failure
}

/// Returns whether a waiver counts for an item on that day. Under a policy that refuses them,
/// waivers of mandatory and forbidden items do not.
#[must_use]
pub fn waiver_counts(
    policy: &Policy,
    item: &Item,
    waiver: &Waiver,
    today: chrono::NaiveDate,
) -> bool {
    let strict = matches!(item.kind, ItemKind::Mandatory | ItemKind::Forbidden);
    let approved = waiver
        .approver
        .as_ref()
        .is_some_and(|name| !name.trim().is_empty());
    waiver.item == item.id
        && (approved || policy.waivers == WaiverRule::Allowed)
        && waiver.expires >= today
        && (!strict || policy.waive_mandatory)
        && !waiver.by.trim().is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::DateTime;
    use code_deploy_record::{Digest, GateState, ItemState, Planned};

    use super::*;
    use crate::spec::{ApprovalRule, PolicyKind};

    fn strict() -> Policy {
        Policy {
            kind: PolicyKind::Prod,
            approval: ApprovalRule::None,
            uncommitted: Reaction::Stop,
            unattested: Reaction::Stop,
            open: Reaction::Stop,
            failed: Reaction::Stop,
            unpinned_images: Reaction::Stop,
            waivers: WaiverRule::WithApprover,
            waive_mandatory: false,
            roll_back_on_failure: true,
        }
    }

    /// Returns what stops phase 8 when objectives are open, with a baseline gate that says this of small samples.
    fn stopped(unshown: bool) -> Stops {
        let mut state = RunState::default();
        let open = ItemState {
            verdict: Verdict::Open,
            reason: "2 of 2 hold by what was measured, which is too little to show".to_owned(),
            evidence: Vec::new(),
            seq: 1,
            phase: None,
        };
        state
            .items
            .insert(OBJECTIVES.parse().unwrap(), open.clone());
        state.items.insert("9.1.2".parse().unwrap(), open);
        state.gates.push(GateState {
            gate: Gate::Baseline,
            subject: "shop 1.1.0".to_owned(),
            passed: true,
            word: "passed",
            unshown,
            reason: String::new(),
            time: DateTime::UNIX_EPOCH,
        });
        let phase = PhaseNumber::new(8).unwrap();
        stops(&strict(), Catalog::shipped().unwrap(), &state, phase)
    }

    #[test]
    fn what_a_later_phase_looks_at_is_not_missed_before() {
        let catalog = Catalog::shipped().unwrap();
        let find = |id: &str| {
            let mut items = catalog.items();
            items.find(|(_, item)| item.id.as_str() == id).unwrap().1
        };
        let (build, release) = (PhaseNumber::new(3).unwrap(), PhaseNumber::new(6).unwrap());
        let mut state = RunState::default();
        assert_eq!(due(&state, build, find("2.2.7")), build);
        let smoke = serde_json::json!({
            "step": "release.smoke", "title": "walk", "phase": 6, "items": ["2.2.7"], "changes": false,
            "inside": "", "outside": "", "expected_ms": 1,
        });
        state.plan = Some(Planned {
            digest: Digest::of(b"plan"),
            evidence: Digest::of(b"whole"),
            steps: vec![serde_json::from_value(smoke).unwrap()],
        });
        assert_eq!(due(&state, build, find("2.2.7")), release);
        assert_eq!(due(&state, build, find("2.2.1")), build);
        let item = ItemState {
            verdict: Verdict::Open,
            reason: "in no registry".to_owned(),
            evidence: Vec::new(),
            seq: 1,
            phase: None,
        };
        assert!(stops(&strict(), catalog, &state, build).is_empty());
        state.items.insert("2.2.7".parse().unwrap(), item);
        for phase in [build, release] {
            assert_eq!(stops(&strict(), catalog, &state, phase).open.len(), 1);
        }
    }

    #[test]
    fn what_a_later_phase_finds_not_to_hold_stops_that_phase_and_says_whose_item_it_is() {
        let catalog = Catalog::shipped().unwrap();
        let [before, provision, between, release, after] =
            [3, 4, 5, 6, 7].map(|number| PhaseNumber::new(number).unwrap());
        let mut state = RunState::default();
        let mut settled = |verdict: Verdict, policy: &Policy| {
            let item = ItemState {
                verdict,
                reason: "at 50 % for release 1.1.0: web 70.0 % of 1000 requests".to_owned(),
                evidence: Vec::new(),
                seq: 1,
                phase: Some(release),
            };
            state.items.insert("3.4.5".parse().unwrap(), item);
            [before, provision, between, release, after]
                .map(|phase| stops(policy, catalog, &state, phase))
        };
        let failed = settled(Verdict::Failed, &strict());
        assert_eq!(
            failed.each_ref().map(|stops| stops.failed.len()),
            [0, 1, 0, 1, 0]
        );
        let reason = "1 item looked at and found not to hold (3.4.5 of phase 04: at 50 % for release 1.1.0: web 70.0 % of \
                      1000 requests)";
        assert_eq!(failed[3].reason(), reason);
        let of_another = failed.each_ref().map(|stops| stops.is_of_another_phase);
        assert_eq!(of_another, [false, false, false, true, false]);
        let open = settled(Verdict::Open, &strict()).map(|stops| stops.open.len());
        assert_eq!(open, [0, 1, 0, 0, 0]);
        let noting = Policy {
            failed: Reaction::Note,
            ..strict()
        };
        let waived = Verdict::Waived {
            by: "anna".to_owned(),
            expires: chrono::NaiveDate::MAX,
        };
        for stops in settled(Verdict::Failed, &noting)
            .iter()
            .chain(&settled(waived, &strict()))
        {
            assert!(stops.is_empty(), "{stops:?}");
        }
    }

    #[test]
    fn a_run_that_succeeds_has_no_failed_item_that_its_policy_stops_at() {
        let catalog = Catalog::shipped().unwrap();
        let mut state = RunState::default();
        let item = ItemState {
            verdict: Verdict::Failed,
            reason: "SHOP_TOKEN".to_owned(),
            evidence: Vec::new(),
            seq: 1,
            phase: None,
        };
        state.items.insert("7.3.6".parse().unwrap(), item);
        let noting = Policy {
            failed: Reaction::Note,
            ..strict()
        };
        assert!(unaccepted(&noting, catalog, &state).is_empty());
        let stops = unaccepted(&strict(), catalog, &state);
        assert_eq!(stops.failed, ["7.3.6 of phase 04: SHOP_TOKEN"]);
    }

    #[test]
    fn a_small_sample_stops_no_run_and_other_open_items_do() {
        let few = stopped(true);
        assert_eq!(few.open.len(), 1, "{few:?}");
        assert!(
            few.open.iter().all(|text| text.starts_with("9.1.2 ")),
            "{few:?}"
        );
        assert_eq!(stopped(false).open.len(), 2);
    }
}
