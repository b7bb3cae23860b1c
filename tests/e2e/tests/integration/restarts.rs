//! A Docker engine that is restarted in the middle of a canary: the run ends by itself, one way or the other.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use code_deploy_record::{EventBody, RunFolder, RunOutcome, RunState, Source, verify_folder};
use serde_json::Value;

use crate::kit::{Place, Said};
use crate::machine::Machine;
use crate::steering::Deploying;

const SERVICES: [&str; 3] = ["catalog", "orders", "storefront"];

/// What the journal has of an engine that was away.
const SILENCE: &str = "the Docker engine did not answer for ";

/// How long before an engine was found silent, and after it answered again, requests may fail, in seconds: a request has
/// a limit of its own, containers need their time to end and to start, and routers to try them again.
const AROUND: f64 = 15.0;

/// An upgrade whose engine was restarted while the canary had its first share.
struct Restarted {
    said: Said,
    state: RunState,
    /// What was noted.
    notes: Vec<String>,
    /// When the engine did not answer, from and to, as Unix times.
    silences: Vec<(f64, f64)>,
    /// The seconds in which requests of the outside client failed, as Unix times.
    failed: Vec<f64>,
    /// The containers of before the restart and of after the end, by name, with when each was started.
    before: BTreeMap<String, String>,
    after: BTreeMap<String, String>,
}

fn upgrade_and_restart(machine: &mut Machine, place: &Place) -> Restarted {
    place.lay_out_upgrade();
    // Longer than an engine is away.
    place.edit("{ percent: 5, soak: 2s }", "{ percent: 50, soak: 20s }");
    place.edit("{ percent: 25, soak: 1s }", "{ percent: 75, soak: 1s }");
    place.edit("        - { percent: 50, soak: 1s }\n", "");
    // Both releases fail alike meanwhile, but for chance.
    place.edit("error_share_margin: 1.0", "error_share_margin: 25.0");
    // While the engine is away nobody finds a name, and what fails then counts for the objectives, too.
    place.edit("availability: 99.9", "availability: 50");
    place.edit("availability: 99.9", "availability: 50");
    // New connections wait for seconds, and the new release has fewer old ones.
    place.edit("latency_floor: 400ms", "latency_floor: 30s");
    let mut upgrade = Deploying::begin_in(place, &place.demo(), &["dev", "docker-desktop"]);
    upgrade.until("traffic of storefront: 1.0.0 50 %");
    let before = containers(machine);
    machine.restart_engine();
    let said = upgrade.end();
    let (folder, state) = place.demo_runs().pop().unwrap();
    assert_eq!(verify_folder(&folder).unwrap().findings, []);
    let (mut notes, mut silences) = (Vec::new(), Vec::new());
    for event in folder.events().unwrap() {
        let event = event.unwrap();
        if let EventBody::Noted { text, .. } = event.body {
            silences.extend(silence(&text, event.time));
            notes.push(text);
        }
    }
    Restarted {
        said,
        state,
        notes,
        silences,
        failed: failures(&folder),
        before,
        after: containers(machine),
    }
}

/// Returns from when to when an engine was silent, where that is what was noted then.
fn silence(note: &str, noted: DateTime<Utc>) -> Option<(f64, f64)> {
    let seconds = note.strip_prefix(SILENCE)?.split(' ').next()?;
    let (end, lasted) = (
        noted.timestamp_millis() as f64 / 1e3,
        seconds.parse::<f64>(),
    );
    Some((end - lasted.unwrap(), end))
}

/// Returns the seconds in which requests of the outside client failed.
fn failures(folder: &RunFolder) -> Vec<f64> {
    let mut reader = folder.samples(Source::Client.word()).unwrap();
    let samples = std::iter::from_fn(|| reader.next_sample().unwrap());
    let failed = samples.filter(|sample| sample.failed() > 0);
    failed.map(|sample| sample.second as f64).collect()
}

/// Returns the containers that run, by name, with when each was started.
#[track_caller]
fn containers(machine: &Machine) -> BTreeMap<String, String> {
    let ask = |words: &[&str]| -> String {
        let mut command = std::process::Command::new("docker");
        let ran = command
            .args(words)
            .env("DOCKER_HOST", machine.docker())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    };
    let ids = ask(&["ps", "--quiet"]);
    let mut words = vec!["inspect"];
    words.extend(ids.lines());
    let inspected: Value = serde_json::from_str(&ask(&words)).unwrap();
    let all = inspected.as_array().unwrap().iter().map(|one| {
        let text = |value: &Value| value.as_str().unwrap().trim_start_matches('/').to_owned();
        (text(&one["Name"]), text(&one["State"]["StartedAt"]))
    });
    all.collect()
}

impl Restarted {
    /// Asserts that the run ended by itself and told of the engine, that its release alone is left and serves
    /// everybody; returns how it ended.
    #[track_caller]
    fn ended(&self, place: &Place) -> RunOutcome {
        let told = format!("{}\n{}", self.said.out, self.said.err);
        let outcome = self.state.finished.as_ref().map(|end| end.0);
        let (release, code) = match outcome {
            Some(RunOutcome::Succeeded) => ("1.1.0", 0),
            Some(RunOutcome::RolledBack) => ("1.0.0", 3),
            _ => panic!("{outcome:?}: {told}"),
        };
        assert_eq!(self.said.code, Some(code), "{told}");
        let silent = |note: &String| note.starts_with(SILENCE);
        assert!(self.notes.iter().any(silent), "{:?}", self.notes);
        let all = [(release.parse().unwrap(), 100)].into();
        for (service, (served, ..)) in &self.state.traffic {
            assert_eq!(served, &all, "{service}");
        }
        let mut wanted = Vec::new();
        for service in SERVICES {
            wanted.extend((1..=2).map(|n| format!("shop-dev-{service}-{release}-{n}")));
            wanted.push(format!("shop-dev-{service}-router"));
        }
        assert_eq!(self.after.keys().cloned().collect::<Vec<_>>(), wanted);
        let status = place.run_in(&place.demo(), &["status"]).out;
        for service in SERVICES {
            let mut lines = status.lines().map(|line| line.split_whitespace());
            let serves =
                lines.any(|words| words.eq([service, release, "2", "of", "2", "0", "100"]));
            assert!(serves, "{service} {release} in {status}");
        }
        self.failed_only_around_the_silence();
        outcome.unwrap()
    }

    /// Asserts that requests failed when the engine was away and at no other time: what goes on without it is not found
    /// by its name meanwhile, so that none at all is not to be had.
    #[track_caller]
    fn failed_only_around_the_silence(&self) {
        let client = &self.state.clients["client"];
        assert_eq!(client.failed == 0, self.failed.is_empty(), "{client:?}");
        let silences = &self.silences;
        for second in &self.failed {
            let near = |(from, to): &(f64, f64)| (from - AROUND..to + AROUND).contains(second);
            assert!(silences.iter().any(near), "{second}, not in {silences:?}");
        }
    }

    /// Returns the routers that were started again.
    fn routers_started_again(&self) -> usize {
        let routers = self
            .before
            .iter()
            .filter(|(name, _)| name.ends_with("-router"));
        routers
            .filter(|(name, started)| self.after[*name] != **started)
            .count()
    }
}

#[test]
fn with_live_restore_containers_go_on_and_the_run_is_finished() {
    let mut machine = Machine::with_engine(&["--live-restore"]);
    let place = Place::on(&machine);
    let restarted = upgrade_and_restart(&mut machine, &place);
    let outcome = restarted.ended(&place);
    assert_eq!(outcome, RunOutcome::Succeeded, "{}", restarted.said.out);
    assert_eq!(restarted.routers_started_again(), 0);
    let again = |note: &String| note.contains("started again");
    assert!(!restarted.notes.iter().any(again), "{:?}", restarted.notes);
}

#[test]
fn without_live_restore_containers_come_back_and_the_run_ends_by_what_its_gates_saw() {
    let mut machine = Machine::with_engine(&[]);
    let place = Place::on(&machine);
    let restarted = upgrade_and_restart(&mut machine, &place);
    restarted.ended(&place);
    assert_eq!(restarted.routers_started_again(), SERVICES.len());
    let again = |note: &&String| note.contains("-router had ended and was started again");
    let told = restarted.notes.iter().filter(again).count();
    assert_eq!(told, SERVICES.len(), "{:?}", restarted.notes);
}
