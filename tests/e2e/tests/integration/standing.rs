//! What commands say of where a run stands: while it is open, after it, and when all is stopped.

use serde_json::Value;

use crate::kit::{Place, Said};
use crate::steering::Deploying;

/// Lays the demonstration's deployment file out without what only a machine at leisure reaches.
fn lay_out_without_haste(place: &Place) {
    let file = include_str!("../../../shop/deploy.yaml");
    let file = file
        .replace("availability: 99.9", "availability: 10")
        .replace("percent: 99, below: 500ms", "percent: 99, below: 50s")
        .replace("throughput: 120", "throughput: 1");
    place.write("code-deploy-demo/deploy.yaml", file);
}

#[track_caller]
fn says(said: &Said, words: &[&str]) {
    for word in words {
        let text = format!("{}\n{}", said.out, said.err);
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn a_run_is_told_as_it_stands_while_it_is_open_when_it_has_ended_and_when_all_is_stopped() {
    let place = Place::new();
    lay_out_without_haste(&place);
    let demo = ["dev", "local", "--demo", "--to", "1.0.0"];
    let mut first = Deploying::begin_in(&place, place.path(), &demo);
    first.until("ok  release.promotion");
    first.interrupt();
    let said = first.end();
    // Stopping on request is no failure, and does not read like one.
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.err.starts_with("paused[CD0401]"), "{}", said.err);
    let stands = ["a safe point, behind release.", "; it goes on with "];
    for words in stands {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert!(!said.err.contains("error"), "{}", said.err);

    let run = |words: &[&str]| place.run_in(&place.demo(), words);
    says(
        &run(&["status"]),
        &[
            "6 instances run",
            "What runs, asked at",
            "none: `code-deploy resume`",
            "Last entry",
            " passed at ",
            "storefront 200 in ",
            " s, planned for at most ",
        ],
    );
    says(&run(&["plan"]), &["is not ended", "this is its plan"]);
    // No section of a run is opened by a word that is none.
    run(&["observe", "metrisc"]).refused(1, "CD0421", &["`metrics`"]);

    let on = run(&["dev", "local"]);
    let id = place.demo_runs()[0]
        .1
        .started
        .as_ref()
        .unwrap()
        .run
        .to_string();
    let begins = format!("Run {id} (nothing -> 1.0.0), begun ");
    says(
        &on,
        &[
            &begins,
            "is not ended",
            "This is of that run; its next step is ",
        ],
    );
    assert_eq!(on.code, Some(0), "{}\n{}", on.out, on.err);
    assert_eq!(place.demo_runs().len(), 1);

    says(&run(&["status"]), &["succeeded", "6 instances run"]);
    run(&["approve", "--reason", "fine"]).refused(1, "CD0417", &[&id, "is ended", "runs"]);
    run(&["pause"]).refused(1, "CD0417", &[&id, "is ended"]);
    let planned = run(&["plan"]);
    let deployed = run(&["dev", "local"]);
    let words = [
        "1.0.0 is deployed already",
        "`code-deploy dev local --stop`",
    ];
    planned.refused(1, "CD0411", &words);
    assert_eq!(planned.err, deployed.err);
    run(&["record", "--kind", "gate"]).refused(2, "CD0001", &["gate_evaluated", "sealed"]);
    says(
        &run(&["record", "--kind", "evidence_kept"]),
        &["evidence kept: "],
    );
    says(&run(&["record", "traffic"]), &["Traffic\n-------\n"]);
    run(&["status", "--run", &id.replace("dev", "dve")]).refused(1, "CD0302", &[&id]);

    let listed = run(&["--json", "runs"]);
    let lines: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{}", listed.out);
    assert_eq!(lines[0]["run"]["run"], id);

    let stop = run(&["dev", "local", "--stop"]);
    assert_eq!(stop.code, Some(0), "{stop:?}");
    let status = run(&["status"]);
    says(&status, &["succeeded", "stopped at 2"]);
    assert!(!status.out.contains("100 %"), "{}", status.out);
}
