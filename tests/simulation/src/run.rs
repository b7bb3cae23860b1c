//! A whole run from a seed: processes are started, left, killed and started again until the run
//! has come to rest, and what they did is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::surroundings::Sabotage;
use code_deploy_engine::{Ended, Error, Purpose};
use code_deploy_record::{Digest, Event, EventBody, RunOutcome, RunState};

use crate::chance::Dice;
use crate::check::{self, Invariant, Trace, Violation, broken};
use crate::disk::Platter;
use crate::faults::Storm;
use crate::process::{Left, Running, Start};
use crate::scene::{NEW, Scene};
use crate::world::{Instance, Process, Shares, Wanted, World};

/// Processes after which faults end.
const STORMY: u32 = 8;

/// Processes at most: with nothing going wrong any more, a run comes to rest long before.
const PROCESSES: u32 = 16;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How the run ended.
    pub outcome: Option<RunOutcome>,
    /// What the run says of its end.
    pub summary: String,
    /// Whether a person was needed on the way.
    pub needed_person: bool,
    /// Processes that carried it out.
    pub processes: u32,
    /// Events in its journal.
    pub events: usize,
    /// Points at which something could go wrong.
    pub points: u64,
    /// Faults that were injected, and what else happened, in order.
    pub faults: Vec<String>,
    /// How long it took in simulated time.
    pub took: Duration,
    /// The digest of the journal: the same seed gives the same.
    pub digest: Digest,
    /// What was not kept.
    pub violations: Vec<Violation>,
}

/// Runs a seed.
#[must_use]
pub fn seed(seed: u64, sabotage: Option<Sabotage>) -> Report {
    let mut dice = Dice::new(seed);
    let scene = Scene::of(&mut dice);
    let storm = Storm::of(Dice::new(dice.number()));
    let mut stage = Stage::new(scene, storm, dice, sabotage);
    stage.come_to_rest();
    stage.report(seed)
}

/// A run on its way.
#[derive(Debug)]
pub struct Stage {
    /// What was decided before.
    pub scene: Scene,
    /// The world.
    pub world: World,
    /// The disk.
    pub platter: Platter,
    /// What was not kept so far.
    pub violations: Vec<Violation>,
    dice: Dice,
    sabotage: Option<Sabotage>,
    before: BTreeMap<(String, String), usize>,
    processes: Process,
    needed_person: bool,
}

impl Stage {
    /// Returns a stage on which the old release runs, unless nothing did.
    #[must_use]
    pub fn new(scene: Scene, storm: Storm, dice: Dice, sabotage: Option<Sabotage>) -> Self {
        let world = World::new(storm);
        let mut before = BTreeMap::new();
        {
            let mut inner = world.look();
            if scene.unready {
                inner.unready.insert(NEW.to_owned());
            }
            if scene.failing {
                inner.failing.insert(NEW.to_owned());
            }
            for (service, replicas) in &scene.services {
                let Some(from) = scene.from() else {
                    continue;
                };
                for number in 1..=*replicas {
                    inner.started += 1;
                    let one = Instance {
                        service: service.clone(),
                        release: from.to_owned(),
                        number: inner.started,
                        started: inner.wall(),
                    };
                    inner.add(format!("{service}-{from}-{number}"), one);
                }
                let all = Shares::from([(from.to_owned(), 100)]);
                inner.traffic.insert(service.clone(), all);
                before.insert((service.clone(), from.to_owned()), *replicas as usize);
            }
        }
        Self {
            scene,
            world,
            platter: Platter::default(),
            violations: Vec::new(),
            dice,
            sabotage,
            before,
            processes: 0,
            needed_person: false,
        }
    }

    /// Starts processes until the run has come to rest.
    pub fn come_to_rest(&mut self) {
        while self.processes < PROCESSES {
            if self.processes >= STORMY {
                self.world.look().storm.end();
            }
            let start = self.next_start();
            self.carry_out(start);
            if self.is_at_rest() {
                return;
            }
            let seconds = self.dice.one_of(&[0, 1, 5, 20, 90]);
            self.world.look().pass(Duration::from_secs(seconds));
            if self.dice.percent(70) {
                self.world.look().storm.disk = None;
            }
        }
        let what = format!("the run has not come to rest after {PROCESSES} processes");
        self.violate(broken(Invariant::AllOrNothing, what));
    }

    fn violate(&mut self, violation: Violation) {
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// Returns how the next process is started: a run that began is gone on with or taken back.
    fn next_start(&mut self) -> Start {
        let journal = self.platter.last_journal();
        let bytes = journal.map(|(_, bytes)| bytes).unwrap_or_default();
        let began = bytes.contains(&b'\n');
        let planned = String::from_utf8_lossy(&bytes).contains(r#""kind":"planned""#);
        let purpose = match self.dice.between(0, 9) {
            _ if !began => Purpose::Deploy,
            0 => Purpose::Deploy,
            1..=2 => Purpose::GoBack,
            _ => Purpose::Resume,
        };
        let another_plan = planned && self.dice.percent(5);
        Start {
            purpose,
            same_plan: !another_plan,
            version: if self.dice.percent(20) {
                "0.2.0"
            } else {
                "0.1.0"
            },
            sabotage: self.sabotage,
        }
    }

    /// Starts a process and lets it run to its end, however it comes.
    pub fn carry_out(&mut self, start: Start) {
        let mut running = self.start(start);
        loop {
            match running.let_run() {
                Left::Ended(ended) => {
                    self.ended(&running, start, ended);
                    running.bury("by itself");
                    return;
                }
                Left::Wanted(Wanted::Bury) => {
                    self.compare(&running);
                    running.bury("killed");
                    return;
                }
                Left::Wanted(Wanted::Second) => self.second(),
                Left::Wanted(Wanted::Suspend) => self.suspend(),
                Left::Hangs => {
                    let what = format!("process {} does not come to an end", running.process);
                    self.violate(broken(Invariant::AllOrNothing, what));
                    running.bury("because it hangs");
                    return;
                }
            }
        }
    }

    fn start(&mut self, start: Start) -> Running {
        self.processes += 1;
        Running::start(
            &self.scene,
            &self.world,
            &self.platter,
            self.processes,
            start,
        )
    }

    /// Another runner is started while one is at work.
    fn second(&mut self) {
        let mut start = self.next_start();
        if start.purpose == Purpose::Deploy && self.events().is_some_and(|all| !all.is_empty()) {
            // One that came too late would begin a run of its own.
            start.purpose = Purpose::Resume;
        }
        let mut other = self.start(start);
        match other.let_run() {
            Left::Ended(ended) => {
                self.ended(&other, start, ended);
                other.bury("as the second");
            }
            Left::Wanted(_) | Left::Hangs => {
                self.compare(&other);
                other.bury("as the second, killed");
            }
        }
    }

    /// The one at work sleeps; another may take over. Then it wakes.
    fn suspend(&mut self) {
        let seconds = self.dice.between(0, 100);
        self.world.look().pass(Duration::from_secs(seconds));
        self.second();
        let seconds = self.dice.between(0, 100);
        self.world.look().pass(Duration::from_secs(seconds));
    }

    fn ended(&mut self, running: &Running, start: Start, ended: Result<Ended, Error>) {
        self.compare(running);
        match ended {
            Ok(Ended::Failed(problem)) => {
                let what = format!("a whole run ended in between: {}", problem.what);
                self.violate(broken(Invariant::AllOrNothing, what));
            }
            Ok(Ended::NeedsPerson(problem)) => {
                self.needed_person = true;
                self.another_is_refused();
                if !problem.next.contains("code-deploy") {
                    let what = format!("a person is not told what to do: {problem:?}");
                    self.violate(broken(Invariant::AllOrNothing, what));
                }
                self.check_rest();
                // The person mends what stands in the way.
                let mut world = self.world.look();
                world.storm.end();
                world.ill.clear();
            }
            Ok(_) => {}
            Err(error) => self.check_error(start, &error),
        }
    }

    /// A run that needs a person keeps others out.
    fn another_is_refused(&mut self) {
        let start = Start {
            purpose: Purpose::Begin,
            same_plan: true,
            version: "0.1.0",
            sabotage: None,
        };
        let calm = std::mem::replace(&mut self.world.look().storm, Storm::calm());
        let mut other = self.start(start);
        let left = other.let_run();
        let refused = match &left {
            Left::Ended(Err(error)) => error.problem().code,
            _ => format!("{left:?}"),
        };
        // The process before still holds the lock, or its run is in the way.
        if !["CD0410", "CD0412"].contains(&refused.as_str()) {
            let what = format!("another run was not refused while a person was needed: {refused}");
            self.violate(broken(Invariant::AllOrNothing, what));
        }
        other.bury("as another");
        self.world.look().storm = calm;
    }

    /// An error is one that follows from what went wrong.
    fn check_error(&mut self, start: Start, error: &Error) {
        let problem = error.problem();
        let expected = match problem.code.as_str() {
            // The disk, the lock, another runner; a look at the target that failed.
            "CD0300" | "CD0306" | "CD0320" | "CD0410" | "CD0599" | "CD0461" | "CD0464" => true,
            // The run is ended.
            "CD0411" | "CD0417" | "CD0418" | "CD0419" => true,
            "CD0416" => !start.same_plan,
            _ => false,
        };
        if !expected {
            let what = format!("{}: {} ({error:?})", problem.code, problem.what);
            self.violate(broken(Invariant::AllOrNothing, what));
        }
        if problem.code == "CD0410" && !problem.what.contains("anna on here") {
            let what = format!(
                "a second runner is not told who holds the lock: {}",
                problem.what
            );
            self.violate(broken(Invariant::OneRunner, what));
        }
    }

    /// What a process knew of the run is the fold of what it wrote.
    fn compare(&mut self, running: &Running) {
        let Some(known) = running.state() else {
            return;
        };
        let Some(events) = self.events() else {
            return;
        };
        let mut folded = RunState::default();
        for event in events.iter().take(known.events as usize) {
            if let Err(what) = folded.apply(event) {
                self.violate(broken(Invariant::ResumeIsTheSame, what));
            }
        }
        if folded != *known {
            let process = running.process;
            let what = format!("process {process} knew something that its journal does not say");
            self.violate(broken(Invariant::ResumeIsTheSame, what));
        }
    }

    /// Returns the events of the last run, up to a torn line.
    #[must_use]
    pub fn events(&self) -> Option<Vec<Event>> {
        let (_, bytes) = self.platter.last_journal()?;
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter(|line| line.ends_with(b"\n"));
        let events = whole.map_while(|line| Event::of_line(line).ok());
        Some(events.collect())
    }

    /// Returns whether the run has ended.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let Some((_, bytes)) = self.platter.last_journal() else {
            return false;
        };
        // The last lines say it; all of them are read when they do.
        let tail = bytes.len().saturating_sub(1_000);
        let tail = String::from_utf8_lossy(&bytes[tail..]);
        if !tail.contains("run_finished") {
            return false;
        }
        let events = self.events().unwrap_or_default();
        let ended = check::outcome(&events);
        ended.is_some_and(|(outcome, _)| outcome != RunOutcome::NeedsPerson)
    }

    fn check_rest(&mut self) {
        let events = self.events().unwrap_or_default();
        let world = self.world.look();
        let trace = Trace {
            scene: &self.scene,
            events: &events,
            log: &world.log,
            world: &world,
            before: self.before.clone(),
        };
        let found = check::at_rest(&trace);
        drop(world);
        found.into_iter().for_each(|one| self.violate(one));
    }

    /// Checks everything, and says what became of the run.
    #[must_use]
    pub fn report(mut self, seed: u64) -> Report {
        self.check_rest();
        let events = self.events().unwrap_or_default();
        let bytes = self.platter.last_journal();
        let digest = bytes.map_or(Digest::ZERO, |(_, bytes)| Digest::of(&bytes));
        let world = self.world.clone();
        let world = world.look();
        let trace = Trace {
            scene: &self.scene,
            events: &events,
            log: &world.log,
            world: &world,
            before: self.before.clone(),
        };
        let found = check::always(&trace);
        found.into_iter().for_each(|one| self.violate(one));
        if self.platter.is_locked() {
            let what = "the lock is held by nobody who lives";
            self.violate(broken(Invariant::OneRunner, what));
        }
        let faults = world.log.iter().filter_map(crate::show::fault);
        Report {
            seed,
            outcome: check::outcome(&events).map(|(outcome, _)| outcome),
            summary: events.iter().rev().find_map(summary_of).unwrap_or_default(),
            needed_person: self.needed_person,
            processes: self.processes,
            events: events.len(),
            points: world.storm.points(),
            faults: faults.collect(),
            took: world.now(),
            digest,
            violations: self.violations,
        }
    }
}

fn summary_of(event: &Event) -> Option<String> {
    match &event.body {
        EventBody::RunFinished { summary, .. } => Some(summary.clone()),
        _ => None,
    }
}
