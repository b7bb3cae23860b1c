//! The steps of the phases, section by section.

pub mod build;
mod facts;
pub mod handover;
pub mod inventory;
pub(crate) mod look;
pub mod migrate;
pub mod observe;
pub(crate) mod paths;
pub mod planning;
pub(crate) mod policy;
pub mod preflight;
pub mod provision;
pub mod validate;

use std::sync::Arc;

use code_deploy_record::ItemId;

use crate::Step;
use crate::plan::Inputs;

pub use facts::item_facts;

/// The steps that judge whether what runs is well. A run that goes back does not ask: what it
/// leaves may be ill, and asking somebody who hangs costs minutes that its users do not have.
const JUDGE_WHAT_RUNS: [&str; 3] = [
    "preflight.health",
    "preflight.dependencies",
    "provision.connectivity",
];

/// Why a run that goes back leaves open what these steps establish.
pub(crate) const NOT_JUDGED: &str = "the run goes back, and does not judge what it leaves";

/// Returns the steps of all phases. The plan orders them by phase; inside a phase they keep this
/// order, so that the outside client, which is among those of the release, comes before all
/// others of its phase.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = crate::release::steps(inputs);
    steps.extend(inventory::steps(inputs));
    steps.extend(planning::steps(inputs));
    steps.extend(preflight::steps(inputs));
    steps.extend(build::steps(inputs));
    steps.extend(provision::steps(inputs));
    steps.extend(migrate::steps(inputs));
    steps.extend(observe::steps(inputs));
    steps.extend(validate::steps(inputs));
    steps.extend(handover::steps(inputs));
    if inputs.reverts.is_some() {
        steps.retain(|step| !judges_what_runs(step));
    }
    steps
}

fn judges_what_runs(step: &Arc<dyn Step>) -> bool {
    JUDGE_WHAT_RUNS.contains(&step.planned().step.as_str())
}

/// Returns the items that are settled by judging what runs, which a run that goes back does not do.
pub(crate) fn items_of_what_runs(inputs: &Inputs) -> Vec<ItemId> {
    let steps = [preflight::steps(inputs), provision::steps(inputs)].concat();
    let judging = steps.iter().filter(|step| judges_what_runs(step));
    judging
        .flat_map(|step| step.planned().items.clone())
        .collect()
}

/// Fills a template: each `{{ name }}` becomes its value.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{ ") {
        filled.push_str(before);
        let (name, after) = after.split_once(" }}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or("not known", |(_, value)| value));
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;

    use code_deploy_record::Catalog;

    use super::*;
    use crate::plan::{Found, Inputs};
    use crate::spec::Spec;

    fn shop() -> Inputs {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop/deploy.yaml");
        let spec = Spec::load(&file, "dev", "local", &|_| None).unwrap();
        let inventory = Arc::new(Found::declared(&spec));
        let (spec, to) = (Arc::new(spec), "1.1.0".parse().unwrap());
        Inputs {
            spec,
            inventory,
            from: None,
            to,
            initial: true,
            reverts: None,
        }
    }

    #[test]
    fn every_item_of_the_last_three_notebooks_has_one_step_that_settles_it() {
        let inputs = shop();
        let phases = [
            observe::steps(&inputs),
            validate::steps(&inputs),
            handover::steps(&inputs),
        ];
        assert_eq!(phases.each_ref().map(Vec::len), [5, 5, 6]);
        let steps: Vec<_> = phases.into_iter().flatten().collect();
        let items: Vec<_> = steps
            .iter()
            .flat_map(|step| step.planned().items.clone())
            .collect();
        let settled: BTreeSet<_> = items.iter().cloned().collect();
        assert_eq!(settled.len(), items.len(), "an item has two steps");
        let catalog = Catalog::shipped().unwrap();
        let own = catalog
            .items()
            .filter(|(group, _)| group.notebook.get() >= 7);
        let own = own.map(|(_, item)| item.id.clone());
        assert_eq!(settled, own.collect::<BTreeSet<_>>());
    }

    #[test]
    fn every_item_of_the_first_five_notebooks_has_one_step_or_a_fact_or_is_known_to_stay_open() {
        let inputs = shop();
        let steps = [
            inventory::steps(&inputs),
            planning::steps(&inputs),
            preflight::steps(&inputs),
            build::steps(&inputs),
            provision::steps(&inputs),
            migrate::steps(&inputs),
        ];
        assert_eq!(steps.each_ref().map(Vec::len), [4, 4, 5, 6, 6, 5]);
        let items: Vec<_> = steps
            .iter()
            .flatten()
            .flat_map(|step| step.planned().items.clone())
            .collect();
        let settled: BTreeSet<_> = items.iter().cloned().collect();
        assert_eq!(settled.len(), items.len(), "an item has two steps");
        let catalog = Catalog::shipped().unwrap();
        let own = catalog
            .items()
            .filter(|(group, _)| group.notebook.get() <= 5);
        let left = own
            .map(|(_, item)| item)
            .filter(|item| !settled.contains(&item.id) && item_facts(item, &inputs).is_none());
        let left: Vec<_> = left.map(|item| item.id.as_str().to_owned()).collect();
        // Licences, authentication and what only a person can vouch for; no rate is limited.
        assert_eq!(
            left,
            [
                "1.5.5", "7.1.1", "7.1.2", "7.1.3", "7.1.4", "7.2.4", "7.3.1"
            ]
        );
    }

    #[test]
    fn what_a_step_settles_is_never_explained_away_by_a_fact_of_a_local_target() {
        let inputs = shop();
        let catalog = Catalog::shipped().unwrap();
        for step in [
            inventory::steps(&inputs),
            build::steps(&inputs),
            provision::steps(&inputs),
        ]
        .concat()
        {
            for id in &step.planned().items {
                let item = catalog.item(id).unwrap();
                assert_eq!(item_facts(item, &inputs), None, "{id}");
            }
        }
    }

    #[test]
    fn a_plan_of_all_phases_fits_together_and_each_step_names_two_checks() {
        let first = shop();
        let next = Inputs {
            from: "1.0.0".parse().ok(),
            initial: false,
            ..first.clone()
        };
        for inputs in [first, next] {
            let plan = crate::Plan::make(&inputs).unwrap();
            assert_eq!(plan.digest, crate::Plan::make(&inputs).unwrap().digest);
            for step in plan.planned() {
                assert!(
                    !step.inside.is_empty() && !step.outside.is_empty(),
                    "{}",
                    step.step
                );
                assert_ne!(step.inside, step.outside, "{}", step.step);
                assert!(!step.changes || step.undo.is_some(), "{}", step.step);
            }
            let own = plan.sections("provision");
            let client = if inputs.initial {
                "resources"
            } else {
                "outside-client"
            };
            assert_eq!(own.first().map(String::as_str), Some(client));
        }
    }

    #[test]
    fn a_run_that_goes_back_judges_nothing_of_what_it_leaves() {
        let forward = Inputs {
            from: "1.0.0".parse().ok(),
            initial: false,
            ..shop()
        };
        let back = Inputs {
            reverts: "2026-01-01-1".parse().ok(),
            ..forward.clone()
        };
        let names = |inputs: &Inputs| {
            let steps = steps(inputs);
            let names = steps.iter().map(|step| step.planned().step.to_string());
            names.collect::<BTreeSet<_>>()
        };
        let left_out = JUDGE_WHAT_RUNS.map(str::to_owned);
        let all = names(&forward);
        assert!(left_out.iter().all(|name| all.contains(name)));
        assert!(names(&back).is_disjoint(&left_out.into()));
        let items: Vec<_> = items_of_what_runs(&back);
        assert!(items.iter().any(|item| item.as_str() == "1.4.1"));
    }

    #[test]
    fn alerts_follow_from_services_and_objectives() {
        let alerts = observe::alerts(&shop().spec);
        let names: Vec<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
        for name in [
            "StorefrontDown",
            "CatalogDown",
            "StorefrontErrorBudget",
            "OrdersErrorBudget",
            "StorefrontSlow",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn a_template_says_what_is_not_known() {
        let values = [("a", "{{ b }}"), ("b", "2")];
        assert_eq!(
            fill("{{ a }} {{ b }} {{ c }}.", &values),
            "{{ b }} 2 not known."
        );
    }
}
