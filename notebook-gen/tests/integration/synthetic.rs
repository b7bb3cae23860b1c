//! Synthetic records, written through the record's own writer. Nothing in them was measured: the
//! figures are made by formulas, so that tests know what pages must say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::*;

/// How the synthetic run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    Succeeded,
    RolledBack,
    Refused,
    Initial,
    /// It succeeds, and an instance of the release before is not ready for a while.
    Ill,
}

struct SetClock(Mutex<DateTime<Utc>>);

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

pub fn start() -> DateTime<Utc> {
    "2026-11-23T14:00:00Z".parse().unwrap()
}

pub struct Synthetic {
    pub folder: RunFolder,
    journal: JournalWriter,
    clock: Arc<SetClock>,
    story: Story,
    /// How many times longer than the short run (90 s) it lasts.
    stretch: f64,
    begin: DateTime<Utc>,
    previous: Option<PreviousRun>,
}

const SERVICES: [&str; 3] = ["storefront", "catalog", "orders"];

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn phase(number: u8) -> PhaseNumber {
    PhaseNumber::new(number).unwrap()
}

/// Writes a whole synthetic run below `project`.
pub fn run(project: &Path, name: &str, story: Story) -> RunFolder {
    run_of(project, name, story, 90.0, start())
}

pub fn run_of(
    project: &Path,
    name: &str,
    story: Story,
    seconds: f64,
    begin: DateTime<Utc>,
) -> RunFolder {
    run_after(project, name, story, seconds, begin, None)
}

/// Writes a run whose record names the run before it.
pub fn run_after(
    project: &Path,
    name: &str,
    story: Story,
    seconds: f64,
    begin: DateTime<Utc>,
    previous: Option<PreviousRun>,
) -> RunFolder {
    let runs = RunsFolder::of_project(project);
    let folder = runs.create_run(&name.parse().unwrap()).unwrap();
    let clock = Arc::new(SetClock(Mutex::new(begin)));
    let redactor = Redactor::default();
    let journal = folder.create_journal(Arc::clone(&clock) as Arc<dyn Clock>, redactor);
    let mut run = Synthetic {
        folder,
        journal: journal.unwrap(),
        clock,
        story,
        stretch: seconds / 90.0,
        begin,
        previous,
    };
    run.write(name);
    run.folder
}

impl Synthetic {
    fn at(&self, second: f64) {
        let us = (second * self.stretch * 1e6) as i64;
        *self.clock.0.lock().unwrap() = self.begin + TimeDelta::microseconds(us);
    }

    fn time(&self, second: f64) -> DateTime<Utc> {
        self.begin + TimeDelta::microseconds((second * self.stretch * 1e6) as i64)
    }

    fn say(&mut self, body: EventBody) -> u64 {
        self.journal.append("engine", body).unwrap().seq
    }

    fn from(&self) -> Option<Release> {
        (self.story != Story::Initial).then(|| release("1.0.0"))
    }

    fn write(&mut self, name: &str) {
        let to = release("1.1.0");
        self.say(EventBody::RunStarted(Box::new(RunStarted {
            run: name.parse().unwrap(),
            application: "shop".to_owned(),
            environment: "dev".to_owned(),
            target: "local".to_owned(),
            strategy: "canary".to_owned(),
            initial: self.story == Story::Initial,
            from: self.from(),
            to,
            program: "0.1.0".to_owned(),
            host: "synthetic-host".to_owned(),
            user: "anna".to_owned(),
            deployment_file: Digest::of(b"deploy.yaml"),
            previous: self.previous.clone(),
            planted_fault: (self.story == Story::RolledBack).then(|| "errors".to_owned()),
            reverts: None,
        })));
        self.planning();
        if !self.preflight() {
            return;
        }
        self.building();
        self.provisioning();
        self.migrating();
        if self.releasing() {
            self.after();
        }
        self.samples();
    }

    fn begin_phase(&mut self, number: u8, second: f64) {
        self.at(second);
        self.say(EventBody::PhaseStarted {
            phase: phase(number),
        });
    }

    fn end_phase(&mut self, number: u8, second: f64, outcome: Outcome, reason: &str) {
        self.at(second);
        let reason = reason.to_owned();
        self.say(EventBody::PhaseFinished {
            phase: phase(number),
            outcome,
            reason,
        });
    }

    fn report(&mut self, number: u8, section: &str, title: &str, report: Report) {
        self.say(EventBody::SectionReported {
            phase: phase(number),
            section: section.to_owned(),
            title: title.to_owned(),
            report,
        });
    }

    fn plain_report(&mut self, number: u8, section: &str, title: &str) {
        let text = format!("Synthetic report of {section}: pipes | and *stars* stay text.");
        let rows = SERVICES.iter().enumerate().map(|(i, service)| {
            vec![
                (*service).to_owned(),
                (17 * (i + 1)).to_string(),
                "as wanted".to_owned(),
            ]
        });
        let columns = vec![
            Column::text("Service"),
            Column::number("Figure"),
            Column::text("State"),
        ];
        let report = Report::new()
            .with_text(text)
            .with_table(title, columns, rows.collect());
        self.report(number, section, title, report);
    }

    fn step(&mut self, name: &str, from: f64, to: f64, outcome: Outcome) -> u64 {
        self.directed(name, from, to, outcome, Direction::Apply)
    }

    fn directed(
        &mut self,
        name: &str,
        from: f64,
        to: f64,
        outcome: Outcome,
        direction: Direction,
    ) -> u64 {
        let step: StepName = name.parse().unwrap();
        self.at(from);
        self.say(EventBody::StepIntended {
            limits: None,
            step: step.clone(),
            direction,
            attempt: 1,
            intent: serde_json::json!({"wanted": name}),
        });
        self.at(f64::midpoint(from, to));
        self.say(EventBody::StepApplied {
            step: step.clone(),
            direction,
            result: serde_json::json!({}),
        });
        for (vantage, method) in [
            (Vantage::Inside, "process table and start time"),
            (Vantage::Outside, "GET / through the router"),
        ] {
            self.say(EventBody::StepVerified {
                step: step.clone(),
                direction,
                check: Check {
                    vantage,
                    method: method.to_owned(),
                    passed: outcome == Outcome::Done,
                    detail: "synthetic".to_owned(),
                },
            });
        }
        self.at(to);
        let duration_us = ((to - from) * self.stretch * 1e6) as u64;
        let problem = (outcome == Outcome::Failed).then(|| Problem {
            code: "CD0412".to_owned(),
            what: "catalog 1.1.0: 7.9 % of requests failed, 1 % is allowed".to_owned(),
            state: "25 % of traffic is on 1.1.0".to_owned(),
            next: "the run goes back by itself; see Rollback_Procedures".to_owned(),
        });
        self.say(EventBody::StepFinished {
            step,
            direction,
            outcome,
            duration_us,
            problem,
        })
    }

    fn settle(&mut self, group: &str, verdict: &Verdict, reason: &str, evidence: u64) {
        let catalog = Catalog::shipped().unwrap();
        let items: Vec<ItemId> = catalog
            .items()
            .filter(|(g, _)| g.id == group)
            .map(|(_, item)| item.id.clone())
            .collect();
        for item in items {
            self.say(EventBody::ItemSettled {
                item,
                verdict: verdict.clone(),
                reason: reason.to_owned(),
                evidence: vec![EvidenceRef::Event(evidence)],
            });
        }
    }

    fn settle_notebook(&mut self, number: u8, evidence: u64) {
        let catalog = Catalog::shipped().unwrap();
        let groups: Vec<String> = catalog
            .phases
            .iter()
            .flat_map(|p| &p.groups)
            .filter(|g| g.notebook == phase(number))
            .map(|g| g.id.clone())
            .collect();
        let met = Verdict::Met {
            basis: Basis::Observed,
        };
        for (place, group) in groups.iter().enumerate() {
            match place % 4 {
                2 => self.settle(group, &Verdict::Open, "nobody attested it", evidence),
                3 => {
                    let fact = "no cache in the inventory".to_owned();
                    let verdict = Verdict::NotApplicable { fact };
                    self.settle(group, &verdict, "cannot apply", evidence);
                }
                _ => self.settle(group, &met, "12 of 12 seen", evidence),
            }
        }
    }

    fn planning(&mut self) {
        self.begin_phase(1, 0.5);
        let component = |name: &str, role, needs: &[&str]| Component {
            name: name.to_owned(),
            role,
            owner: Some("team shop".to_owned()),
            needs: needs.iter().map(|n| (*n).to_owned()).collect(),
            ports: vec![8080],
            replicas: 1,
            endpoints: Some(4),
        };
        let components = vec![
            component("storefront", Role::Frontend, &["catalog", "orders"]),
            component("catalog", Role::Backend, &[]),
            component("orders", Role::Backend, &["shop-db"]),
            component("shop-db", Role::Database, &[]),
        ];
        let evidence = Digest::of(b"inventory");
        self.say(EventBody::InventoryTaken(InventoryTaken {
            evidence,
            components,
        }));
        for section in ["components", "dependencies", "infrastructure", "network"] {
            self.step(&format!("inventory.{section}"), 0.5, 0.8, Outcome::Done);
            self.plain_report(1, section, &format!("Inventory: {section}"));
        }
        let planned =
            |name: &str, number: u8, service: Option<&str>, undo: Option<&str>| PlannedStep {
                step: name.parse().unwrap(),
                title: format!("does {name}"),
                phase: phase(number),
                service: service.map(str::to_owned),
                after: Vec::new(),
                items: Vec::new(),
                undo: undo.map(str::to_owned),
                changes: undo.is_some(),
                inside: "process table".to_owned(),
                outside: "through the router".to_owned(),
                expected_ms: 1500,
            };
        let mut steps = vec![planned(
            "migrate.execution",
            5,
            None,
            Some("take the migration back"),
        )];
        for service in SERVICES {
            let name = format!("release.green.{service}");
            steps.push(planned(
                &name,
                6,
                Some(service),
                Some("stop the instance of 1.1.0"),
            ));
        }
        steps.push(planned(
            "release.traffic.5",
            6,
            None,
            Some("set 1.1.0 to 0 %"),
        ));
        steps.push(planned(
            "release.traffic.25",
            6,
            None,
            Some("set 1.1.0 to 0 %"),
        ));
        let (digest, evidence) = (Digest::of(b"plan"), Digest::of(b"plan file"));
        self.say(EventBody::Planned(Planned {
            digest,
            evidence,
            steps,
        }));
        let mut last = 0;
        for section in ["scope", "steps", "risks", "rollback"] {
            last = self.step(&format!("plan.{section}"), 0.9, 1.2, Outcome::Done);
            self.plain_report(1, section, &format!("Plan: {section}"));
        }
        self.settle_notebook(1, last);
        self.end_phase(1, 1.5, Outcome::Done, "");
    }

    fn gate(&mut self, gate: Gate, subject: &str, second: f64, passed: bool, reason: &str) {
        let since = self.time(second - 1.0);
        self.at(second);
        self.say(EventBody::GateEvaluated(GateEvaluated {
            gate,
            subject: subject.to_owned(),
            passed,
            since,
            checks: vec![GateCheck {
                name: "error share of 1.1.0".to_owned(),
                measured: if passed { "0 %" } else { "7.9 %" }.to_owned(),
                limit: "at most 1 %".to_owned(),
                passed,
            }],
            compared: gate == Gate::Baseline,
            reason: reason.to_owned(),
        }));
    }

    fn preflight(&mut self) -> bool {
        self.begin_phase(2, 2.0);
        let refused = self.story == Story::Refused;
        let mut last = 0;
        for section in [
            "health",
            "resources",
            "dependencies",
            "security",
            "go-no-go",
        ] {
            let fails = refused && section == "resources";
            let outcome = if fails {
                Outcome::Failed
            } else {
                Outcome::Done
            };
            last = self.step(&format!("preflight.{section}"), 2.0, 3.0, outcome);
            if fails {
                let reason = "storage: 2 GiB are wanted, 1 GiB is free";
                self.end_phase(2, 3.5, Outcome::Failed, reason);
                let outcome = RunOutcome::Refused;
                let summary = reason.to_owned();
                self.say(EventBody::RunFinished { outcome, summary });
                return false;
            }
            self.plain_report(2, section, &format!("Preflight: {section}"));
        }
        self.say(EventBody::FindingRaised(Finding {
            rule: "hygiene/shell-script".to_owned(),
            severity: Severity::Medium,
            place: "scripts/run.sh".to_owned(),
            message: "a shell script in the tree".to_owned(),
            cure: "remove it or switch the rule off by name".to_owned(),
        }));
        self.gate(
            Gate::Security,
            "shop 1.1.0",
            3.4,
            true,
            "no critical finding",
        );
        self.settle_notebook(2, last);
        self.end_phase(2, 3.5, Outcome::Done, "");
        true
    }

    fn building(&mut self) {
        self.begin_phase(3, 4.0);
        let mut last = 0;
        for section in [
            "source",
            "logs",
            "artifacts",
            "security",
            "quality",
            "registry",
        ] {
            last = self.step(&format!("build.{section}"), 4.0, 5.0, Outcome::Done);
            let log = "compiling\n```\nfinished";
            let report = Report::new().with_code(format!("{section} log"), "text", log);
            self.report(3, section, &format!("Build: {section}"), report);
        }
        let digest = self.folder.evidence().keep(b"scan").unwrap();
        let name = "scan of shop 1.1.0".to_owned();
        let media_type = "application/json".to_owned();
        self.say(EventBody::EvidenceKept {
            name,
            digest,
            bytes: 4,
            media_type,
        });
        self.settle_notebook(3, last);
        self.end_phase(3, 5.5, Outcome::Done, "");
    }

    fn provisioning(&mut self) {
        self.begin_phase(4, 6.0);
        let sections = [
            "outside-client",
            "resources",
            "network",
            "load-balancer",
            "hardening",
            "tls",
            "connectivity",
        ];
        let mut last = 0;
        for section in sections {
            last = self.step(&format!("provision.{section}"), 6.0, 8.0, Outcome::Done);
            self.plain_report(4, section, &format!("Provisioning: {section}"));
        }
        self.settle_notebook(4, last);
        self.end_phase(4, 8.5, Outcome::Done, "");
    }

    fn migrating(&mut self) {
        self.begin_phase(5, 9.0);
        let mut last = 0;
        for section in [
            "backup",
            "execution",
            "validation",
            "performance",
            "rollback",
        ] {
            last = self.step(&format!("migrate.{section}"), 9.0, 10.0, Outcome::Done);
            self.plain_report(5, section, &format!("Migration: {section}"));
        }
        for (version, took) in [(2, 41_000), (3, 9_300)] {
            self.say(EventBody::Migrated {
                database: "shop-db".to_owned(),
                version,
                description: "add a column".to_owned(),
                direction: Direction::Apply,
                duration_us: took,
                rows: 2400,
            });
        }
        self.settle_notebook(5, last);
        self.end_phase(5, 11.0, Outcome::Done, "");
    }

    fn healthy(&mut self, service: &str, version: &str, second: f64, probe: Probe, healthy: bool) {
        self.at(second);
        self.say(EventBody::HealthChanged {
            service: service.to_owned(),
            release: release(version),
            instance: format!("{service}-{version}-1"),
            probe,
            healthy,
            detail: if healthy { "200 in 1.2 ms" } else { "503" }.to_owned(),
        });
    }

    fn shift(&mut self, share: u16, second: f64, reason: &str) {
        self.at(second);
        for service in SERVICES {
            let mut served = BTreeMap::from([(release("1.1.0"), share)]);
            if let Some(from) = self.from() {
                served.insert(from, 100 - share);
            }
            let stable = self.from().unwrap_or_else(|| release("1.1.0"));
            let (service, reason) = (service.to_owned(), reason.to_owned());
            self.say(EventBody::TrafficShifted {
                service,
                served,
                stable,
                reason,
            });
        }
    }

    fn releasing(&mut self) -> bool {
        self.begin_phase(6, 12.0);
        for service in SERVICES {
            if self.story != Story::Initial {
                self.healthy(service, "1.0.0", 12.0, Probe::Liveness, true);
                self.healthy(service, "1.0.0", 12.0, Probe::Readiness, true);
            }
        }
        for (place, service) in SERVICES.into_iter().enumerate() {
            let begin = 12.5 + place as f64;
            self.step(
                &format!("release.green.{service}"),
                begin,
                begin + 1.5,
                Outcome::Done,
            );
            self.healthy(service, "1.1.0", begin + 1.5, Probe::Liveness, true);
            self.healthy(service, "1.1.0", begin + 1.5, Probe::Readiness, false);
            self.healthy(service, "1.1.0", begin + 4.5, Probe::Readiness, true);
        }
        self.plain_report(6, "green", "Green: 1.1.0 beside 1.0.0");
        self.step("release.health", 19.0, 22.0, Outcome::Done);
        for service in SERVICES {
            let subject = format!("{service} 1.1.0");
            self.gate(Gate::Health, &subject, 22.0, true, "3 passes in a row");
        }
        self.step("release.smoke", 22.0, 23.0, Outcome::Done);
        self.gate(
            Gate::Smoke,
            "shop 1.1.0",
            23.0,
            true,
            "4 of 4 journeys passed",
        );
        self.step("release.monitoring", 23.0, 25.0, Outcome::Done);
        self.gate(
            Gate::Monitoring,
            "shop 1.1.0",
            25.0,
            true,
            "3 of 3 services observed",
        );
        if self.story == Story::Initial {
            self.shift(100, 26.0, "initial");
            self.step("release.promotion", 26.0, 28.0, Outcome::Done);
            self.settle_notebook(6, 0);
            self.end_phase(6, 30.0, Outcome::Done, "");
            return true;
        }
        self.shift(5, 26.0, "canary 5 %");
        self.step("release.traffic.5", 26.0, 31.0, Outcome::Done);
        self.gate(
            Gate::Analysis,
            "canary at 5 %",
            31.0,
            true,
            "no worse than 1.0.0",
        );
        self.shift(0, 32.0, "rehearsal");
        self.at(32.4);
        self.say(EventBody::RollbackRehearsed {
            duration_us: 412_000,
            failed: 0,
            answered: 21,
        });
        self.step("release.rehearsal", 32.0, 33.0, Outcome::Done);
        self.shift(25, 34.0, "canary 25 %");
        if self.story == Story::RolledBack {
            return self.roll_back();
        }
        self.step("release.traffic.25", 34.0, 44.0, Outcome::Done);
        self.gate(
            Gate::Analysis,
            "canary at 25 %",
            44.0,
            true,
            "no worse than 1.0.0",
        );
        self.shift(50, 44.5, "canary 50 %");
        self.step("release.traffic.50", 44.5, 54.0, Outcome::Done);
        self.gate(
            Gate::Analysis,
            "canary at 50 %",
            54.0,
            true,
            "no worse than 1.0.0",
        );
        if self.story == Story::Ill {
            self.healthy("catalog", "1.0.0", 54.2, Probe::Readiness, false);
            self.healthy("catalog", "1.0.0", 54.8, Probe::Readiness, true);
        }
        self.shift(100, 55.0, "promotion");
        self.step("release.promotion", 55.0, 60.0, Outcome::Done);
        for section in ["traffic", "rehearsal", "promotion"] {
            self.plain_report(6, section, &format!("Release: {section}"));
        }
        self.settle_notebook(6, 0);
        self.end_phase(6, 61.0, Outcome::Done, "");
        true
    }

    fn roll_back(&mut self) -> bool {
        let reason = "7.9 % of requests to 1.1.0 failed, 1 % is allowed.";
        self.gate(Gate::Analysis, "canary at 25 %", 38.0, false, reason);
        self.step("release.traffic.25", 34.0, 38.2, Outcome::Failed);
        self.end_phase(6, 38.3, Outcome::Failed, reason);
        self.at(38.4);
        let trigger = Trigger::Gate;
        self.say(EventBody::RollbackStarted {
            trigger,
            reason: reason.to_owned(),
        });
        self.shift(0, 38.8, "rollback");
        self.directed(
            "release.traffic.25",
            38.4,
            38.9,
            Outcome::Done,
            Direction::Undo,
        );
        self.directed(
            "release.traffic.5",
            38.9,
            39.0,
            Outcome::Done,
            Direction::Undo,
        );
        for service in SERVICES {
            let name = format!("release.green.{service}");
            self.directed(&name, 39.0, 41.0, Outcome::Done, Direction::Undo);
            self.healthy(service, "1.1.0", 41.0, Probe::Liveness, false);
        }
        self.directed(
            "migrate.execution",
            41.0,
            41.5,
            Outcome::Done,
            Direction::Undo,
        );
        self.at(42.0);
        let outcome = Outcome::Done;
        self.say(EventBody::RollbackFinished {
            outcome,
            duration_us: 3_600_000,
        });
        self.count(43.0, 37);
        self.at(44.0);
        self.say(EventBody::RunFinished {
            outcome: RunOutcome::RolledBack,
            summary: format!("the analysis gate did not pass: {reason}"),
        });
        false
    }

    fn count(&mut self, second: f64, failed: u64) {
        let (first, last) = (self.time(6.0), self.time(second));
        let sent = ((second - 6.0) * self.stretch * 50.0) as u64;
        self.at(second);
        self.say(EventBody::ClientCounted(ClientCounted {
            client: "client".to_owned(),
            first,
            last,
            sent,
            failed,
            causes: BTreeMap::from([("5xx".to_owned(), failed)]),
            releases: BTreeMap::from([
                (
                    "1.0.0".to_owned(),
                    ReleaseCount {
                        answered: sent / 2,
                        failed: 0,
                    },
                ),
                (
                    "1.1.0".to_owned(),
                    ReleaseCount {
                        answered: sent - sent / 2,
                        failed,
                    },
                ),
            ]),
            longest_gap_us: 61_000,
            goes_on: false,
        }));
    }

    fn after(&mut self) {
        let sections: [(u8, &str, &[&str], f64); 3] = [
            (
                7,
                "observe",
                &["metrics", "dashboards", "alerts", "logs", "traces"],
                62.0,
            ),
            (
                8,
                "validate",
                &[
                    "functional",
                    "performance",
                    "security",
                    "integration",
                    "acceptance",
                ],
                66.0,
            ),
            (
                9,
                "handover",
                &[
                    "runbooks",
                    "contacts",
                    "escalation",
                    "maintenance",
                    "known-issues",
                ],
                82.0,
            ),
        ];
        for (number, verb, names, second) in sections {
            self.begin_phase(number, second);
            let mut last = 0;
            for (place, section) in names.iter().enumerate() {
                let begin = second + place as f64 * 0.6;
                last = self.step(
                    &format!("{verb}.{section}"),
                    begin,
                    begin + 0.6,
                    Outcome::Done,
                );
                self.plain_report(number, section, &format!("{verb}: {section}"));
            }
            if number == 9 {
                self.runbooks();
            }
            if number == 8 {
                self.load_tests();
                self.gate(
                    Gate::Baseline,
                    "shop 1.1.0",
                    80.0,
                    true,
                    "all objectives met",
                );
            }
            self.settle_notebook(number, last);
            let end = if number == 8 { 81.0 } else { second + 3.5 };
            self.end_phase(number, end, Outcome::Done, "");
        }
        self.settle("9.1", &waiver(), "accepted until the next release", 0);
        self.settle(
            "10.2",
            &Verdict::Met {
                basis: Basis::Performed,
            },
            "written",
            0,
        );
        self.count(88.0, 0);
        self.at(89.0);
        self.say(EventBody::RunFinished {
            outcome: RunOutcome::Succeeded,
            summary: "everything is on 1.1.0 and verified".to_owned(),
        });
        let events = self.journal.next_seq();
        self.say(EventBody::Sealed { events });
    }

    fn runbooks(&mut self) {
        let mut report = Report::new();
        for service in SERVICES {
            let caption = format!("runbook of service {service}");
            let text = format!("# Runbook: {service}\n\n| calls | none |");
            report = report.with_code(caption, "markdown", text);
        }
        let guide = "# Recovery of a synthetic system";
        report = report.with_code("recovery procedures", "markdown", guide);
        self.report(9, "runbooks", "Runbooks", report);
    }

    fn load_tests(&mut self) {
        for (name, version, base) in [("steady", "1.1.0", 4000), ("steady-before", "1.0.0", 3500)] {
            if version == "1.0.0" && self.story == Story::Initial {
                continue;
            }
            let mut latency = Latency::new();
            for number in 0..6000_u64 {
                let tail = if number % 100 == 0 { number * 9 } else { 0 };
                latency.count(base + (number * 7919 % 3000) + tail);
            }
            self.at(78.0);
            self.say(EventBody::LoadTested(LoadTested {
                name: name.to_owned(),
                release: release(version),
                rate: 600,
                duration_us: 10_000_000,
                sent: 6000,
                failed: 0,
                latency,
                throughput: 599.4,
            }));
        }
    }

    /// The share of the new release at a second of the short run.
    fn share(&self, second: f64) -> u64 {
        if self.story == Story::Initial {
            return if second < 26.0 { 0 } else { 100 };
        }
        match second {
            s if s < 26.0 => 0,
            s if s < 32.0 => 5,
            s if s < 34.0 => 0,
            s if s < 38.8 || (self.story == Story::Succeeded && s < 44.5) => 25,
            _ if self.story == Story::RolledBack => 0,
            s if s < 55.0 => 50,
            _ => 100,
        }
    }

    fn samples(&self) {
        let end = if self.story == Story::RolledBack {
            43.0
        } else {
            88.0
        };
        let seconds = (end * self.stretch) as i64;
        let open = |name: &str| SampleWriter::open(&self.folder.samples_path(), name).unwrap();
        let (mut client, mut router, mut platform) =
            (open("client"), open("router"), open("platform"));
        for second in (6.0 * self.stretch) as i64..seconds {
            let share = self.share(second as f64 / self.stretch);
            let unix = self.begin.timestamp() + second;
            let mut lines = Vec::new();
            let mut routed = Vec::new();
            for (version, part) in [("1.0.0", 100 - share), ("1.1.0", share)] {
                if part == 0 || (self.story == Story::Initial && version == "1.0.0") {
                    continue;
                }
                let count = 50 * part / 100;
                lines.push(self.sample(unix, "storefront", version, Source::Client, count.max(1)));
                for service in SERVICES {
                    routed.push(self.sample(unix, service, version, Source::Router, count.max(1)));
                }
            }
            client.append(&lines).unwrap();
            router.append(&routed).unwrap();
            let mut figures = Vec::new();
            for service in SERVICES {
                let mut sample = Sample::empty(unix, service, "1.1.0", Source::Platform);
                sample.count = 1;
                let bytes = 40_000_000.0 + (second % 60) as f64 * 100_000.0;
                sample.figures.insert("resident_bytes".to_owned(), bytes);
                figures.push(sample);
            }
            platform.append(&figures).unwrap();
        }
    }

    fn sample(
        &self,
        unix: i64,
        service: &str,
        version: &str,
        source: Source,
        count: u64,
    ) -> Sample {
        let mut sample = Sample::empty(unix, service, version, source);
        sample.count = count;
        let new = version == "1.1.0";
        if new && self.story == Story::RolledBack {
            sample.errors.insert("5xx".to_owned(), count / 8);
        }
        for number in 0..count - sample.failed() {
            let seed = (unix as u64).wrapping_mul(31).wrapping_add(number * 7919) % 1000;
            let base = if new { 2600 } else { 3000 };
            let spike = if seed > 985 { 30_000 } else { 0 };
            sample.latency.count(base + seed * 3 + spike);
        }
        sample
    }
}

fn waiver() -> Verdict {
    Verdict::Waived {
        by: "person:berta".to_owned(),
        expires: "2026-12-31".parse().unwrap(),
    }
}
