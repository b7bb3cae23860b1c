//! Folders that are not as a run leaves them: what lies there by chance, and what somebody put there on purpose.

use code_deploy_record::Checkpoint;

use super::forged::{checkpoints_of, held, left};
use super::told::{told, told_of};
use super::*;

#[test]
fn what_a_killed_process_or_a_system_left_is_told_and_is_no_finding() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let names = [
        "06_Application_Deployment.4294967294.part",
        "charts/health.4294967294.part",
        "seal/statement.4294967294.part",
        "._06_Application_Deployment.ipynb",
        ".~07.ipynb",
        "charts/._health.svg",
        ".DS_Store",
        "Thumbs.db",
        ".nfs0001",
    ];
    for name in names {
        std::fs::write(left.join(name), "left").unwrap();
    }
    let part = stage
        .record
        .seal()
        .path()
        .join("SHA256SUMS.4294967294.part");
    std::fs::write(&part, "left").unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert_eq!(code, 0, "{said}");
    for name in names.into_iter().chain(["SHA256SUMS.4294967294.part"]) {
        assert!(said.contains(name), "{name}: {said}");
    }
    // Who writes there again removes what was being written, and nothing else.
    publish::write(Some(&project), &stage.record, Some(&stage.key), &left).unwrap();
    assert!(!part.exists());
    for name in names {
        let is_part = name.ends_with(".part");
        assert_eq!(left.join(name).exists(), !is_part, "{name}");
    }
    assert_eq!(told_of(Some(&project), &VerifyArgs::default()).0, 0);
}

#[test]
fn a_process_that_was_killed_while_it_signed_leaves_what_is_not_here_and_no_damage() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    std::fs::remove_dir_all(&left).unwrap();
    let seal = stage.record.seal();
    // In the order in which they are written, the statement is the last.
    let mut files: Vec<&str> = SignedStatement::FILES.to_vec();
    files.retain(|name| *name != SignedStatement::STATEMENT);
    files.insert(0, SignedStatement::STATEMENT);
    for name in files {
        std::fs::remove_file(seal.path().join(name)).unwrap();
        let (code, said) = told_of(Some(&project), &VerifyArgs::default());
        assert_eq!(code, 13, "{name}: {said}");
        // A table wraps its words.
        let words: Vec<_> = said.split_whitespace().collect();
        let cure = "`code-deploy notebooks --run RUN` signs it again";
        assert!(words.join(" ").contains(cure), "{said}");
    }
    publish::write(Some(&project), &stage.record, Some(&stage.key), &left).unwrap();
    assert_eq!(told_of(Some(&project), &VerifyArgs::default()).0, 0);
}

#[test]
fn notebooks_that_nobody_signed_leave_no_empty_folder_of_what_was_signed() {
    let stage = Stage::new(1);
    let other = SealKey::from_seed(&[2; 32]).unwrap();
    let signed = publish::kept(&stage.record).unwrap().unwrap();
    let anew = SignedStatement::sign(b"{}".to_vec(), signed.sums().to_owned(), &other).unwrap();
    for (name, content) in anew.files(&other.public()) {
        stage.record.seal().write(name, &content).unwrap();
    }
    publish::write(None, &stage.record, None, &stage.pages()).unwrap();
    assert!(!stage.pages().join("seal").exists());
}

#[test]
fn a_name_that_somebody_gave_does_not_steer_the_terminal() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    std::fs::write(left.join("a\u{1b}[2J\nEverything verifies"), "").unwrap();
    std::fs::write(left.join(".b\u{1b}[2J\nEverything verifies"), "").unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert_eq!(code, 10, "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert!(
        !said
            .lines()
            .any(|line| line.starts_with("Everything verifies")),
        "{said}"
    );
    assert!(
        said.contains(".b\\u{1b}[2J\\nEverything verifies"),
        "{said}"
    );
}

#[test]
fn many_files_that_were_put_beside_notebooks_are_counted() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    for number in 0..60 {
        std::fs::write(left.join(format!("more-{number:02}.txt")), "").unwrap();
        std::fs::write(
            stage.record.path().join(format!("more-{number:02}.txt")),
            "",
        )
        .unwrap();
    }
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert_eq!(code, 10, "{said}");
    assert_eq!(said.matches("and 20 more").count(), 2, "{said}");
    assert!(
        said.contains("more-39.txt") && !said.contains("more-40.txt"),
        "{said}"
    );
}

#[test]
fn a_list_that_names_files_elsewhere_has_none_of_them_read() {
    let stage = Stage::new(1);
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    let (pages, outside) = (stage.pages(), stage.folder.path().join("outside"));
    std::fs::write(&outside, "private").unwrap();
    std::os::unix::fs::symlink("/dev/zero", pages.join("zero.svg")).unwrap();
    let digest = code_deploy_record::Digest::of(b"private");
    let names = [
        "../outside".to_owned(),
        outside.display().to_string(),
        "zero.svg".to_owned(),
    ];
    let sums: String = names
        .iter()
        .map(|name| format!("{digest}  {name}\n"))
        .collect();
    let subjects: Vec<_> = names
        .iter()
        .map(|name| serde_json::json!({ "name": name, "digest": { "sha256": digest } }))
        .collect();
    let statement = serde_json::json!({ "subject": subjects }).to_string();
    let signed = SignedStatement::sign(statement.into_bytes(), sums, &forger).unwrap();
    for (path, content) in publish::beside(&forger.public(), &signed) {
        std::fs::write(pages.join(path), content).unwrap();
    }
    let (code, said) = told(&[pages]);
    assert_eq!(code, 10, "{said}");
    assert_eq!(
        said.matches("it names a file outside of its folder")
            .count(),
        2,
        "{said}"
    );
    assert!(said.contains("is a link, which is not followed"), "{said}");
}

#[test]
fn a_checkpoint_of_whom_nobody_knows_is_not_said_to_be_signed() {
    let stage = Stage::new(1);
    let own = checkpoints_of(&stage).pop().unwrap();
    let (code, said) = held(&stage, &stage.record, &own);
    assert!(
        code == 0 && said.contains("and nothing was added since"),
        "{said}"
    );
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    let other = Checkpoint::sign(&own.origin, own.head, &forger);
    let (code, said) = held(&stage, &stage.record, &other);
    assert_eq!(code, 11, "{said}");
    assert!(said.contains("who signed that is not known"), "{said}");
    assert!(
        !said.contains("is an extension of") && !said.contains("the one that was signed"),
        "{said}"
    );
}

#[test]
fn a_record_in_a_folder_that_is_named_beside_another_is_foreign_there() {
    let (stage, forged) = (Stage::new(1), Stage::new(2));
    std::fs::rename(forged.record.path(), stage.pages().join("record")).unwrap();
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        notebooks: Some(stage.pages()),
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    assert_eq!(code, 10, "{said}");
    assert!(
        said.contains("nothing of this name is made of the run"),
        "{said}"
    );
}
