//! Checkpoints as proofs that a record only grew.

use code_deploy_record::{
    Against, Checkpoint, KeptCheckpoint, TreeHead, checkpoints, hold, is_consistent,
};

use crate::Place;
use crate::seal::{key, rewritten, sealed_with};

fn note(kept: &KeptCheckpoint) -> &Checkpoint {
    kept.checkpoint.as_ref().unwrap()
}

/// The lines of a journal, with their ends.
fn lines(place: &Place) -> Vec<Vec<u8>> {
    let journal = place.journal();
    let lines = journal.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

#[test]
fn each_checkpoint_of_a_record_is_proved_from_the_one_before() {
    let place = sealed_with(1);
    let all = checkpoints(&place.run).unwrap();
    let sizes: Vec<u64> = all.iter().map(|one| note(one).head.size).collect();
    assert_eq!(sizes, [4, 6, 12]);
    let events: Vec<u64> = all
        .iter()
        .map(|one| one.last.as_ref().unwrap().seq)
        .collect();
    assert_eq!(events, [3, 5, 9]);
    assert!(all.iter().all(|one| one.is_signed && one.is_of_journal));
    assert_eq!(all[0].extension, None);
    for pair in all.windows(2) {
        let extension = pair[1].extension.as_ref().unwrap();
        assert!(extension.holds);
        // Two notes and the proof are enough; the record is not needed.
        let (old, new) = (&note(&pair[0]).head, &note(&pair[1]).head);
        assert_eq!(extension.from, *old);
        assert!(is_consistent(old, new, &extension.proof));
        let bent = TreeHead {
            root: old.root,
            ..*new
        };
        assert!(!is_consistent(old, &bent, &extension.proof));
    }
}

#[test]
fn a_checkpoint_that_does_not_hold_is_told_from_those_that_do() {
    let place = sealed_with(1);
    let files = place.run.seal().checkpoints().unwrap();
    let own: Checkpoint = std::fs::read_to_string(&files[1]).unwrap().parse().unwrap();
    let head = TreeHead {
        root: code_deploy_record::Digest::of(b"another"),
        ..own.head
    };
    let forged = Checkpoint::sign(&own.origin, head, &key(1));
    std::fs::write(&files[1], forged.to_string()).unwrap();
    // The one after it goes on from the last one that holds.
    let all = checkpoints(&place.run).unwrap();
    let after = all[2].extension.as_ref().unwrap();
    assert_eq!(after.from, note(&all[0]).head);
    assert!(after.holds);
    std::fs::write(&files[2], "no note").unwrap();
    let all = checkpoints(&place.run).unwrap();
    assert!(all[1].is_signed && !all[1].is_of_journal);
    assert!(!all[1].extension.as_ref().unwrap().holds);
    assert!(all[2].checkpoint.is_err() && all[2].extension.is_none());
}

#[test]
fn a_record_goes_on_from_each_checkpoint_that_was_kept_of_it() {
    let place = sealed_with(1);
    for kept in checkpoints(&place.run).unwrap() {
        let note = note(&kept);
        let Against::Extension { here, proof } = hold(&place.run, note).unwrap() else {
            panic!("{note}");
        };
        assert_eq!(here.size, 12);
        assert!(is_consistent(&note.head, &here, &proof));
    }
}

#[test]
fn a_record_that_was_cut_written_anew_or_damaged_does_not() {
    let place = sealed_with(1);
    let all = checkpoints(&place.run).unwrap();
    let [first, .., last] = [0, 1, 2].map(|at: usize| note(&all[at]).clone());
    let lines = lines(&place);
    // Cut behind the first checkpoint: it still goes on from that one.
    place.write_journal(&lines[..5].concat());
    assert_eq!(
        hold(&place.run, &last).unwrap(),
        Against::Shorter { here: 5 }
    );
    assert!(matches!(
        hold(&place.run, &first).unwrap(),
        Against::Extension { .. }
    ));
    let whole = lines.concat();
    let anew = rewritten(&whole, "\"user\":\"anna\"", "\"user\":\"otto\"");
    place.write_journal(anew.as_bytes());
    for note in [&first, &last] {
        let against = hold(&place.run, note).unwrap();
        assert!(matches!(against, Against::Other { .. }), "{against:?}");
    }
    let removed = [&lines[..6], &lines[7..]].concat().concat();
    place.write_journal(&removed);
    assert_eq!(
        hold(&place.run, &last).unwrap(),
        Against::Unread { event: 6 }
    );
    assert!(matches!(
        hold(&place.run, &first).unwrap(),
        Against::Extension { .. }
    ));
}
