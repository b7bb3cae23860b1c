//! The plan of a simulated run: the real steps of the release, and between them steps that change
//! something else, as a migration or a network does.

use std::cell::RefCell;
use std::sync::Arc;

use async_trait::async_trait;
use code_deploy_engine::plan::Inputs;
use code_deploy_engine::step::StepError;
use code_deploy_engine::{Context, Step, gate, release};
use code_deploy_record::{Check, PhaseNumber, PlannedStep, Vantage};
use serde_json::{Value, json};

use crate::target::Place;

thread_local! {
    /// The place as the process that runs sees it, and how many steps of other phases there are.
    static HERE: RefCell<Option<(Place, u64)>> = const { RefCell::new(None) };
}

/// Says which process runs in this thread from here on.
pub fn enter(place: &Place, others: u64) {
    HERE.with(|here| *here.borrow_mut() = Some((place.clone(), others)));
}

fn here() -> (Place, u64) {
    HERE.with(|here| here.borrow().clone()).unwrap()
}

/// The steps of other phases, by name and phase.
const OTHERS: [(&str, u8); 4] = [
    ("migrate.schema", 5),
    ("provision.network", 4),
    ("observe.alerts", 7),
    ("migrate.data", 5),
];

/// Returns the steps of the plan.
#[must_use]
pub fn all(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = release::steps(inputs);
    let (_, others) = here();
    for (name, phase) in OTHERS.iter().take(others as usize) {
        steps.push(Arc::new(Other {
            planned: planned(name, *phase, true),
        }));
    }
    steps.push(Arc::new(Approval {
        planned: planned("preflight.approval", 2, false),
    }));
    steps
}

/// Returns the steps of a plan that is not the one a run began with.
#[must_use]
pub fn changed(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = all(inputs);
    steps.push(Arc::new(Other {
        planned: planned("validate.another", 8, true),
    }));
    steps
}

fn planned(name: &str, phase: u8, changes: bool) -> PlannedStep {
    PlannedStep {
        step: name.parse().unwrap(),
        title: format!("make {name}"),
        phase: PhaseNumber::new(phase).unwrap(),
        service: None,
        after: Vec::new(),
        items: Vec::new(),
        undo: changes.then(|| format!("take {name} back")),
        changes,
        inside: "the world's own list".to_owned(),
        outside: "a request".to_owned(),
        expected_ms: 1_000,
    }
}

/// A step that makes one thing.
struct Other {
    planned: PlannedStep,
}

impl Other {
    fn name(&self) -> String {
        self.planned.step.to_string()
    }

    /// A thing is made in two parts; half of it is one part.
    fn parts(&self) -> [String; 2] {
        [self.name(), format!("{}'", self.name())]
    }

    async fn set(&self, there: bool) -> Result<(), StepError> {
        let (place, _) = here();
        let parts = self.parts();
        let set = |world: &mut crate::world::Inner, parts: &[String]| {
            for part in parts {
                let changed = if there {
                    world.effects.insert(part.clone())
                } else {
                    world.effects.remove(part)
                };
                if changed {
                    let name = part.trim_end_matches('\'').to_owned();
                    world.note(
                        Some(place.process),
                        crate::world::What::Effect { name, there },
                    );
                }
            }
        };
        let half = &parts[..1];
        place
            .change(
                "a change",
                |world| set(world, &parts),
                |world| set(world, half),
            )
            .await?;
        Ok(())
    }

    fn check(&self, vantage: Vantage, there: bool) -> Check {
        let (place, _) = here();
        let world = place.world.look();
        let parts = self.parts();
        let present = parts
            .iter()
            .filter(|part| world.effects.contains(*part))
            .count();
        Check {
            vantage,
            method: "the world's own list".to_owned(),
            passed: present == if there { 2 } else { 0 },
            detail: format!("{present} of 2 parts are there"),
        }
    }
}

#[async_trait]
impl Step for Other {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, _: &Context) -> Value {
        json!({ "make": self.name() })
    }

    async fn apply(&self, _: &Context) -> Result<Value, StepError> {
        self.set(true).await?;
        Ok(json!({ "made": self.name() }))
    }

    async fn verify(&self, _: &Context) -> Result<Check, StepError> {
        Ok(self.check(Vantage::Inside, true))
    }

    async fn cross_check(&self, _: &Context) -> Result<Check, StepError> {
        Ok(self.check(Vantage::Outside, true))
    }

    async fn undo(&self, _: &Context) -> Result<Value, StepError> {
        self.set(false).await?;
        Ok(Value::Null)
    }

    async fn verify_undone(&self, _: &Context) -> Result<Check, StepError> {
        Ok(self.check(Vantage::Inside, false))
    }

    async fn cross_check_undone(&self, _: &Context) -> Result<Check, StepError> {
        Ok(self.check(Vantage::Outside, false))
    }
}

/// A step at which somebody says go.
struct Approval {
    planned: PlannedStep,
}

impl Approval {
    fn check(context: &Context, vantage: Vantage) -> Check {
        Check {
            vantage,
            method: "the record".to_owned(),
            passed: true,
            detail: format!("{} approvals", context.state().approvals.len()),
        }
    }
}

#[async_trait]
impl Step for Approval {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, _: &Context) -> Value {
        Value::Null
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        gate::approval::pass(context, "go/no-go", "deploy").await?;
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        Ok(Self::check(context, Vantage::Inside))
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        Ok(Self::check(context, Vantage::Outside))
    }
}
