//! The files of a record are files of its own: nothing else is followed, waited for, or read without an end.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use code_deploy_record::disk::NoFile;
use code_deploy_record::{
    Digest, FindingKind, LARGEST_NOTE, LARGEST_STATEMENT, RunFolder,
    checkpoints as listed_checkpoints, verify_folder,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::seal::{checked, checkpoints, found, sealed_with};
use crate::{Place, started};

/// Puts something at a path; what stood there lies elsewhere.
type Plant = fn(&Path, &Path);

fn pipe(path: &Path, _: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

fn folder(path: &Path, _: &Path) {
    std::fs::create_dir(path).unwrap();
}

fn link(path: &Path, elsewhere: &Path) {
    symlink(elsewhere, path).unwrap();
}

fn link_without_end(path: &Path, _: &Path) {
    symlink("/dev/zero", path).unwrap();
}

const PLANTS: [Plant; 4] = [pipe, folder, link, link_without_end];

/// Returns a path as findings name it.
fn name_of(place: &Place, path: &Path) -> String {
    let within = path.strip_prefix(place.run.path()).unwrap();
    within.display().to_string()
}

/// A file of each kind that is read of a sealed record.
fn files_of(place: &Place) -> Vec<PathBuf> {
    vec![
        checkpoints(&place.run).pop().unwrap(),
        place.run.evidence().path_of(&Digest::of(b"log")),
        place.run.samples_path().join("router.jsonl"),
    ]
}

#[test]
fn what_stands_in_place_of_a_file_is_named_and_not_read() {
    for plant in PLANTS {
        for number in 0..3 {
            let place = sealed_with(1);
            let path = files_of(&place).remove(number);
            let elsewhere = place.folder.path().join("elsewhere");
            std::fs::rename(&path, &elsewhere).unwrap();
            plant(&path, &elsewhere);
            let named = (
                FindingKind::Changed,
                name_of(&place, &path),
                NoFile::WHAT.to_owned(),
            );
            assert_eq!(found(&place, &[]), [named]);
        }
    }
}

#[test]
fn a_second_signature_and_a_root_that_are_no_files_are_named_and_not_read() {
    for plant in PLANTS {
        let place = sealed_with(1);
        let last = checkpoints(&place.run).pop().unwrap();
        let second = PathBuf::from(format!("{}.sig", last.display()));
        let root = place.run.seal().path().join("outputs.note");
        for path in [&second, &root] {
            plant(path, &last);
        }
        let found = found(&place, &[]);
        assert_eq!(found.len(), 2, "{found:?}");
        for (kind, at, what) in found {
            let is_one = [&second, &root].map(|path| name_of(&place, path) == at);
            assert!(is_one.contains(&true), "{at}");
            assert_eq!((kind, what.as_str()), (FindingKind::Changed, NoFile::WHAT));
        }
    }
}

#[test]
fn a_folder_of_the_record_that_is_none_is_named_once_and_nothing_in_it_is_read() {
    for name in ["samples", "evidence", "seal"] {
        for plant in [link, pipe] {
            let place = sealed_with(1);
            let whole = checked(&place, &[]);
            assert_eq!(
                (whole.samples, whole.evidence, whole.seal.checkpoints),
                (1, 1, 3)
            );
            let path = place.run.path().join(name);
            let elsewhere = place.folder.path().join("elsewhere");
            std::fs::rename(&path, &elsewhere).unwrap();
            plant(&path, &elsewhere);
            let report = checked(&place, &[]);
            let [one] = &report.findings[..] else {
                panic!("{name}: {:?}", report.findings);
            };
            assert_eq!(
                (one.kind, one.place.clone()),
                (FindingKind::Changed, format!("{name}/"))
            );
            assert!(one.what.contains("and no folder"), "{}", one.what);
            let read = match name {
                "samples" => report.samples,
                "evidence" => report.evidence,
                _ => report.seal.checkpoints,
            };
            assert_eq!(read, 0, "{name}");
            // What was signed does not count for what notebooks are made of.
            assert_eq!(report.is_whole(), name == "seal");
        }
    }
}

#[test]
fn a_folder_a_link_or_a_pipe_with_the_name_of_a_file_that_is_left_is_a_finding() {
    for name in [
        "samples/client-1.status.json",
        "samples/.tmpAbCdEf",
        "samples/._router.jsonl",
        "evidence/.DS_Store",
        "seal/statement.json.4294967294.part",
        "control",
        "client-1.json",
        ".tmpAbCdEf",
    ] {
        for plant in PLANTS {
            let place = sealed_with(1);
            plant(&place.run.path().join(name), &place.run.journal_path());
            let report = verify_folder(&place.run).unwrap();
            let [one] = &report.findings[..] else {
                panic!("{name}: {:?}", report.findings);
            };
            assert_eq!(
                (one.place.trim_end_matches('/'), one.what.as_str()),
                (name, NoFile::WHAT)
            );
            assert_eq!(report.not_part, Vec::<String>::new(), "{name}");
            assert!(report.is_whole(), "{name}");
        }
    }
    // What the program keeps in folders has to be in folders.
    let place = sealed_with(1);
    link(&place.run.path().join("backups"), place.folder.path());
    let report = verify_folder(&place.run).unwrap();
    assert_eq!(report.findings[0].place, "backups");
    assert!(report.findings[0].what.contains("and no folder"));
}

#[test]
fn nothing_but_files_and_folders_is_written_while_a_run_goes_on_either() {
    let place = Place::new();
    place.writer().append("engine", started()).unwrap();
    for name in ["samples/router.jsonl", "evidence/log", "more"] {
        let path = place.run.path().join(name);
        pipe(&path, &path);
        let found = found(&place, &[]);
        let [(_, at, what)] = &found[..] else {
            panic!("{name}: {found:?}");
        };
        assert_eq!((at.as_str(), what.as_str()), (name, NoFile::WHAT));
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_is_larger_than_any_that_was_signed_is_not_read_and_the_limit_is_said() {
    let place = sealed_with(1);
    let first = checkpoints(&place.run).remove(0);
    let whole = std::fs::read(&first).unwrap();
    let larger = |path: &Path, most: u64| {
        std::fs::File::create(path)
            .unwrap()
            .set_len(most + 1)
            .unwrap();
    };
    let named = |path: &Path, words: &str| {
        let found = found(&place, &[]);
        let [(kind, at, what)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((*kind, at), (FindingKind::Changed, &name_of(&place, path)));
        assert!(what.contains(words), "{what}");
    };
    larger(&first, LARGEST_NOTE);
    named(&first, "larger than 64 KiB");
    let listed = listed_checkpoints(&place.run).unwrap();
    let why = listed[0].checkpoint.as_ref().unwrap_err();
    assert!(why.contains("larger than 64 KiB"), "{why}");
    std::fs::write(&first, whole).unwrap();
    let statement = place.run.seal().path().join("statement.json");
    larger(&statement, LARGEST_STATEMENT);
    named(&statement, "larger than 4 MiB");
}

#[test]
fn a_checkpoint_that_is_a_link_is_none_for_whoever_goes_on() {
    let place = sealed_with(1);
    let last = checkpoints(&place.run).pop().unwrap();
    assert!(place.run.last_checkpoint().unwrap().is_some());
    let elsewhere = place.folder.path().join("elsewhere");
    std::fs::rename(&last, &elsewhere).unwrap();
    link(&last, &elsewhere);
    assert_eq!(place.run.last_checkpoint().unwrap(), None);
}

#[test]
fn a_journal_that_is_no_file_is_not_waited_for() {
    for plant in PLANTS {
        let place = sealed_with(1);
        let journal = place.run.journal_path();
        let elsewhere = place.folder.path().join("elsewhere");
        std::fs::rename(&journal, &elsewhere).unwrap();
        plant(&journal, &elsewhere);
        let run = RunFolder::at(place.run.path()).unwrap();
        let error = verify_folder(&run).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), NoFile::WHAT);
    }
}
