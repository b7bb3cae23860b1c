use code_deploy_record::{Error, EventBody, Redactor, Secret};

use crate::{Place, note, started};

#[test]
fn what_was_appended_is_read_back_chained_and_in_order() {
    let place = Place::with_notes(3);
    let events: Vec<_> = place.run.events().unwrap().map(Result::unwrap).collect();
    assert_eq!(
        events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert!(events.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert!(events.windows(2).all(|pair| pair[0].prev != pair[1].prev));
}

#[test]
fn a_torn_last_line_is_cut_at_every_byte_and_nothing_before_it_is_lost() {
    let whole = Place::with_notes(3);
    let journal = whole.journal();
    let last_start = journal[..journal.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for cut in last_start..journal.len() - 1 {
        let place = Place::new();
        place.write_journal(&journal[..cut + 1]);
        let (mut writer, state, recovered) = place
            .run
            .open_journal(place.clock.clone(), Redactor::default())
            .unwrap();
        assert_eq!(recovered.torn_bytes, (cut + 1 - last_start) as u64);
        assert_eq!(state.events, 3);
        place.clock.set("2026-02-01T00:00:00Z");
        writer.append("engine", note("after the crash")).unwrap();
        assert_eq!(place.run.events().unwrap().map(Result::unwrap).count(), 4);
    }
}

#[test]
fn any_other_damage_names_the_event() {
    let whole = Place::with_notes(4).journal();
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let changed = String::from_utf8(whole.clone())
        .unwrap()
        .replace("note 1", "note X");
    let removed = [lines[0], lines[1], lines[3], lines[4]].concat();
    let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4]].concat();
    for (damaged, event) in [(changed.into_bytes(), 3), (removed, 2), (swapped, 1)] {
        let place = Place::new();
        place.write_journal(&damaged);
        let opened = place
            .run
            .open_journal(place.clock.clone(), Redactor::default());
        let Err(Error::Broken { event: named, .. }) = opened else {
            panic!("not noticed")
        };
        assert_eq!(named, event);
    }
}

#[test]
fn a_reader_follows_a_writer() {
    let place = Place::new();
    let mut writer = place.writer();
    let mut reader = place.run.events().unwrap();
    assert!(reader.next_event().unwrap().is_none());
    writer.append("engine", started()).unwrap();
    assert_eq!(reader.next_event().unwrap().unwrap().seq, 0);
    assert!(reader.next_event().unwrap().is_none());
    writer.append("engine", note("more")).unwrap();
    assert_eq!(reader.next_event().unwrap().unwrap().seq, 1);
}

#[test]
fn time_never_goes_back_even_when_the_clock_does() {
    let place = Place::with_notes(1);
    place.clock.set("2020-01-01T00:00:00Z");
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    writer.append("engine", note("late")).unwrap();
    let times: Vec<_> = place
        .run
        .events()
        .unwrap()
        .map(|event| event.unwrap().time)
        .collect();
    assert!(times.is_sorted());
}

#[test]
fn an_entry_with_a_known_secret_is_refused_and_the_journal_goes_on() {
    let place = Place::new();
    let redactor = Redactor::default();
    redactor.know("database password", Secret::new("correct horse".to_owned()));
    let mut writer = place
        .run
        .create_journal(place.clock.clone(), redactor)
        .unwrap();
    writer.append("engine", started()).unwrap();
    let refused = writer.append("engine", note("the password is correct horse"));
    let Err(Error::SecretInEntry { name, kind }) = refused else {
        panic!("it was written")
    };
    assert_eq!(
        (name.as_str(), kind.as_str()),
        ("database password", "noted")
    );
    writer.append("engine", note("fine")).unwrap();
    assert!(
        !String::from_utf8(place.journal())
            .unwrap()
            .contains("correct horse")
    );
    assert_eq!(place.run.events().unwrap().map(Result::unwrap).count(), 2);
}

#[test]
fn files_of_a_record_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_notes(0);
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.run.journal_path()), 0o600);
    assert_eq!(mode(place.run.path().to_owned()), 0o700);
    assert_eq!(mode(place.run.samples_path()), 0o700);
}

#[test]
fn nothing_is_appended_behind_the_end_of_a_record() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer
        .append("engine", EventBody::Sealed { events: 1 })
        .unwrap();
    let journal = place.journal();
    let late = writer.append("engine", note("too late")).unwrap_err();
    assert!(matches!(late, Error::Ended { .. }), "{late}");
    drop(writer);
    let (clock, redactor) = (place.clock.clone(), Redactor::default());
    let (mut writer, ..) = place.run.open_journal(clock, redactor).unwrap();
    let late = writer.append("engine", note("too late")).unwrap_err();
    assert!(matches!(late, Error::Ended { .. }), "{late}");
    assert_eq!(place.journal(), journal);
}
