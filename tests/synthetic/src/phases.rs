//! What happens in the phases of a synthetic run.

use super::*;

impl Synthetic {
    pub(super) fn planning(&mut self) {
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

    pub(super) fn preflight(&mut self) -> bool {
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
        if self.story == Story::Killed {
            self.approve(3.125, 3.375);
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

    pub(super) fn building(&mut self) {
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

    pub(super) fn provisioning(&mut self) {
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

    pub(super) fn migrating(&mut self) {
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

    pub(super) fn releasing(&mut self) -> bool {
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
        if self.story == Story::Halted {
            self.halt();
        }
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
        if self.story == Story::Killed {
            self.lock(2, 54.9375);
            self.say(EventBody::Resumed {
                found: "no step was under way".to_owned(),
            });
        }
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

    /// Paused, killed, and joined after the lease had run out.
    fn halt(&mut self) {
        self.lock(1, 26.2);
        self.at(26.5);
        self.say(EventBody::Paused {
            after: None,
            by: None,
            reason: None,
        });
        self.lock(2, 30.6);
        self.say(EventBody::Resumed {
            found: "no step was under way".to_owned(),
        });
        let found = "as found when the run was joined: the lease had run out";
        self.shift(0, 30.6, found);
        self.shift(5, 30.8, "canary 5 %");
        self.say(EventBody::Noted {
            severity: Severity::Medium,
            text: "engine did not renew its lease within 15s".to_owned(),
        });
    }

    /// Somebody answers an approval after a while.
    fn approve(&mut self, asked: f64, given: f64) {
        let (gate, plan) = ("go/no-go".to_owned(), Digest::of(b"plan"));
        self.at(asked);
        self.say(EventBody::ApprovalAsked {
            gate: gate.clone(),
            plan,
            summary: "shop 1.1.0 to dev on local".to_owned(),
            two_persons: false,
            signers: BTreeMap::new(),
        });
        self.at(given);
        self.say(EventBody::ApprovalGiven {
            gate,
            plan,
            by: "person:berta".to_owned(),
            go: true,
            reason: "all is in order".to_owned(),
        });
    }

    pub(super) fn lock(&mut self, fencing: u64, second: f64) {
        self.at(second);
        self.say(EventBody::LockTaken {
            fencing,
            host: "vm".to_owned(),
            pid: 4711,
            program: "0.1.0".to_owned(),
        });
    }

    pub(super) fn roll_back(&mut self) -> bool {
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

    pub(super) fn after(&mut self) {
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
                    "notebooks",
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

    pub(super) fn runbooks(&mut self) {
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
}
