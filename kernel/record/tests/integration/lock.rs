use code_deploy_record::{Error, LockHolder, RunLock};

use crate::Place;

fn holder() -> LockHolder {
    LockHolder {
        run: "run-1".parse().unwrap(),
        pid: std::process::id(),
        host: "host".to_owned(),
        user: "anna".to_owned(),
        since: "2026-01-02T03:04:05Z".parse().unwrap(),
        fencing: 0,
    }
}

#[test]
fn a_second_holder_is_refused_and_told_who_holds_it() {
    let place = Place::new();
    let runs = place.runs();
    let first = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let Err(Error::Locked { holder: named, .. }) = RunLock::take(&runs, "shop", "dev", holder())
    else {
        panic!("two held it")
    };
    assert!(
        named.contains("anna on host") && named.contains("2026-01-02 03:04:05 UTC"),
        "{named}"
    );
    assert_eq!(
        RunLock::holder_of(&runs, "shop", "dev").unwrap().as_ref(),
        Some(first.holder())
    );
    RunLock::take(&runs, "shop", "test", holder()).unwrap();
}

#[test]
fn a_lock_is_free_after_its_holder_and_the_fencing_number_grows() {
    let place = Place::new();
    let runs = place.runs();
    assert_eq!(RunLock::holder_of(&runs, "shop", "dev").unwrap(), None);
    let first = RunLock::take(&runs, "shop", "dev", holder())
        .unwrap()
        .holder()
        .fencing;
    assert_eq!(RunLock::holder_of(&runs, "shop", "dev").unwrap(), None);
    let second = RunLock::take(&runs, "shop", "dev", holder())
        .unwrap()
        .holder()
        .fencing;
    assert_eq!((first, second), (1, 2));
}
