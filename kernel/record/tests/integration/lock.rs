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

#[test]
fn a_holder_that_lives_but_does_not_renew_is_taken_over_and_fenced_off() {
    let place = Place::new();
    let runs = place.runs();
    let asleep = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let fence = asleep.fence();
    fence.check().unwrap();
    let Err(Error::Locked { standing, .. }) = RunLock::take(&runs, "shop", "dev", holder()) else {
        panic!("two held it")
    };
    let seen = standing.unwrap();
    let later = "2026-01-02T03:04:36Z".parse().unwrap();
    assert!(seen.seems_asleep(later));
    let other = RunLock::take_from(&seen, &runs, "shop", "dev", holder()).unwrap();
    assert_eq!(other.holder().fencing, 2);
    let Err(Error::FencedOff { fencing, holder }) = fence.check() else {
        panic!("it was not fenced off")
    };
    assert_eq!(fencing, 1);
    assert!(holder.contains("anna on host"), "{holder}");
    assert!(fence.hold().is_err() && fence.renew(later).is_err());
    other.fence().hold().unwrap();
    // The one that slept ends, and the lock is still that of the other.
    drop(asleep);
    let refused = RunLock::take(&runs, "shop", "dev", self::holder());
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
}

#[test]
fn a_holder_that_renewed_meanwhile_is_not_taken_over() {
    let place = Place::new();
    let runs = place.runs();
    let first = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let Err(Error::Locked { standing, .. }) = RunLock::take(&runs, "shop", "dev", holder()) else {
        panic!("two held it")
    };
    let now = "2026-01-02T03:04:15Z".parse().unwrap();
    first.fence().renew(now).unwrap();
    let refused = RunLock::take_from(&standing.unwrap(), &runs, "shop", "dev", holder());
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    first.fence().check().unwrap();
}

#[test]
fn a_clock_that_jumps_makes_a_holder_suspect_but_takes_nothing_from_it() {
    let place = Place::new();
    let runs = place.runs();
    let first = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let Err(Error::Locked { standing, .. }) = RunLock::take(&runs, "shop", "dev", holder()) else {
        panic!("two held it")
    };
    let seen = standing.unwrap();
    for jumped in ["2025-01-02T03:04:05Z", "2027-01-02T03:04:05Z"] {
        assert!(seen.seems_asleep(jumped.parse().unwrap()));
    }
    for near in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:35Z"] {
        assert!(!seen.seems_asleep(near.parse().unwrap()));
    }
    first.fence().check().unwrap();
}

#[test]
fn a_journal_takes_nothing_from_who_is_fenced_off() {
    let place = Place::with_notes(1);
    let runs = place.runs();
    let first = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let clock = place.clock.clone();
    let (mut writer, ..) = place.run.open_journal(clock, Default::default()).unwrap();
    writer.fence_with(first.fence());
    writer.append("engine", crate::note("held")).unwrap();
    drop(first);
    let before = place.journal();
    let second = RunLock::take(&runs, "shop", "dev", holder()).unwrap();
    let refused = writer.append("engine", crate::note("too late"));
    assert!(
        matches!(refused, Err(Error::FencedOff { .. })),
        "{refused:?}"
    );
    assert_eq!(place.journal(), before);
    drop(second);
}
