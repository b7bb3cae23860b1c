//! What has the name of a file and is none, or has no end, is refused or told at once.

use std::os::unix::fs::symlink;

use code_deploy_record::disk::NoFile;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::forged::{flat, left};
use super::told::{told, told_of};
use super::*;

/// Puts a pipe in the place of a file; nobody writes to it.
fn pipe(path: &Path) {
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

#[test]
fn a_pipe_in_place_of_a_file_of_the_record_is_told_at_once() {
    let stage = Stage::new(1);
    let seal = stage.record.seal();
    let last = seal.checkpoints().unwrap().pop().unwrap();
    let mut second = last.clone().into_os_string();
    second.push(".sig");
    let evidence = std::fs::read_dir(stage.record.path().join("evidence")).unwrap();
    let evidence = evidence.map(|entry| entry.unwrap().path()).min().unwrap();
    let signed = ["statement.json", "SHA256SUMS", "p256.pem", "outputs.note"];
    let signed = signed.map(|name| seal.path().join(name));
    for path in [last, PathBuf::from(second), evidence]
        .into_iter()
        .chain(signed)
    {
        let whole = std::fs::read(&path).ok();
        pipe(&path);
        let name = path.file_name().unwrap().to_string_lossy();
        let (code, said) = told(&stage.both());
        assert_eq!(code, 10, "{name}: {said}");
        let said = flat(&said);
        assert!(
            said.contains(&*name) && said.contains(NoFile::WHAT),
            "{name}: {said}"
        );
        std::fs::remove_file(&path).unwrap();
        if let Some(whole) = whole {
            std::fs::write(&path, whole).unwrap();
        }
    }
    assert_eq!(told(&stage.both()).0, 0);
}

#[test]
fn a_run_whose_journal_is_no_file_is_not_passed_over() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    pipe(&stage.record.journal_path());
    let of = |path: &Path| VerifyArgs {
        paths: vec![path.to_owned()],
        ..VerifyArgs::default()
    };
    let run = left.file_name().unwrap();
    let all = [
        VerifyArgs::default(),
        of(Path::new(run)),
        of(&project.folder),
        of(&left),
        of(stage.record.path()),
    ];
    for arguments in &all {
        let (code, said) = told_of(Some(&project), arguments);
        assert!(code == 10 && flat(&said).contains(NoFile::WHAT), "{said}");
        assert_eq!(said.matches(RunFolder::JOURNAL).count(), 1, "{said}");
    }
    // It stands there, so that nobody looks for it elsewhere.
    let (_, said) = told_of(Some(&project), &of(&left));
    let said = flat(&said);
    assert!(!said.contains("Their record is not here"), "{said}");
    assert!(
        said.contains("Their record is not what was written"),
        "{said}"
    );
}

#[test]
fn a_pipe_beside_notebooks_without_their_record_is_told_at_once() {
    let stage = Stage::new(1);
    let names = [
        "seal/statement.json",
        "seal/SHA256SUMS",
        "seal/p256.pem",
        PAGE,
    ];
    for name in names {
        let path = stage.pages().join(name);
        let whole = std::fs::read(&path).unwrap();
        pipe(&path);
        let (code, said) = told(&[stage.pages()]);
        assert!(code == 10 && said.contains(name), "{name}: {said}");
        assert!(flat(&said).contains("and no file"), "{name}: {said}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(told(&[stage.pages()]).0, 0);
}

#[test]
fn what_was_signed_behind_a_link_beside_notebooks_is_not_taken_for_theirs() {
    let stage = Stage::new(1);
    let (seal, moved) = (
        stage.pages().join("seal"),
        stage.folder.path().join("moved"),
    );
    std::fs::rename(&seal, &moved).unwrap();
    symlink(&moved, &seal).unwrap();
    let (code, said) = told(&[stage.pages()]);
    assert!(code == 13 && flat(&said).contains("is a link"), "{said}");
    assert!(!said.contains("byte for byte"), "{said}");
}

#[test]
fn what_was_signed_lies_in_a_folder_or_that_is_told() {
    let stage = Stage::new(1);
    let record = stage.record.path().to_owned();
    for (folder, paths) in [
        (&record, vec![record.clone()]),
        (&stage.pages(), vec![stage.pages()]),
    ] {
        let (seal, moved) = (folder.join("seal"), stage.folder.path().join("moved"));
        std::fs::rename(&seal, &moved).unwrap();
        pipe(&seal);
        let (code, said) = told(&paths);
        assert!(
            code == 10 && flat(&said).contains("and no folder"),
            "{said}"
        );
        std::fs::remove_file(&seal).unwrap();
        std::fs::rename(&moved, &seal).unwrap();
        assert_eq!(told(&paths).0, 0);
    }
}

#[test]
fn a_key_and_a_checkpoint_that_are_given_are_files_of_their_size() {
    let stage = Stage::new(1);
    let at = |name: &str| stage.folder.path().join(name);
    pipe(&at("pipe"));
    symlink("/dev/zero", at("endless")).unwrap();
    std::fs::write(at("large"), vec![b' '; 64 * 1024 + 1]).unwrap();
    let paths = vec![stage.record.path().to_owned()];
    let words = [
        ("pipe", "it is a folder, a pipe or a device, and no file"),
        ("endless", "it is a folder, a pipe or a device, and no file"),
        ("large", "it is larger than 64 KiB"),
    ];
    for (name, words) in words {
        let key = VerifyArgs {
            paths: paths.clone(),
            key: vec![at(name)],
            ..VerifyArgs::default()
        };
        let checkpoint = VerifyArgs {
            paths: paths.clone(),
            checkpoint: vec![at(name)],
            ..VerifyArgs::default()
        };
        for arguments in [key, checkpoint] {
            let (code, said) = told_of(None, &arguments);
            assert!(code == 2 && said.contains(words), "{name}: {said}");
        }
    }
    // A name may be a link to the file that is meant.
    std::fs::write(at("own.pem"), stage.public().to_pem()).unwrap();
    symlink(at("own.pem"), at("link.pem")).unwrap();
    let arguments = VerifyArgs {
        paths,
        key: vec![at("link.pem")],
        ..VerifyArgs::default()
    };
    assert_eq!(told_of(None, &arguments).0, 0);
    pipe(&at("pipe.ipynb"));
    let (code, said) = told(&[at("pipe.ipynb")]);
    assert!(code == 2 && said.contains("is no notebook"), "{said}");
}
