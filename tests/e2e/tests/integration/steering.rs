//! Strategies other than canary, going back after the end, and steering a run from outside.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Event, EventBody, Gate, RunOutcome, RunState};

use crate::kit::{Place, Said};

/// The seconds for which `dev` of the demonstration keeps the old release.
const KEEP_OLD: i64 = 2;

/// Where the demonstration's deployment file has the strategy of `dev`, which other environments take
/// by its anchor.
const DEV: &str = "  dev:\n    strategy: &watched\n";

/// Writes the demonstration's deployment file with other steps of traffic in `dev`.
#[track_caller]
pub(crate) fn with_strategy(place: &Place, kind: &str, steps: &str) {
    let path = place.demo().join("deploy.yaml");
    let file = std::fs::read_to_string(&path).unwrap();
    let start = file.find(DEV).unwrap();
    let end = start + file[start..].find("      rehearse_rollback").unwrap();
    let strategy = format!("{DEV}      kind: {kind}\n      steps: [{steps}]\n");
    std::fs::write(
        path,
        format!("{}{strategy}{}", &file[..start], &file[end..]),
    )
    .unwrap();
}

/// Plants a fault into the storefront of 1.1.0, or takes it out again.
#[track_caller]
fn with_fault(place: &Place, fault: &str) {
    let path = place.demo().join("deploy.yaml");
    let file = std::fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = file
        .lines()
        .filter(|line| !line.contains("SHOP_FAULT"))
        .collect();
    let planted = format!(
        "        CATALOG_URL: \"{{address:catalog}}\"\n        SHOP_FAULT: {fault}\n        SHOP_FAULT_RELEASE: 1.1.0"
    );
    let first = "        CATALOG_URL: \"{address:catalog}\"";
    std::fs::write(path, kept.join("\n").replacen(first, &planted, 1)).unwrap();
}

#[track_caller]
fn deployed(said: &Said, place: &Place, outcome: RunOutcome) -> RunState {
    let (folder, state) = place.demo_runs().pop().unwrap();
    let ended = state.finished.as_ref().map(|end| end.0);
    assert_eq!(ended, Some(outcome), "{}\n{}", said.out, said.err);
    assert_eq!(
        code_deploy_record::verify_folder(&folder).unwrap().findings,
        []
    );
    state
}

/// Deploys what has a fault: it goes back, and nobody whom the stable release served noticed.
#[track_caller]
fn goes_back(place: &Place) {
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = deployed(&said, place, RunOutcome::RolledBack);
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
}

/// Returns the shares of the new release that each service was given, in order: the same of all.
#[track_caller]
pub(crate) fn shares(place: &Place) -> Vec<u16> {
    let new = "1.1.0".parse().unwrap();
    let mut shares = std::collections::BTreeMap::<String, Vec<u16>>::new();
    for event in events(place) {
        if let EventBody::TrafficShifted {
            service, served, ..
        } = event.body
        {
            let own = shares.entry(service).or_default();
            own.push(served.get(&new).copied().unwrap_or(0));
        }
    }
    let mut services = shares.into_iter();
    let (_, mut first) = services.next().unwrap();
    first.dedup();
    let others: Vec<_> = services.collect();
    assert_eq!(others.len(), 2, "{others:?}");
    for (service, mut own) in others {
        own.dedup();
        assert_eq!(own, first, "{service}");
    }
    first
}

/// Returns the events of the last run.
fn events(place: &Place) -> Vec<Event> {
    let (folder, _) = place.demo_runs().pop().unwrap();
    folder.events().unwrap().map(Result::unwrap).collect()
}

/// Returns when the first event that is so was written.
#[track_caller]
fn when(events: &[Event], is: impl Fn(&EventBody) -> bool) -> DateTime<Utc> {
    events.iter().find(|event| is(&event.body)).unwrap().time
}

fn health_passed(body: &EventBody, service: &str) -> bool {
    let EventBody::GateEvaluated(gate) = body else {
        return false;
    };
    gate.gate == Gate::Health && gate.passed && gate.subject.starts_with(service)
}

fn all_new(body: &EventBody) -> bool {
    matches!(body, EventBody::TrafficShifted { served, .. }
        if served.get(&"1.1.0".parse().unwrap()) == Some(&100))
}

fn intends(body: &EventBody, start: &str) -> bool {
    matches!(body, EventBody::StepIntended { step, .. } if step.to_string().starts_with(start))
}

/// Asserts that the last run, in an environment that keeps the old release as long as `dev` of the demonstration, began
/// to stop it only then.
#[track_caller]
pub(crate) fn kept_old(place: &Place) {
    let told = events(place);
    let switched = when(&told, |body| {
        matches!(body, EventBody::StepFinished { step, .. }
        if step.to_string() == "release.promotion")
    });
    let stopped = when(&told, |body| {
        matches!(body, EventBody::StepApplied { step, .. }
        if step.to_string().starts_with("finish.old-release"))
    });
    assert!(
        stopped - switched >= TimeDelta::seconds(KEEP_OLD),
        "{switched} {stopped}"
    );
}

#[test]
fn blue_green_switches_once_and_a_finished_run_is_taken_back() {
    let place = Place::new();
    place.lay_out_upgrade();
    with_strategy(&place, "blue-green", "{ percent: 100, soak: 3s }");
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = deployed(&said, &place, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert!(state.rehearsed.is_some());
    // The second switch back and forth is the rehearsed rollback.
    assert_eq!(shares(&place), [100, 0, 100]);
    let told = events(&place);
    for service in ["catalog", "orders", "storefront"] {
        let healthy = when(&told, |body| health_passed(body, service));
        assert!(healthy < when(&told, all_new), "{service}");
    }
    kept_old(&place);

    let again = place.run_in(&place.demo(), &["dev", "local"]);
    again.refused(
        1,
        "CD0411",
        &["1.1.0 is deployed already", "Nothing was changed"],
    );
    assert_eq!(place.demo_runs().len(), 2);

    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    let state = deployed(&back, &place, RunOutcome::Succeeded);
    assert_eq!(state.started.as_ref().unwrap().to.as_str(), "1.0.0");
    assert!(state.started.as_ref().unwrap().reverts.is_some());
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(place.demo_runs().len(), 3);

    let forward = place.run_in(&place.demo(), &["rollback"]);
    forward.refused(1, "CD0418", &["was itself the way back"]);
}

#[test]
fn blue_green_with_a_slow_green_goes_back_to_blue() {
    let place = Place::new();
    place.lay_out_upgrade();
    with_strategy(&place, "blue-green", "{ percent: 100, soak: 3s }");
    with_fault(&place, "slow");
    goes_back(&place);
    assert_eq!(shares(&place).last(), Some(&0));
    // Blue was never stopped: going back was one switch.
    assert!(
        !events(&place)
            .iter()
            .any(|event| intends(&event.body, "finish.old-release"))
    );
}

#[test]
fn a_finished_canary_is_taken_back_by_a_run_of_its_own() {
    let place = Place::new();
    place.lay_out_upgrade();
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    assert_eq!(shares(&place), [5, 0, 5, 25, 50, 100]);
    let asked = events(&place).into_iter().find(|event| {
        matches!(&event.body, EventBody::SectionReported { section, .. } if section == "dependencies")
            && format!("{:?}", event.body).contains("Connections of the network map")
    });
    let asked = format!("{:?}", asked.unwrap().body);
    assert!(asked.contains("the file is there"), "{asked}");
    assert!(!asked.contains("does not run yet"), "{asked}");

    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    let state = deployed(&back, &place, RunOutcome::Succeeded);
    assert_eq!(state.started.as_ref().unwrap().to.as_str(), "1.0.0");
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(shares(&place).last(), Some(&0));
}

#[test]
fn rolling_replaces_instances_in_waves_and_goes_back_from_a_fault() {
    let place = Place::new();
    place.lay_out_upgrade();
    let steps = "{ percent: 50, soak: 3s }, { percent: 100, soak: 3s }";
    with_strategy(&place, "rolling", steps);
    // Errors would be found already when the built artifacts are walked through.
    with_fault(&place, "slow");
    goes_back(&place);
    assert_eq!(shares(&place), [50, 0]);

    with_fault(&place, "none");
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = deployed(&said, &place, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert!(state.rehearsed.is_some());
    assert_eq!(shares(&place), [50, 0, 50, 100]);
}

/// A deployment that goes on in the background.
pub(crate) struct Deploying {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Deploying {
    pub(crate) fn begin(place: &Place) -> Self {
        Self::begin_in(place, &place.demo(), &["dev", "local"])
    }

    pub(crate) fn begin_in(place: &Place, folder: &Path, arguments: &[&str]) -> Self {
        let mut command = place.command(folder, arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let said = String::new();
        Self { child, out, said }
    }

    /// Waits until the deployment says that.
    #[track_caller]
    pub(crate) fn until(&mut self, words: &str) {
        let from = self.said.len();
        while !self.said[from..].contains(words) {
            let read = self.out.read_line(&mut self.said).unwrap();
            assert_ne!(read, 0, "it ended without `{words}`:\n{}", self.said);
        }
    }

    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        assert!(asked.unwrap().success());
    }

    /// Kills the process, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn end(mut self) -> Said {
        self.out.read_to_string(&mut self.said).unwrap();
        let mut said = Said::from(self.child.wait_with_output().unwrap());
        said.out = self.said;
        said
    }
}

#[test]
fn a_run_is_paused_resumed_and_kept_from_a_second_one() {
    let place = Place::new();
    place.lay_out_upgrade();
    let mut first = Deploying::begin(&place);
    first.until("traffic of storefront: 1.0.0 95 %");
    let second = place.run_in(&place.demo(), &["dev", "local"]);
    second.refused(1, "CD0410", &["is locked by", "Nothing was changed"]);
    let paused = place.run_in(&place.demo(), &["pause", "--reason", "lunch"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    first.until("(lunch): `code-deploy resume` goes on");
    let status = place.run_in(&place.demo(), &["status"]);
    let (_, state) = place.demo_runs().pop().unwrap();
    let by = format!("paused by {} (lunch), in ", state.started.unwrap().user);
    assert!(status.out.contains(&by), "{}", status.out);
    let stop = place.run_in(&place.demo(), &["dev", "local", "--stop"]);
    stop.refused(1, "CD0410", &["is locked by"]);
    let resumed = place.run_in(&place.demo(), &["resume"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let said = first.end();
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = deployed(&said, &place, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
}

#[test]
fn a_run_that_was_interrupted_is_taken_back_before_everything_is_stopped() {
    let place = Place::new();
    place.lay_out_upgrade();
    let mut first = Deploying::begin(&place);
    first.until("traffic of storefront: 1.0.0 95 %");
    first.interrupt();
    let said = first.end();
    assert_eq!(said.code, Some(130), "{}\n{}", said.out, said.err);
    let (_, state) = place.demo_runs().pop().unwrap();
    assert!(state.finished.is_none());

    let stop = place.run_in(&place.demo(), &["dev", "local", "--stop"]);
    assert_eq!(stop.code, Some(0), "{}\n{}", stop.out, stop.err);
    let state = deployed(&stop, &place, RunOutcome::RolledBack);
    let client = &state.clients["client"];
    assert!(!client.goes_on, "{client:?}");
    assert_eq!(client.failed, 0, "{client:?}");
}

/// Returns the processes whose command line names this place, with their command lines.
fn processes(place: &Place) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(place.path().to_str().unwrap()) {
            found.push((pid, line));
        }
    }
    found
}

fn kill(pid: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[track_caller]
fn kill_router(place: &Place) {
    let all = processes(place);
    let router = all
        .iter()
        .find(|(_, line)| line.contains("internal router"));
    kill(router.unwrap_or_else(|| panic!("no router in {all:?}")).0);
}

#[test]
fn a_run_whose_process_and_router_were_killed_is_taken_back_and_nothing_is_left() {
    let place = Place::new();
    place.lay_out_upgrade();
    let mut first = Deploying::begin(&place);
    first.until("traffic of storefront: 1.0.0 95 %");
    kill(first.child.id());
    kill_router(&place);
    first.end();

    let stop = place.run_in(&place.demo(), &["dev", "local", "--stop"]);
    assert_eq!(stop.code, Some(0), "{}\n{}", stop.out, stop.err);
    deployed(&stop, &place, RunOutcome::RolledBack);
    assert_eq!(processes(&place), []);
}

#[test]
fn a_router_that_died_is_started_again_by_the_next_run() {
    let place = Place::new();
    place.lay_out_upgrade();
    kill_router(&place);
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = deployed(&said, &place, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
}
