use code_deploy_record::{
    Digest, EventBody, FindingKind, Redactor, RunOutcome, Sample, SampleWriter, Source,
    verify_folder,
};

use crate::{Place, started};

fn sealed() -> Place {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    let digest = place.run.evidence().keep(b"log").unwrap();
    let (name, media_type) = ("log".to_owned(), "text/plain".to_owned());
    let kept = EventBody::EvidenceKept {
        name,
        digest,
        bytes: 3,
        media_type,
    };
    writer.append("engine", kept).unwrap();
    let mut samples = SampleWriter::open(&place.run.samples_path(), "router").unwrap();
    samples
        .append(&[Sample::empty(1, "catalog", "1.0.0", Source::Router)])
        .unwrap();
    let digest = Digest::of(&std::fs::read(samples.path()).unwrap());
    let file = "router.jsonl".to_owned();
    writer
        .append(
            "engine",
            EventBody::SamplesClosed {
                file,
                digest,
                samples: 1,
            },
        )
        .unwrap();
    writer
        .append("engine", EventBody::Sealed { events: 3 })
        .unwrap();
    place
}

fn places(place: &Place) -> Vec<String> {
    let report = verify_folder(&place.run).unwrap();
    report
        .findings
        .into_iter()
        .map(|finding| finding.place)
        .collect()
}

#[test]
fn a_record_that_was_not_touched_verifies() {
    let report = verify_folder(&sealed().run).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.events, report.evidence, report.samples), (4, 1, 1));
    assert!(report.sealed);
}

#[test]
fn changed_missing_and_added_files_are_named() {
    let place = sealed();
    let evidence = place.run.evidence().path_of(&Digest::of(b"log"));
    std::fs::write(&evidence, b"gol").unwrap();
    std::fs::write(place.run.samples_path().join("router.jsonl"), b"").unwrap();
    std::fs::write(place.run.samples_path().join("client.jsonl"), b"").unwrap();
    let named = places(&place);
    assert_eq!(named.len(), 3, "{named:?}");
    std::fs::remove_file(&evidence).unwrap();
    assert!(places(&place)[0].starts_with("evidence/"));
}

fn kinds(place: &Place) -> Vec<(FindingKind, String)> {
    let report = verify_folder(&place.run).unwrap();
    let findings = report.findings.into_iter();
    findings.map(|one| (one.kind, one.what)).collect()
}

#[test]
fn evidence_that_is_not_here_is_told_from_evidence_that_was_changed() {
    let place = sealed();
    let evidence = place.run.evidence().path_of(&Digest::of(b"log"));
    std::fs::write(&evidence, b"gol").unwrap();
    let changed = "changed: its content is not what its digest says".to_owned();
    assert_eq!(kinds(&place), [(FindingKind::Changed, changed)]);
    std::fs::remove_dir_all(evidence.parent().unwrap()).unwrap();
    let not_here = (FindingKind::NotHere, "not here".to_owned());
    assert_eq!(kinds(&place), [not_here]);
    let report = verify_folder(&place.run).unwrap();
    assert_eq!((report.evidence, report.evidence_named), (0, 1));
}

#[test]
fn a_line_that_was_torn_while_the_record_was_sealed_is_told_with_who_cuts_it() {
    let place = Place::with_notes(1);
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    let (outcome, summary) = (RunOutcome::Succeeded, "all is well".to_owned());
    writer
        .append("engine", EventBody::RunFinished { outcome, summary })
        .unwrap();
    drop(writer);
    place.write_journal(&[place.journal(), b"{\"seq\":".to_vec()].concat());
    let found = kinds(&place);
    let words = "7 bytes of a torn line stand at its end: the process was killed while it sealed the record. The next run";
    assert!(
        found.iter().any(|(_, what)| what.starts_with(words)),
        "{found:?}"
    );
}

#[test]
fn a_file_beside_the_evidence_that_the_journal_does_not_name_is_found() {
    let place = sealed();
    let digest = place.run.evidence().keep(b"added later").unwrap();
    assert_eq!(places(&place), [format!("evidence/{digest}")]);
    assert_eq!(kinds(&place)[0].0, FindingKind::NotNamed);
}

#[test]
fn evidence_of_a_run_that_goes_on_may_wait_for_its_name() {
    let place = Place::new();
    place.writer().append("engine", started()).unwrap();
    place.run.evidence().keep(b"kept, and named next").unwrap();
    assert_eq!(places(&place), Vec::<String>::new());
}

#[test]
fn every_flipped_byte_of_a_journal_is_noticed() {
    let place = sealed();
    let journal = place.journal();
    for position in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[position] ^= 1;
        place.write_journal(&damaged);
        // A flip in the last line changes no digest that stands in a line behind it; the seal
        // must then not verify as an event, or not as the same event.
        let report = verify_folder(&place.run).unwrap();
        let intact = report.findings.is_empty() && report.events == 4;
        let in_last = position
            >= journal[..journal.len() - 1]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .unwrap();
        assert!(
            !intact || in_last,
            "byte {position} was flipped and nothing noticed"
        );
    }
}

#[test]
fn a_journal_that_breaks_off_says_where_and_keeps_what_stands_before() {
    let place = sealed();
    let journal = String::from_utf8(place.journal()).unwrap();
    let lines: Vec<&str> = journal.lines().collect();
    let left = [lines[0], lines[1], lines[3]].join("\n") + "\n";
    place.write_journal(left.as_bytes());
    let report = verify_folder(&place.run).unwrap();
    assert_eq!((report.events, report.broken), (2, Some(2)));
    assert_eq!(report.head, Some(Digest::of(lines[1].as_bytes())));
    assert_eq!(report.findings.len(), 1);
    assert!(!report.is_whole() && !report.sealed);
}

#[test]
fn only_journal_samples_and_evidence_make_a_record_whole() {
    let place = sealed();
    let whole = |place: &Place| verify_folder(&place.run).unwrap().is_whole();
    assert!(whole(&place));
    std::fs::create_dir_all(place.run.seal().path()).unwrap();
    std::fs::write(place.run.seal().path().join("1.checkpoint"), "no note").unwrap();
    assert!(whole(&place) && !places(&place).is_empty());
    std::fs::remove_file(place.run.samples_path().join("router.jsonl")).unwrap();
    assert!(!whole(&place));
}

/// Adds a file to a sealed record; returns what is found, and what is said to be no part of it.
fn with(name: &str) -> (Vec<(FindingKind, String)>, Vec<String>) {
    let place = sealed();
    let path = place.run.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "added later").unwrap();
    let report = verify_folder(&place.run).unwrap();
    let findings = report.findings.into_iter();
    let found = findings.map(|one| (one.kind, one.place));
    (found.collect(), report.not_part)
}

#[test]
fn a_foreign_file_in_any_folder_of_a_sealed_record_is_named() {
    for name in [
        "approval.txt",
        "samples/approval.txt",
        "samples/client-9-failures.jsonl",
        "samples/.tmpAbCdEf.jsonl",
        "samples/router.jsonl.part",
        "evidence/approval.txt",
        "seal/approval.txt",
    ] {
        let named = (FindingKind::NotNamed, name.to_owned());
        assert_eq!(with(name), (vec![named], Vec::new()));
    }
    let folder = (FindingKind::NotNamed, "more/".to_owned());
    assert_eq!(with("more/file"), (vec![folder], Vec::new()));
}

#[test]
fn what_the_program_keeps_beside_a_record_is_listed_as_no_part_of_it() {
    for name in [
        "samples/client-1.status.json",
        "client-1.json",
        "control",
        ".tmpAbCdEf",
        "samples/.tmpAbCdEf",
        "samples/._router.jsonl",
        "seal/statement.json.4294967294.part",
        "seal/._000000000004.checkpoint",
        "evidence/.DS_Store",
        "client-1.4294967294.part",
        "Thumbs.db",
    ] {
        assert_eq!(with(name), (Vec::new(), vec![name.to_owned()]));
    }
    for name in ["logs", "backups", "scratch"] {
        let listed = vec![format!("{name}/")];
        assert_eq!(with(&format!("{name}/file")), (Vec::new(), listed));
    }
}

#[test]
fn a_foreign_file_beside_the_folders_keeps_nobody_from_making_the_notebooks() {
    let place = sealed();
    std::fs::write(place.run.path().join("approval.txt"), "").unwrap();
    assert!(verify_folder(&place.run).unwrap().is_whole());
    std::fs::write(place.run.samples_path().join("approval.txt"), "").unwrap();
    std::fs::write(place.run.path().join("evidence/approval.txt"), "").unwrap();
    assert!(verify_folder(&place.run).unwrap().is_whole());
    // Nobody reads samples under a hidden name, and it is named by nothing.
    std::fs::write(place.run.samples_path().join(".tmpAbCdEf.jsonl"), "").unwrap();
    let report = verify_folder(&place.run).unwrap();
    let mut places = report.findings.iter().map(|one| one.place.as_str());
    assert!(places.any(|place| place == "samples/.tmpAbCdEf.jsonl"));
    assert!(report.is_whole());
    std::fs::write(place.run.samples_path().join("more.jsonl"), "").unwrap();
    assert!(!verify_folder(&place.run).unwrap().is_whole());
}

#[test]
fn events_out_of_order_are_told_as_that_with_their_numbers() {
    let whole = String::from_utf8(Place::with_notes(5).journal()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let told = |order: &[usize]| {
        let place = Place::new();
        let text: Vec<&str> = order.iter().map(|line| lines[line - 1]).collect();
        place.write_journal((text.join("\n") + "\n").as_bytes());
        let one = verify_folder(&place.run).unwrap().findings.remove(0);
        (one.place, one.what)
    };
    let cases: [(&[usize], &str, &str); 8] = [
        (
            &[1, 2, 4, 3, 5, 6],
            "journal.jsonl, event 2",
            "events 2 and 3 have changed places",
        ),
        (
            &[1, 5, 3, 4, 2, 6],
            "journal.jsonl, event 1",
            "events 1 and 4 have changed places",
        ),
        (
            &[1, 2, 5, 3, 4, 6],
            "journal.jsonl, event 2",
            "what follows from event 1 stands where event 3 belongs, and what stands here is event 4",
        ),
        (
            &[2, 1, 3],
            "journal.jsonl, event 0",
            "events 0 and 1 have changed places",
        ),
        (
            &[1, 2, 3, 2, 4],
            "journal.jsonl, event 3",
            "what follows from event 2 stands where event 4 belongs",
        ),
        (
            &[1, 2, 3, 6],
            "journal.jsonl, event 3",
            "it is event 5, and events 3 to 4 are nowhere",
        ),
        (
            &[1, 2, 4, 5],
            "journal.jsonl, event 2",
            "it is event 3, and event 2 is nowhere",
        ),
        (
            &[1, 2, 3, 2],
            "journal.jsonl, event 3",
            "it is event 1, and what follows from event 2 is nowhere",
        ),
    ];
    for (order, place, words) in cases {
        let (at, what) = told(order);
        assert!(
            at == place && what.contains(words),
            "{order:?}: {at}: {what}"
        );
    }
}

#[test]
fn swapped_lines_whose_numbers_were_put_right_are_out_of_order_still() {
    let place = Place::with_notes(5);
    let whole = String::from_utf8(place.journal()).unwrap();
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    lines.swap(2, 3);
    lines[2] = lines[2].replace("\"seq\":3", "\"seq\":2");
    lines[3] = lines[3].replace("\"seq\":2", "\"seq\":3");
    place.write_journal((lines.join("\n") + "\n").as_bytes());
    let one = verify_folder(&place.run).unwrap().findings.remove(0);
    assert_eq!(one.place, "journal.jsonl, event 2");
    assert_eq!(
        one.what,
        "out of order: what follows from event 1 stands where event 3 belongs"
    );
}

#[test]
fn a_line_that_was_changed_is_not_said_to_be_out_of_order() {
    let place = Place::with_notes(4);
    let changed = String::from_utf8(place.journal()).unwrap();
    place.write_journal(changed.replace("note 1", "note X").as_bytes());
    let one = verify_folder(&place.run).unwrap().findings.remove(0);
    assert!(!one.what.contains("out of order"), "{}", one.what);
    assert!(
        one.what.contains("one of the two was changed"),
        "{}",
        one.what
    );
}

#[test]
fn a_samples_file_outside_of_its_folder_or_that_is_none_is_not_read() {
    for file in ["../outside.jsonl", "/etc/hostname", "a/b.jsonl", "."] {
        let place = Place::new();
        let mut writer = place.writer();
        writer.append("engine", started()).unwrap();
        let closed = EventBody::SamplesClosed {
            file: file.to_owned(),
            digest: Digest::of(b""),
            samples: 0,
        };
        writer.append("engine", closed).unwrap();
        std::fs::write(place.run.path().join("outside.jsonl"), b"").unwrap();
        let what = "the journal names a file outside of its folder".to_owned();
        assert_eq!(kinds(&place), [(FindingKind::Changed, what)], "{file}");
    }
    let place = sealed();
    let samples = place.run.samples_path().join("router.jsonl");
    std::fs::remove_file(&samples).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &samples).unwrap();
    let what = "it is a link, a folder or a device, and no file".to_owned();
    assert_eq!(kinds(&place), [(FindingKind::Changed, what)]);
}
