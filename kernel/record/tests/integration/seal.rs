//! What a sealed record shows, and what it gives away.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use code_deploy_record::{
    APPROVED, Checkpoint, Consent, ConsentWaiver, Digest, EventBody, FindingKind, Outcome, Planned,
    PublicKey, Redactor, RunFolder, RunOutcome, Sample, SampleWriter, SealKey, SignedConsent,
    Source, Trust, Verdict, VerifyReport, WITNESSED, verifier, verify_folder_with,
};

use crate::{Place, note, phase, started};

pub fn key(seed: u8) -> Arc<SealKey> {
    Arc::new(SealKey::from_seed(&[seed; 32]).unwrap())
}

pub fn finished(number: u8) -> EventBody {
    EventBody::PhaseFinished {
        phase: phase(number),
        outcome: Outcome::Done,
        reason: String::new(),
    }
}

/// A run with two phases, evidence, samples and an end, sealed with that key.
pub fn sealed_with(seed: u8) -> Place {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(seed)).unwrap().unwrap();
    for number in 1..=2 {
        writer
            .append(
                "engine",
                EventBody::PhaseStarted {
                    phase: phase(number),
                },
            )
            .unwrap();
        writer.append("engine", finished(number)).unwrap();
    }
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
    let closed = EventBody::SamplesClosed {
        file,
        digest,
        samples: 1,
    };
    writer.append("engine", closed).unwrap();
    let (outcome, summary) = (RunOutcome::Succeeded, "all is well".to_owned());
    writer
        .append("engine", EventBody::RunFinished { outcome, summary })
        .unwrap();
    let events = writer.next_seq();
    writer
        .append("engine", EventBody::Sealed { events })
        .unwrap();
    place
}

pub fn checked(place: &Place, keys: &[PublicKey]) -> VerifyReport {
    checked_with(place, keys, &[])
}

/// Checks a record with keys that may seal, and keys of witnesses.
pub fn checked_with(place: &Place, keys: &[PublicKey], witnesses: &[PublicKey]) -> VerifyReport {
    let trust = Trust {
        keys: keys.to_vec(),
        witnesses: witnesses.to_vec(),
    };
    verify_folder_with(&place.run, &trust).unwrap()
}

pub fn found(place: &Place, keys: &[PublicKey]) -> Vec<(FindingKind, String, String)> {
    let report = checked(place, keys);
    report
        .findings
        .into_iter()
        .map(|one| (one.kind, one.place, one.what))
        .collect()
}

pub fn checkpoints(run: &RunFolder) -> Vec<PathBuf> {
    run.seal().checkpoints().unwrap()
}

#[test]
fn a_checkpoint_is_signed_at_the_end_of_each_phase_and_at_the_end() {
    let place = sealed_with(1);
    let report = checked(&place, &[key(1).public().ed25519()]);
    assert_eq!(report.findings, []);
    assert_eq!(report.seal.checkpoints, 3);
    assert_eq!(report.seal.covered, report.events);
    // 10 lines, and one leaf more for each of the two files they name.
    assert_eq!((report.events, report.seal.tree.unwrap().size), (10, 12));
    assert!(report.seal.is_self_asserted());
    let last = checkpoints(&place.run).pop().unwrap();
    let mode = std::fs::metadata(&last).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(last).unwrap();
    assert!(
        text.starts_with("code-deploy/shop/dev/run-1\n12\n"),
        "{text}"
    );
}

#[test]
fn a_pause_and_a_run_that_needs_a_person_are_sealed_and_go_on() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    writer
        .append(
            "engine",
            EventBody::Paused {
                after: None,
                by: None,
                reason: None,
            },
        )
        .unwrap();
    let (outcome, summary) = (RunOutcome::NeedsPerson, "stuck".to_owned());
    writer
        .append("engine", EventBody::RunFinished { outcome, summary })
        .unwrap();
    drop(writer);
    assert_eq!(checkpoints(&place.run).len(), 2);
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    assert_eq!(
        writer.seal_with(key(1)).unwrap(),
        None,
        "the record names this key already"
    );
    writer.append("engine", note("days later")).unwrap();
    writer.append("engine", finished(1)).unwrap();
    let report = checked(&place, &[key(1).public().ed25519()]);
    assert_eq!(report.findings, []);
    assert_eq!((report.seal.checkpoints, report.seal.covered), (3, 6));
}

#[test]
fn a_record_that_no_key_seals_is_read_as_before() {
    let place = Place::with_notes(2);
    assert_eq!(found(&place, &[]), []);
    assert_eq!(checkpoints(&place.run), Vec::<PathBuf>::new());
    let (kind, at, _) = found(&place, &[key(1).public().ed25519()]).remove(0);
    assert_eq!(
        (kind, at.as_str()),
        (FindingKind::Signature, "journal.jsonl")
    );
}

#[test]
fn a_last_event_that_was_changed_is_named() {
    let place = sealed_with(1);
    let journal = String::from_utf8(place.journal()).unwrap();
    let changed = journal.replace(
        "\"kind\":\"sealed\",\"events\":9",
        "\"kind\":\"sealed\",\"events\":8",
    );
    assert_ne!(changed, journal);
    place.write_journal(changed.as_bytes());
    let [(FindingKind::Changed, at, what)] = &found(&place, &[])[..] else {
        panic!("{:?}", found(&place, &[]));
    };
    assert_eq!(at, "journal.jsonl, events 6 to 9");
    assert!(what.contains("seal/000000000012.checkpoint"), "{what}");
}

/// Writes the journal anew with another text in a line, each line following from the one before.
pub fn rewritten(journal: &[u8], from: &str, to: &str) -> String {
    let (mut head, mut lines) = (Digest::ZERO, String::new());
    for line in String::from_utf8(journal.to_vec()).unwrap().lines() {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        let prev = event["prev"].as_str().unwrap().to_owned();
        let line = line.replace(&prev, &head.to_string()).replace(from, to);
        event["prev"] = head.to_string().into();
        head = Digest::of(line.as_bytes());
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

#[test]
fn a_journal_that_was_written_anew_is_not_what_was_signed() {
    let place = sealed_with(1);
    place.write_journal(
        rewritten(&place.journal(), "\"user\":\"anna\"", "\"user\":\"otto\"").as_bytes(),
    );
    let found = found(&place, &[]);
    assert!(
        found.iter().all(|(kind, ..)| *kind == FindingKind::Changed),
        "{found:?}"
    );
    assert_eq!(found[0].1, "journal.jsonl, events 0 to 3");
}

#[test]
fn a_clock_that_ran_backwards_is_named_with_its_event() {
    let place = sealed_with(1);
    let bent = rewritten(
        &place.journal(),
        "2026-01-02T03:04:12",
        "2026-01-01T03:04:12",
    );
    place.write_journal(bent.as_bytes());
    let (_, at, what) = found(&place, &[]).remove(0);
    assert_eq!(at, "journal.jsonl, event 6");
    assert!(what.contains("time is before"), "{what}");
}

#[test]
fn a_journal_that_was_cut_is_named() {
    let place = sealed_with(1);
    let journal = place.journal();
    let lines: Vec<&[u8]> = journal.split_inclusive(|byte| *byte == b'\n').collect();
    place.write_journal(&lines[..8].concat());
    let found = found(&place, &[]);
    let cut = found
        .iter()
        .find(|(_, _, what)| what.contains("cut at its end"));
    assert_eq!(cut.unwrap().1, "journal.jsonl");
}

/// The journal cut after its second phase, then ended and sealed by somebody with another key.
pub fn cut_and_sealed_again() -> Place {
    let place = sealed_with(1);
    let journal = place.journal();
    let lines: Vec<&[u8]> = journal.split_inclusive(|byte| *byte == b'\n').collect();
    place.write_journal(&lines[..6].concat());
    for path in checkpoints(&place.run).split_off(2) {
        std::fs::remove_file(path).unwrap();
    }
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    writer.seal_with(key(2)).unwrap().unwrap();
    let (outcome, summary) = (RunOutcome::Succeeded, "nothing was wrong".to_owned());
    writer
        .append("engine", EventBody::RunFinished { outcome, summary })
        .unwrap();
    let events = writer.next_seq();
    writer
        .append("engine", EventBody::Sealed { events })
        .unwrap();
    place
}

#[test]
fn a_journal_cut_and_sealed_again_with_another_key_is_named_with_its_event() {
    let place = cut_and_sealed_again();
    let (first, second) = (key(1).public().ed25519(), key(2).public().ed25519());
    for keys in [vec![], vec![first.clone()]] {
        let signatures: Vec<_> = found(&place, &keys)
            .into_iter()
            .filter(|(kind, ..)| *kind == FindingKind::Signature)
            .collect();
        assert_eq!(signatures.len(), 1, "{signatures:?}");
        assert_eq!(signatures[0].1, "journal.jsonl, event 6");
        assert!(signatures[0].2.contains(&second.name()), "{signatures:?}");
    }
    // Two keys that both are right: a run that somebody else went on with.
    let signatures = found(&place, &[first, second]);
    assert!(
        !signatures
            .iter()
            .any(|(kind, ..)| *kind == FindingKind::Signature)
    );
}

#[test]
fn checkpoints_signed_anew_without_a_word_in_the_journal_are_named() {
    let place = sealed_with(1);
    let last = checkpoints(&place.run).pop().unwrap();
    let own: Checkpoint = std::fs::read_to_string(&last).unwrap().parse().unwrap();
    let forged = Checkpoint::sign(&own.origin, own.head, &key(2));
    std::fs::write(&last, forged.to_string()).unwrap();
    let (kind, at, what) = found(&place, &[]).remove(0);
    assert_eq!(
        (kind, at.as_str()),
        (FindingKind::Signature, "seal/000000000012.checkpoint")
    );
    assert!(what.contains("event 1 of the journal names"), "{what}");
}

#[test]
fn a_seal_that_is_not_here_is_told_as_that() {
    let place = sealed_with(1);
    std::fs::remove_dir_all(place.run.seal().path()).unwrap();
    let (kind, at, _) = found(&place, &[]).remove(0);
    assert_eq!(
        (kind, at.as_str()),
        (FindingKind::NotHere, "seal/000000000012.checkpoint")
    );
    // Those over phases, too: the journal says where they were signed.
    let missing: Vec<_> = found(&place, &[]).into_iter().map(|one| one.1).collect();
    let sizes = ["12", "04", "06"].map(|size| format!("seal/0000000000{size}.checkpoint"));
    assert_eq!(missing, sizes);
}

#[test]
fn a_second_persons_signature_ends_self_assertion_once_their_key_is_known() {
    let place = sealed_with(1);
    let last = checkpoints(&place.run).pop().unwrap();
    let signed = std::fs::read(&last).unwrap();
    let second = PathBuf::from(format!("{}.sig", last.display()));
    std::fs::write(&second, key(3).sign_ssh(WITNESSED, &signed).unwrap()).unwrap();
    let (own, other) = (key(1).public().ed25519(), key(3).public().ed25519());
    let report = checked(&place, std::slice::from_ref(&own));
    assert_eq!(report.findings, []);
    assert!(report.seal.is_self_asserted() && report.seal.witnesses.len() == 1);
    let report = checked_with(&place, &[own], &[other]);
    assert!(!report.seal.is_self_asserted() && report.findings.is_empty());
    for (seed, namespace) in [(3, "another"), (1, WITNESSED)] {
        std::fs::write(&second, key(seed).sign_ssh(namespace, &signed).unwrap()).unwrap();
        let (kind, at, _) = found(&place, &[]).remove(0);
        assert_eq!(kind, FindingKind::Signature);
        assert_eq!(at, "seal/000000000012.checkpoint.sig");
    }
}

#[test]
fn keys_are_read_in_the_forms_in_which_people_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, ssh) = (folder.path().join("key.pem"), folder.path().join("id"));
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "anna", "-f"])
        .arg(&ssh)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let from_openssl = SealKey::parse(&std::fs::read_to_string(&pem).unwrap()).unwrap();
    let again = SealKey::parse(&from_openssl.to_pem().unwrap()).unwrap();
    assert_eq!(again.public(), from_openssl.public());
    let from_ssh = SealKey::parse(&std::fs::read_to_string(&ssh).unwrap()).unwrap();
    let line = std::fs::read_to_string(ssh.with_extension("pub")).unwrap();
    let public = from_ssh.public().ed25519();
    assert_eq!(PublicKey::parse(&line).unwrap(), public);
    assert_eq!(PublicKey::parse(&public.to_pem()).unwrap(), public);
    assert_eq!(
        PublicKey::parse(&verifier(&public).unwrap()).unwrap(),
        public
    );
    let p256 = from_ssh.public().p256();
    assert_eq!(PublicKey::parse(&p256.to_pem()).unwrap(), p256);
}

#[test]
fn a_key_that_cannot_be_used_is_refused_and_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let ssh = folder.path().join("id");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&ssh)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = std::fs::read_to_string(&ssh).unwrap();
    let said = SealKey::parse(&text).unwrap_err().to_string();
    assert!(said.contains("it has a passphrase"), "{said}");
    let said = format!("{:?}", SealKey::parse("not a key: hunter22").unwrap_err());
    assert!(!said.contains("hunter22"), "{said}");
    let secret = key(7);
    let pem = secret.to_pem().unwrap();
    let body = pem.lines().nth(1).unwrap();
    assert!(!format!("{secret:?}").contains(body));
}

#[test]
fn every_flipped_byte_of_a_sealed_record_is_named() {
    let place = sealed_with(1);
    let mut files = checkpoints(&place.run);
    files.push(place.run.journal_path());
    files.push(place.run.samples_path().join("router.jsonl"));
    files.push(place.run.evidence().path_of(&Digest::of(b"log")));
    let mut flips = 0;
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        let name = path
            .strip_prefix(place.run.path())
            .unwrap()
            .to_str()
            .unwrap();
        for (position, bit) in
            (0..whole.len()).flat_map(|at| (0..8_usize).map(move |bit| (at, bit)))
        {
            if position % 3 != bit % 3 {
                continue;
            }
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << bit;
            std::fs::write(&path, &damaged).unwrap();
            let report = checked(&place, &[]);
            let named = report
                .findings
                .iter()
                .any(|one| one.place.starts_with(name));
            assert!(
                named,
                "{name}, byte {position}, bit {bit}: {:?}",
                report.findings
            );
            flips += 1;
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(flips > 5000, "{flips}");
    assert_eq!(found(&place, &[]), []);
}

#[test]
fn a_fingerprint_is_the_one_that_ssh_keygen_shows() {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ666sNwM6/3pfXcmdpw1M+OEGom23zMO2m+lqM8qG9k c";
    let fingerprint = PublicKey::parse(line).unwrap().fingerprint();
    let shown = "SHA256:ffbio56vYKX/YngeyM7XbJQ7IO5QPqePV7Xr9aWF97o";
    assert_eq!(fingerprint.as_deref(), Some(shown));
    assert_eq!(key(1).public().p256().fingerprint(), None);
}

/// A run whose approval somebody signed, with what was changed about it on purpose.
fn approved(seed: u8, two_persons: bool, bend: impl FnOnce(&mut Consent)) -> Place {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    let plan = Digest::of(b"plan");
    let planned = Planned {
        digest: plan,
        evidence: place.run.evidence().keep(b"{}").unwrap(),
        steps: vec![],
    };
    writer
        .append("engine", EventBody::Planned(planned))
        .unwrap();
    let gate = "go/no-go".to_owned();
    let asked = EventBody::ApprovalAsked {
        gate: gate.clone(),
        plan,
        summary: "1.1.0 to prod?".to_owned(),
        two_persons,
        signers: Default::default(),
    };
    writer.append("engine", asked).unwrap();
    let mut consent = Consent {
        run: "run-1".parse().unwrap(),
        gate: gate.clone(),
        plan,
        go: true,
        by: "ben".to_owned(),
        reason: "looked at it".to_owned(),
        signed: "2026-01-02T03:00:00Z".parse().unwrap(),
        expires: "2026-01-03T03:00:00Z".parse().unwrap(),
        waivers: vec![ConsentWaiver {
            item: "1.1.1".parse().unwrap(),
            by: "ben".to_owned(),
            reason: "not here".to_owned(),
            expires: "2026-12-31".parse().unwrap(),
        }],
    };
    bend(&mut consent);
    let statement = serde_json::to_string(&consent).unwrap();
    let signature = key(seed).sign_ssh(APPROVED, statement.as_bytes()).unwrap();
    let signed = EventBody::ConsentSigned(SignedConsent {
        statement,
        signature,
    });
    writer.append("person:ben", signed).unwrap();
    let (by, reason) = ("ben".to_owned(), "looked at it".to_owned());
    writer
        .append(
            "person:ben",
            EventBody::ApprovalGiven {
                gate,
                plan,
                by,
                go: true,
                reason,
            },
        )
        .unwrap();
    place
}

/// Returns that Ben waives an item.
pub fn waiver(item: &str) -> EventBody {
    EventBody::ItemSettled {
        item: item.parse().unwrap(),
        verdict: Verdict::Waived {
            by: "ben".to_owned(),
            expires: "2026-12-31".parse().unwrap(),
        },
        reason: "not here".to_owned(),
        evidence: vec![],
    }
}

fn waived(place: &Place, item: &str) {
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    writer.append("engine", waiver(item)).unwrap();
}

#[test]
fn an_approval_signed_by_a_second_person_holds_with_its_waivers() {
    let place = approved(4, true, |_| {});
    waived(&place, "1.1.1");
    let report = checked(&place, &[]);
    assert_eq!(report.findings, []);
    assert_eq!(report.approved[0].key, Some(key(4).public().ed25519()));
    waived(&place, "1.1.2");
    let (kind, at, what) = found(&place, &[]).remove(0);
    assert_eq!(
        (kind, at.as_str()),
        (FindingKind::Approval, "journal.jsonl, event 7")
    );
    assert!(what.contains("1.1.2"), "{what}");
}

#[test]
fn where_two_persons_are_wanted_both_keys_must_not_be_one() {
    let (kind, at, what) = found(&approved(1, true, |_| {}), &[]).remove(0);
    assert_eq!(
        (kind, at.as_str()),
        (FindingKind::Approval, "journal.jsonl, event 5")
    );
    assert!(what.contains("both keys are one"), "{what}");
    assert_eq!(found(&approved(1, false, |_| {}), &[]), []);
}

/// What is signed otherwise, and a word of what is found of it.
type Bend = (fn(&mut Consent), &'static str);

#[test]
fn a_signature_over_another_plan_person_or_time_is_none_over_this_approval() {
    let bends: [Bend; 4] = [
        (|one| one.plan = Digest::of(b"another"), "over plan"),
        (|one| one.by = "otto".to_owned(), "are others"),
        (|one| one.go = false, "are others"),
        (
            |one| one.expires = "2026-01-02T03:00:01Z".parse().unwrap(),
            "it counts from",
        ),
    ];
    for (bend, word) in bends {
        let place = approved(4, true, bend);
        let (kind, at, what) = found(&place, &[]).remove(0);
        assert_eq!(
            (kind, at.as_str()),
            (FindingKind::Approval, "journal.jsonl, event 4"),
            "{what}"
        );
        assert!(what.contains(word), "{what}");
        assert_eq!(checked(&place, &[]).approved[0].key, None);
    }
}
