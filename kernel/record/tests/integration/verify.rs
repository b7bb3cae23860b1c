use code_deploy_record::{
    Digest, EventBody, FindingKind, Sample, SampleWriter, Source, verify_folder,
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
    assert_eq!((report.events, report.broken), (2, Some(3)));
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
