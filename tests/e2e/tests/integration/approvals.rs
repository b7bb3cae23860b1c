//! Approvals that somebody else signs, with a key of `ssh-keygen`.

use std::path::{Path, PathBuf};
use std::process::Command;

use code_deploy_record::{EventBody, RunOutcome};

use crate::kit::Place;
use crate::steering::Deploying;

/// Makes an OpenSSH key; returns where it is and its public half.
#[track_caller]
fn key(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public.trim().to_owned())
}

/// Lays the demonstration out with an approval for which somebody else than whoever deploys has to answer.
#[track_caller]
fn lay_out_for_somebody_else(place: &Place, public: &str) {
    place.lay_out_with_little_load();
    let dev = "environments:\n  # Seconds instead of minutes: one can watch it.\n  dev:\n";
    let asking = "    overrides: { approval: somebody_else }\n";
    let signers = format!("approvals: {{ signers: {{ Anna: \"{public}\" }} }}\n");
    place.edit(dev, &format!("{signers}{dev}{asking}"));
}

const DEPLOY: [&str; 5] = ["dev", "local", "--demo", "--to", "1.0.0"];

/// What a run says that waits for that answer.
const WAITS: &str = "`code-deploy approve --sign KEY --reason TEXT`";

#[test]
fn only_the_signature_of_the_person_who_is_named_counts_and_the_record_keeps_it() {
    let place = Place::new();
    let (anna, public) = key(place.path(), "anna");
    let (stranger, _) = key(place.path(), "stranger");
    lay_out_for_somebody_else(&place, &public);
    let mut run = Deploying::begin_in(&place, place.path(), &DEPLOY);
    run.until(WAITS);
    let answer = |more: &[&str]| {
        let words = ["approve", "--reason", "the plan is fine"];
        place.run_in(&place.demo(), &[words.as_slice(), more].concat())
    };
    answer(&[]).refused(1, "CD0426", &["the policy of dev asks for somebody else"]);
    let of_stranger = answer(&["--sign", stranger.to_str().unwrap()]);
    of_stranger.refused(1, "CD0426", &[]);
    let (folder, state) = place.demo_runs().pop().unwrap();
    assert!(state.approval_asked.is_some(), "{of_stranger:?}");
    let given = answer(&["--sign", anna.to_str().unwrap(), "--no-go"]);
    assert_eq!(given.code, Some(0), "{given:?}");
    let said = run.end();
    assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    assert!(
        said.out.contains("Anna says no-go: the plan is fine"),
        "{}",
        said.out
    );

    let state = folder.state().unwrap();
    let ended = state.finished.as_ref().map(|end| end.0);
    assert_eq!(ended, Some(RunOutcome::Refused));
    let events: Vec<_> = folder.events().unwrap().map(Result::unwrap).collect();
    let signed = events
        .iter()
        .filter(|event| matches!(event.body, EventBody::ConsentSigned(_)));
    assert_eq!(signed.count(), 1);
    let verified = place.run_in(&place.demo(), &["verify", folder.path().to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{}\n{}", verified.out, verified.err);
    assert!(verified.out.contains("Anna"), "{}", verified.out);
}

#[test]
fn the_notebooks_of_a_run_whose_checkpoint_was_changed_meanwhile_are_not_signed() {
    let place = Place::new();
    let (anna, public) = key(place.path(), "anna");
    lay_out_for_somebody_else(&place, &public);
    let mut run = Deploying::begin_in(&place, place.path(), &DEPLOY);
    run.until(WAITS);
    let (folder, _) = place.demo_runs().pop().unwrap();
    let changed = folder.seal().checkpoints().unwrap().remove(0);
    std::fs::write(&changed, "no checkpoint").unwrap();
    let anna = anna.to_str().unwrap();
    let answer = ["approve", "--reason", "no", "--sign", anna, "--no-go"];
    let given = place.run_in(&place.demo(), &answer);
    assert_eq!(given.code, Some(0), "{given:?}");
    // How the run ends is not changed by that.
    let said = run.end();
    assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    let name = changed.file_name().unwrap().to_str().unwrap();
    for words in ["The notebooks are not signed. CD0318: ", name] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let id = folder.started().unwrap().run;
    let notebooks = place.demo().join("deployments").join(id.as_str());
    assert!(notebooks.join("01_Deployment_Plan.ipynb").is_file());
    assert!(!notebooks.join("seal").exists());
}
