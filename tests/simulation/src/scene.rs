//! What a seed decides before anything runs: the application, its strategy, and what is wrong with
//! the new release.

use std::path::PathBuf;
use std::time::Duration;

use code_deploy_engine::duration::Span;
use code_deploy_engine::spec::{
    ApprovalRule, ComposeFacts, Policy, PolicyKind, ProbesFile, Reaction, Restart, Routing,
    Service, ServiceFile, Spec, Strategy, StrategyKind, TrafficStep, WaiverRule,
};
use code_deploy_engine::steer::Asking;
use code_deploy_record::{Digest, Role};

use crate::chance::Dice;

/// The release that ran before.
pub const OLD: &str = "1.0.0";

/// The release that is deployed.
pub const NEW: &str = "1.1.0";

/// What a seed decides before anything runs.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The strategy.
    pub strategy: StrategyKind,
    /// The services, each with its number of replicas.
    pub services: Vec<(String, u32)>,
    /// Whether each service needs the one before; otherwise all need the first.
    pub chained: bool,
    /// Shares and seconds of watching.
    pub moves: Vec<(u16, u64)>,
    /// Whether the rollback is rehearsed.
    pub rehearse: bool,
    /// Whether nothing ran before.
    pub initial: bool,
    /// Whether somebody has to say go.
    pub approval: bool,
    /// What is answered in the end to a run that waits for a go, if somebody has to say it.
    pub answers: Option<bool>,
    /// Whether the new release never gets ready.
    pub unready: bool,
    /// Whether requests to the new release fail.
    pub failing: bool,
    /// How many steps of other phases there are.
    pub others: u64,
    /// What people ask for, and when after each start of a runner.
    pub steering: Vec<(Duration, Asking)>,
}

impl Scene {
    /// Returns a plain canary of two services with two replicas, for sweeps.
    #[must_use]
    pub fn plain(strategy: StrategyKind) -> Self {
        Self {
            strategy,
            services: vec![("catalog".to_owned(), 2), ("shop".to_owned(), 2)],
            chained: true,
            moves: vec![(5, 1), (50, 0), (100, 0)],
            rehearse: true,
            initial: false,
            approval: false,
            answers: None,
            unready: false,
            failing: false,
            others: 4,
            steering: Vec::new(),
        }
    }

    /// Returns what a seed decides.
    #[must_use]
    pub fn of(dice: &mut Dice) -> Self {
        let strategy = dice.one_of(&[
            StrategyKind::Canary,
            StrategyKind::Canary,
            StrategyKind::BlueGreen,
            StrategyKind::Rolling,
        ]);
        let names = ["catalog", "shop", "web"];
        let services = names.iter().take(dice.between(1, 3) as usize);
        let services = services
            .map(|name| ((*name).to_owned(), dice.between(1, 3) as u32))
            .collect();
        let shares: &[&[u16]] = &[
            &[5, 50, 100],
            &[25, 100],
            &[50, 100],
            &[100],
            &[5, 25, 50, 100],
        ];
        let moves = dice.one_of(shares).iter();
        let moves = moves.map(|share| (*share, dice.between(0, 2))).collect();
        let mut scene = Self {
            strategy,
            services,
            chained: true,
            moves,
            rehearse: dice.percent(70),
            initial: dice.percent(10),
            approval: dice.percent(10),
            answers: None,
            unready: dice.percent(8),
            failing: dice.percent(10),
            others: dice.between(0, 4),
            steering: Vec::new(),
        };
        scene.steer(dice);
        scene
    }

    fn steer(&mut self, dice: &mut Dice) {
        let mut at = Duration::ZERO;
        while dice.percent(35) {
            at += Duration::from_millis(dice.between(0, 8_000));
            let asking = match dice.between(0, 9) {
                0..=1 => Asking::Rollback,
                2 => Asking::Resume,
                3 => Asking::Approve {
                    go: true,
                    signed: None,
                },
                4 => Asking::Status,
                _ => Asking::Pause,
            };
            let pauses = asking == Asking::Pause;
            self.steering.push((at, asking));
            if pauses {
                at += Duration::from_millis(dice.between(0, 20_000));
                let back = dice.percent(25);
                let next = if back {
                    Asking::Rollback
                } else {
                    Asking::Resume
                };
                self.steering.push((at, next));
            }
        }
        self.answers = self.approval.then(|| dice.percent(85));
    }

    /// Returns the release that ran before.
    #[must_use]
    pub fn from(&self) -> Option<&'static str> {
        (!self.initial).then_some(OLD)
    }

    /// Returns the deployment file as read.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let project = PathBuf::from("/simulated/project");
        let file = serde_json::json!({ "application": "shop", "environments": { "dev": {} } });
        let approval = if self.approval {
            ApprovalRule::SomebodyElse
        } else {
            ApprovalRule::None
        };
        Spec {
            path: project.join("deploy.yaml"),
            project,
            digest: Digest::of(b"deploy.yaml"),
            application: "shop".to_owned(),
            environment: "dev".to_owned(),
            target: "simulated".to_owned(),
            release: None,
            services: self.service_specs(),
            strategy: self.strategy_spec(),
            policy: Policy {
                kind: PolicyKind::Dev,
                approval,
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

    fn strategy_spec(&self) -> Strategy {
        let mut strategy = Strategy {
            kind: self.strategy,
            ..Strategy::default()
        };
        let moves = self.moves.iter();
        strategy.steps = moves
            .map(|(percent, soak)| TrafficStep {
                percent: *percent,
                soak: Span::from_secs(*soak),
            })
            .collect();
        strategy.rehearse_rollback = self.rehearse;
        strategy.health.interval = Span::from_secs(5);
        strategy.health.timeout = Span::from_secs(2);
        strategy.health.passes = 2;
        strategy.health.deadline = Span::from_secs(30);
        strategy.keep_old = Span::from_secs(1);
        strategy
    }

    fn service_specs(&self) -> Vec<Service> {
        let mut needed: Option<&str> = None;
        let mut specs = Vec::new();
        for (name, replicas) in &self.services {
            specs.push(service(name, *replicas, needed));
            if self.chained || needed.is_none() {
                needed = Some(name);
            }
        }
        specs
    }
}

fn service(name: &str, replicas: u32, needs: Option<&str>) -> Service {
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
        needs: needs.into_iter().map(str::to_owned).collect(),
        port: 80,
        published: None,
        replicas,
        environment: std::collections::BTreeMap::new(),
        restart: Restart::Always,
        stop_grace: Span::from_secs(1),
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
