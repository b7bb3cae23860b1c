//! The plan: what a run is going to do, in order, decided before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use code_deploy_record::{
    Component, Digest, PhaseNumber, PlannedStep, Release, Role, RunId, StepName,
};
use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result, Spec, Step};

/// What a plan is made from. The same inputs give the same plan.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The deployment file as read, for one environment and target.
    pub spec: Arc<Spec>,
    /// What the inventory found.
    pub inventory: Arc<Found>,
    /// The release that runs before; nothing for a first deployment.
    pub from: Option<Release>,
    /// The release to deploy.
    pub to: Release,
    /// Whether no release ran before, so that there is no stable one to share traffic with.
    pub initial: bool,
    /// For a run that goes back from a finished run: that run. Traffic is then moved at once.
    pub reverts: Option<RunId>,
}

/// What the inventory found, as far as a plan rests on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Found {
    /// The components.
    pub components: Vec<Component>,
    /// The whole inventory, which the run keeps as evidence.
    pub document: Value,
}

impl Found {
    /// Returns what the deployment file and its Compose file declare, without looking further.
    #[must_use]
    pub fn declared(spec: &Spec) -> Self {
        let services = spec.services.iter().map(|service| Component {
            name: service.name.clone(),
            role: service.role,
            owner: service.owner.clone(),
            needs: service.needs.clone(),
            ports: vec![service.port],
            replicas: service.replicas,
            endpoints: None,
        });
        let known: BTreeSet<_> = spec
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let databases = spec
            .file
            .databases
            .keys()
            .filter(|name| !known.contains(name.as_str()));
        let databases = databases.map(|name| Component {
            name: name.clone(),
            role: Role::Database,
            owner: None,
            needs: Vec::new(),
            ports: Vec::new(),
            replicas: 1,
            endpoints: None,
        });
        let components: Vec<_> = services.chain(databases).collect();
        let document = serde_json::json!({ "components": components });
        Self {
            components,
            document,
        }
    }
}

/// Makes the steps of a plan from its inputs.
pub type MakeSteps = fn(&Inputs) -> Vec<Arc<dyn Step>>;

/// What a run is going to do, in order. Making one changes nothing.
#[derive(Clone)]
pub struct Plan {
    /// The steps, in order: by phase, and inside a phase each after the ones it needs.
    pub steps: Vec<Arc<dyn Step>>,
    /// The digest of the steps as planned and of what they rest on. It holds no time and no name
    /// of a run, so that the same inputs give the same digest.
    pub digest: Digest,
    index: Arc<Index>,
}

/// Where the steps of a plan stand.
#[derive(Debug, Default)]
struct Index {
    places: BTreeMap<StepName, usize>,
    /// The steps of the section before, by verb and section.
    before: BTreeMap<(String, String), Vec<StepName>>,
}

impl Index {
    fn of(steps: &[Arc<dyn Step>]) -> Self {
        let mut index = Self::default();
        let mut sections: BTreeMap<String, Vec<(String, Vec<StepName>)>> = BTreeMap::new();
        for (place, step) in steps.iter().enumerate() {
            let name = &step.planned().step;
            index.places.insert(name.clone(), place);
            let of_verb = sections.entry(verb_of(name).to_owned()).or_default();
            let section = section_of(name);
            match of_verb.iter_mut().find(|(known, _)| known == section) {
                Some((_, own)) => own.push(name.clone()),
                None => of_verb.push((section.to_owned(), vec![name.clone()])),
            }
        }
        for (verb, of_verb) in sections {
            let own = of_verb.iter().skip(1);
            for ((_, before), (section, _)) in of_verb.iter().zip(own) {
                let key = (verb.clone(), section.clone());
                index.before.insert(key, before.clone());
            }
        }
        index
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("digest", &self.digest)
            .field("steps", &self.steps.len())
            .finish()
    }
}

#[derive(Serialize)]
struct Digested<'a> {
    application: &'a str,
    environment: &'a str,
    target: &'a str,
    deployment_file: Digest,
    from: &'a Option<Release>,
    to: &'a Release,
    initial: bool,
    reverts: bool,
    components: &'a [Component],
    steps: &'a [PlannedStep],
}

/// Returns the steps of all phases.
#[must_use]
pub fn all_steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    crate::phases::steps(inputs)
}

impl Plan {
    /// Makes the plan of a run with the steps of all phases.
    ///
    /// # Errors
    /// [`Error::Refused`] (`CD0403`) when the steps do not fit together.
    pub fn make(inputs: &Inputs) -> Result<Self> {
        Self::of(inputs, all_steps)
    }

    /// Makes the plan of a run with the steps that `steps` gives.
    ///
    /// # Errors
    /// [`Error::Refused`] (`CD0403`) when two steps have the same name, when a step waits for one
    /// that is not planned, or when steps wait for each other.
    pub fn of(inputs: &Inputs, steps: MakeSteps) -> Result<Self> {
        let steps = in_order(steps(inputs))?;
        let planned: Vec<_> = steps.iter().map(|step| step.planned().clone()).collect();
        let spec = &inputs.spec;
        let digested = Digested {
            application: &spec.application,
            environment: &spec.environment,
            target: &spec.target,
            deployment_file: spec.digest,
            from: &inputs.from,
            to: &inputs.to,
            initial: inputs.initial,
            reverts: inputs.reverts.is_some(),
            components: &inputs.inventory.components,
            steps: &planned,
        };
        let text = serde_json::to_vec(&digested).map_err(code_deploy_record::Error::from)?;
        Ok(Self {
            index: Arc::new(Index::of(&steps)),
            steps,
            digest: Digest::of(&text),
        })
    }

    /// Returns the steps as they stand in the plan, in order.
    #[must_use]
    pub fn planned(&self) -> Vec<PlannedStep> {
        self.steps
            .iter()
            .map(|step| step.planned().clone())
            .collect()
    }

    /// Returns the step of that name.
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&Arc<dyn Step>> {
        let place = self.index.places.get(name)?;
        self.steps.get(*place)
    }

    /// Returns the steps of a verb, in order.
    pub fn of_verb<'a>(&'a self, verb: &'a str) -> impl Iterator<Item = &'a Arc<dyn Step>> {
        self.steps
            .iter()
            .filter(move |step| verb_of(&step.planned().step) == verb)
    }

    /// Returns the sections of a verb, in order.
    #[must_use]
    pub fn sections(&self, verb: &str) -> Vec<String> {
        let mut sections: Vec<String> = Vec::new();
        for step in self.of_verb(verb) {
            let section = section_of(&step.planned().step);
            if !sections.iter().any(|known| known == section) {
                sections.push(section.to_owned());
            }
        }
        sections
    }

    /// Returns the names of the steps that must be done before `step`: those it names, or, when
    /// it names none, all steps of the section before.
    #[must_use]
    pub fn before(&self, step: &PlannedStep) -> Vec<StepName> {
        if !step.after.is_empty() {
            return step.after.clone();
        }
        let (verb, section) = (verb_of(&step.step), section_of(&step.step));
        let key = (verb.to_owned(), section.to_owned());
        self.index.before.get(&key).cloned().unwrap_or_default()
    }

    /// Returns the steps to carry out for a section of a verb: its own, and those between them
    /// that some of its own wait for.
    #[must_use]
    pub fn selection(&self, verb: &str, section: Option<&str>) -> Vec<Arc<dyn Step>> {
        let all: Vec<_> = self.of_verb(verb).cloned().collect();
        let Some(section) = section else {
            return all;
        };
        let is_own = |name: &StepName| section_of(name) == section;
        let mut needed: BTreeSet<StepName> = BTreeSet::new();
        let mut reaches: BTreeMap<StepName, bool> = BTreeMap::new();
        for step in &all {
            let planned = step.planned();
            let before = self.before(planned);
            let reached = is_own(&planned.step)
                || before
                    .iter()
                    .any(|name| reaches.get(name).copied().unwrap_or(false));
            reaches.insert(planned.step.clone(), reached);
        }
        for step in all.iter().rev() {
            let planned = step.planned();
            if is_own(&planned.step) || needed.contains(&planned.step) {
                needed.insert(planned.step.clone());
                needed.extend(self.before(planned));
            }
        }
        let wanted =
            |name: &StepName| needed.contains(name) && reaches.get(name).copied().unwrap_or(false);
        all.into_iter()
            .filter(|step| wanted(&step.planned().step))
            .collect()
    }

    /// Returns how long all steps of a phase are expected to take when run one after the other.
    #[must_use]
    pub fn expected(&self, phase: PhaseNumber) -> std::time::Duration {
        let steps = self.steps.iter().map(|step| step.planned());
        let milliseconds = steps
            .filter(|step| step.phase == phase)
            .map(|step| step.expected_ms);
        std::time::Duration::from_millis(milliseconds.sum())
    }
}

/// Returns the verb that a step belongs to: the first part of its name.
#[must_use]
pub fn verb_of(step: &StepName) -> &str {
    step.as_str().split('.').next().unwrap_or_default()
}

/// Returns the section that a step belongs to: the second part of its name.
#[must_use]
pub fn section_of(step: &StepName) -> &str {
    step.as_str().split('.').nth(1).unwrap_or_default()
}

/// Orders steps by phase, keeps the given order inside a phase, and checks that each comes after
/// those it waits for.
fn in_order(mut steps: Vec<Arc<dyn Step>>) -> Result<Vec<Arc<dyn Step>>> {
    steps.sort_by_key(|step| {
        (
            step.planned().phase,
            verb_of(&step.planned().step) == "finish",
        )
    });
    let mut seen = BTreeSet::new();
    for step in &steps {
        let PlannedStep {
            step: name, after, ..
        } = step.planned();
        if let Some(missing) = after.iter().find(|before| !seen.contains(before)) {
            return Err(unfit(format!(
                "step `{name}` waits for `{missing}`, which is not planned before it"
            )));
        }
        if !seen.insert(name) {
            return Err(unfit(format!("two steps have the name `{name}`")));
        }
    }
    Ok(steps)
}

fn unfit(what: String) -> Error {
    Error::refused(
        "CD0403",
        format!("the plan does not fit together: {what}"),
        "This is a defect of the program: report it with the deployment file.",
    )
}
