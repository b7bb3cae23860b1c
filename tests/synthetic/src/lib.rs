//! Synthetic records, written through the record's own writer. Nothing in them was measured: the
//! figures are made by formulas, so that tests know what pages must say and benches know what they read.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::missing_panics_doc,
    reason = "a record that cannot be written ends the test or bench that asked for it"
)]

mod measured;
mod phases;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::*;

/// How the synthetic run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    /// An upgrade by canary, to its end.
    Succeeded,
    /// The new release fails requests, and the run goes back.
    RolledBack,
    /// It is refused before anything is changed.
    Refused,
    /// A first deployment.
    Initial,
    /// It succeeds, and an instance of the release before is not ready for a while.
    Ill,
    /// It succeeds, but its process dies while it is paused, and the lease runs out.
    Halted,
    /// It succeeds, but it waits for an approval, and its process is killed between two steps; another goes on later.
    Killed,
}

struct SetClock(Mutex<DateTime<Utc>>);

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// Returns when synthetic runs begin.
pub fn start() -> DateTime<Utc> {
    "2026-11-23T14:00:00Z".parse().unwrap()
}

struct Synthetic {
    folder: RunFolder,
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

/// Writes a whole synthetic run of 90 s below `project`.
pub fn run(project: &Path, name: &str, story: Story) -> RunFolder {
    run_of(project, name, story, 90.0, start())
}

/// Writes a synthetic run of so many seconds.
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
        if self.story == Story::Killed {
            self.lock(1, 0.0);
        }
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
        let result = match name {
            "migrate.rollback" => serde_json::json!({ "on_a_copy": ["shop-db"] }),
            _ => serde_json::json!({}),
        };
        self.say(EventBody::StepApplied {
            step: step.clone(),
            direction,
            result,
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

    fn gate(&mut self, gate: Gate, subject: &str, second: f64, passed: bool, reason: &str) {
        let since = self.time(second - 1.0);
        self.at(second);
        self.say(EventBody::GateEvaluated(GateEvaluated {
            gate,
            subject: subject.to_owned(),
            passed,
            since,
            checks: vec![GateCheck::new(
                "error share of 1.1.0",
                if passed { "0 %" } else { "7.9 %" },
                "at most 1 %",
                passed,
            )],
            compared: gate == Gate::Baseline && self.story != Story::Initial,
            reason: reason.to_owned(),
        }));
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
}

fn waiver() -> Verdict {
    Verdict::Waived {
        by: "person:berta".to_owned(),
        expires: "2026-12-31".parse().unwrap(),
    }
}
