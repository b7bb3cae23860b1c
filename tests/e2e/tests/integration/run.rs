//! The demonstration, whole: deployed, upgraded under a client's eyes, and looked at.

use code_deploy_record::{RunFolder, RunOutcome, Sample, SampleReader, verify_folder};

use crate::kit::Place;
use crate::seal;

/// Returns the samples of routers in which requests to a release failed. Before it has traffic, nobody is
/// there to answer.
fn failed_at_routers(folder: &RunFolder) -> Vec<Sample> {
    let path = folder.samples_path().join("router.jsonl");
    let mut reader = SampleReader::open(&path).unwrap();
    let samples = std::iter::from_fn(|| reader.next_sample().unwrap());
    samples
        .filter(|sample| sample.failed() > 0 && !sample.release.is_empty())
        .collect()
}

#[test]
fn the_demonstration_upgrades_by_canary_and_loses_no_request() {
    let place = Place::new();
    let said = place.run(&["dev", "local", "--demo"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let runs = place.demo_runs();
    assert_eq!(runs.len(), 2);
    for (folder, state) in &runs {
        assert_eq!(
            state.finished.as_ref().map(|end| end.0),
            Some(RunOutcome::Succeeded)
        );
        assert_eq!(state.items.len(), 208, "every item has a verdict");
        assert_eq!(failed_at_routers(folder), []);
        let report = verify_folder(folder).unwrap();
        assert_eq!(report.findings, []);
        assert!(report.sealed);
    }
    let (_, upgrade) = &runs[1];
    // The folder names what runs, so that what is deployed from it next is no step back.
    let file = std::fs::read_to_string(place.demo().join("deploy.yaml")).unwrap();
    assert!(file.contains("release: \"1.1.0\"\n"), "{file}");
    let client = &upgrade.clients["client"];
    assert!(client.sent >= 3_000, "{client:?}");
    assert_eq!(client.failed, 0, "{client:?}");
    assert!(client.releases["1.0.0"].answered > 0 && client.releases["1.1.0"].answered > 0);
    assert!(upgrade.rehearsed.is_some(), "the rollback was rehearsed");

    let status = place.run_in(&place.demo(), &["status"]);
    assert!(status.out.contains("succeeded"), "{}", status.out);
    let verified = place.run_in(&place.demo(), &["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.err);
    let id = upgrade.started.as_ref().unwrap().run.to_string();
    let notebooks = place.demo().join("deployments").join(&id);
    let folder = notebooks.to_str().unwrap();
    let compared = place.run_in(&place.demo(), &["verify", &id, "--notebooks", folder]);
    assert_eq!(compared.code, Some(0), "{}\n{}", compared.out, compared.err);

    seal::shows_with_tools_of_other_people(&notebooks);
    seal::exports_the_same_bytes_twice(&place, &id);
    seal::names_a_p256_key_that_was_put_beside_notebooks(&place, &notebooks);
    seal::signs_nothing_over_a_damaged_record(&place, &runs[1].0, &id);

    // The last line of the journal goes, and the checkpoint at the end says so.
    let journal = runs[1].0.journal_path();
    let whole = std::fs::read_to_string(&journal).unwrap();
    let (kept, _) = whole.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(&journal, format!("{kept}\n")).unwrap();
    let cut = place.run_in(&place.demo(), &["verify"]);
    cut.refused(10, "CD0301", &["cut at its end", "seal/"]);
    // With what was signed at the end gone too, what is left is as it was written, and not all of it.
    let mut signed = runs[1].0.seal().files().unwrap();
    signed.retain(|path| path.extension().is_some_and(|name| name != "checkpoint"));
    signed.push(runs[1].0.seal().checkpoints().unwrap().pop().unwrap());
    signed
        .iter()
        .for_each(|path| std::fs::remove_file(path).unwrap());
    let cut = place.run_in(&place.demo(), &["verify"]);
    cut.refused(12, "CD0307", &["not sealed", "their end is missing"]);
    std::fs::write(&journal, whole).unwrap();
}
