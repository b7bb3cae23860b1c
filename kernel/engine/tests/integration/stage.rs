//! A project in a temporary folder with a simulated target, and what tests ask of a record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::context::Answer;
use code_deploy_engine::duration::Span;
use code_deploy_engine::plan::{Found, MakeSteps};
use code_deploy_engine::release;
use code_deploy_engine::spec::{
    ApprovalRule, ComposeFacts, Policy, PolicyKind, ProbesFile, Reaction, Restart, Routing,
    Service, ServiceFile, Spec, Strategy, StrategyKind, TrafficStep, WaiverRule,
};
use code_deploy_engine::{Approver, Error, OpenOptions, Person, Purpose, Runner, Surroundings};
use code_deploy_record::{
    Digest, Event, EventBody, Redactor, Role, RunFolder, RunsFolder, SealKey, SystemClock,
};

use crate::simulated::Simulated;

/// Long enough for a busy machine; no test waits that long when it passes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The key that seals every run of these tests.
pub fn seal_key() -> Arc<SealKey> {
    Arc::new(SealKey::from_seed(&[7; 32]).unwrap())
}

struct Nobody;

#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &str) -> Option<Answer> {
        None
    }
}

/// A project with two services, of which `shop` needs `catalog`.
pub struct Stage {
    pub target: Simulated,
    pub spec: Spec,
    pub steps: MakeSteps,
    folder: tempfile::TempDir,
}

impl Stage {
    /// A stage where `from` runs, deployed by canary with these steps of percent and seconds.
    pub async fn with(kind: StrategyKind, steps: &[(u16, u64)], from: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path().to_owned(), kind, steps);
        let target = Simulated::new(folder.path().join("simulated"));
        target.address_all(&spec).await;
        if let Some(from) = from {
            target.seed(&spec, from).await;
        }
        Self {
            target,
            spec,
            steps: release::steps,
            folder,
        }
    }

    pub async fn canary() -> Self {
        Self::with(
            StrategyKind::Canary,
            &[(5, 0), (50, 0), (100, 0)],
            Some("1.0.0"),
        )
        .await
    }

    pub fn options(&self, to: &str, purpose: Purpose) -> OpenOptions {
        let spec = Arc::new(self.spec.clone());
        OpenOptions {
            inventory: Arc::new(Found::declared(&spec)),
            spec,
            target: Arc::new(self.target.clone()),
            to: Some(to.parse().unwrap()),
            purpose,
            person: Person {
                name: "anna".to_owned(),
                host: "here".to_owned(),
            },
            program: PathBuf::from("/nowhere/code-deploy"),
            program_version: "0.0.0".to_owned(),
            make_handover: None,
            surroundings: Surroundings::default(),
            clock: Arc::new(SystemClock),
            redactor: Redactor::default(),
            approver: Arc::new(Nobody),
            planted_fault: None,
            steps: self.steps,
            item_facts: |_, _| None,
            reverts: None,
            seal_key: Some(seal_key()),
        }
    }

    pub async fn open(&self, to: &str) -> Runner {
        self.try_open(to, Purpose::Deploy).await.unwrap()
    }

    pub async fn try_open(&self, to: &str, purpose: Purpose) -> Result<Runner, Error> {
        Runner::open(self.options(to, purpose)).await
    }

    pub fn runs(&self) -> RunsFolder {
        RunsFolder::of_project(self.folder.path())
    }

    pub fn last_run(&self) -> RunFolder {
        let runs = self.runs();
        runs.run(runs.list().unwrap().last().unwrap()).unwrap()
    }

    pub fn events(&self) -> Vec<Event> {
        self.last_run()
            .events()
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// The events in short, for comparing their order.
    pub fn course(&self) -> Vec<String> {
        self.events()
            .iter()
            .filter_map(|event| short(&event.body))
            .collect()
    }
}

fn short(body: &EventBody) -> Option<String> {
    Some(match body {
        EventBody::RunStarted(_) => "run started".to_owned(),
        EventBody::Planned(_) => "planned".to_owned(),
        EventBody::StepIntended {
            step, direction, ..
        } => format!("{direction:?} {step}"),
        EventBody::StepFinished { step, outcome, .. } => format!("{step} {outcome:?}"),
        EventBody::GateEvaluated(gate) => format!("gate {} {}", gate.gate.word(), gate.passed),
        EventBody::RollbackStarted { trigger, .. } => format!("rollback {trigger:?}"),
        EventBody::RollbackFinished { outcome, .. } => format!("rollback finished {outcome:?}"),
        EventBody::RollbackRehearsed { .. } => "rehearsed".to_owned(),
        EventBody::EvidenceKept { name, .. } => format!("kept {name}"),
        EventBody::Paused { .. } => "paused".to_owned(),
        EventBody::Resumed { .. } => "resumed".to_owned(),
        EventBody::RunFinished { outcome, .. } => outcome.words().to_owned(),
        EventBody::Sealed { .. } => "sealed".to_owned(),
        _ => return None,
    })
}

/// The place of the first entry that is `what`.
#[track_caller]
pub fn place(course: &[String], what: &str) -> usize {
    let found = course.iter().position(|entry| entry == what);
    found.unwrap_or_else(|| panic!("`{what}` is not in {course:#?}"))
}

/// The stable code of a refusal.
pub fn code<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.problem().code,
    }
}

fn spec(project: PathBuf, kind: StrategyKind, steps: &[(u16, u64)]) -> Spec {
    let file = serde_json::json!({ "application": "shop", "environments": { "dev": {} } });
    let mut strategy = Strategy {
        kind,
        ..Strategy::default()
    };
    strategy.steps = steps
        .iter()
        .map(|(percent, soak)| TrafficStep {
            percent: *percent,
            soak: Span::from_secs(*soak),
        })
        .collect();
    strategy.health.interval = Span::from_millis(10);
    strategy.health.timeout = Span::from_secs(5);
    strategy.health.deadline = Span::from_secs(20);
    strategy.keep_old = Span::from_millis(1);
    Spec {
        path: project.join("deploy.yaml"),
        project,
        digest: Digest::of(b"deploy.yaml"),
        application: "shop".to_owned(),
        environment: "dev".to_owned(),
        target: "simulated".to_owned(),
        release: None,
        services: vec![service("catalog", &[]), service("shop", &["catalog"])],
        strategy,
        policy: Policy {
            kind: PolicyKind::Dev,
            approval: ApprovalRule::None,
            uncommitted: Reaction::Note,
            unattested: Reaction::Note,
            open: Reaction::Note,
            failed: Reaction::Stop,
            unpinned_images: Reaction::Note,
            waivers: WaiverRule::Allowed,
            waive_mandatory: true,
            roll_back_on_failure: false,
        },
        requires: Vec::new(),
        journeys: Vec::new(),
        file: serde_json::from_value(file).unwrap(),
        compose_notes: Vec::new(),
        compose: ComposeFacts::default(),
        manifests: Vec::new(),
        rendered: Vec::new(),
        files: Vec::new(),
    }
}

fn service(name: &str, needs: &[&str]) -> Service {
    let probes = ProbesFile {
        startup: Some("/started".to_owned()),
        readiness: Some("/ready".to_owned()),
        liveness: Some("/live".to_owned()),
    };
    Service {
        name: name.to_owned(),
        role: Role::Backend,
        owner: None,
        image: None,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        port: 80,
        published: None,
        replicas: 2,
        environment: std::collections::BTreeMap::new(),
        restart: Restart::Always,
        stop_grace: Span::from_millis(100),
        memory_limit: None,
        processor_limit: None,
        file: ServiceFile {
            probes,
            metrics: Some("/metrics".to_owned()),
            routing: Routing::default(),
            ..ServiceFile::default()
        },
    }
}
