//! A list of files that somebody else signed, beside notebooks whose record is not here.

use code_deploy_record::Digest;

use super::roles::with_keys;
use super::*;

/// The files that say which files are there.
const LIST: [&str; 3] = ["SHA256SUMS", "SHA256SUMS.sig", "allowed_signers"];

fn forger() -> SealKey {
    SealKey::from_seed(&[9; 32]).unwrap()
}

fn signed(stage: &Stage) -> SignedStatement {
    publish::read_signed(&stage.pages().join("seal"))
        .unwrap()
        .unwrap()
}

/// Has the forger sign the stage's statement and a list of files, and puts these files of what was signed there.
fn put(stage: &Stage, sums: String, names: &[&str]) {
    let statement = signed(stage).statement().to_vec();
    let theirs = SignedStatement::sign(statement, sums, &forger()).unwrap();
    for (name, content) in theirs.files(&forger().public()) {
        if names.contains(&name) {
            std::fs::write(stage.pages().join("seal").join(name), content).unwrap();
        }
    }
}

/// Changes a notebook, and returns the list with its digest as it is then.
fn forged(stage: &Stage) -> String {
    stage.edit(PAGE, |notebook| {
        notebook["cells"][0]["source"] = "everything went well".into();
    });
    let digest = Digest::of(&std::fs::read(stage.pages().join(PAGE)).unwrap());
    let mut sums = String::new();
    for line in signed(stage).sums().lines() {
        sums.push_str(&match line.ends_with(PAGE) {
            true => format!("{digest}  {PAGE}\n"),
            false => format!("{line}\n"),
        });
    }
    sums
}

/// Returns what is found of the stage's notebooks without their record, by its kind, place and words.
fn found(stage: &Stage, keys: &[PublicKey]) -> Vec<(Kind, String, String)> {
    let trust = Trust {
        keys: keys.to_vec(),
        ..Trust::default()
    };
    let notebooks = Notebooks::whole(&stage.pages());
    let rows = alone::alone(&notebooks, None, Why::NotHere, &trust, &Blind).unwrap();
    rows.into_iter()
        .map(|row| (row.kind, row.place, row.what))
        .collect()
}

fn accused(stage: &Stage, keys: &[PublicKey]) -> Vec<(Kind, String)> {
    let mut accused: Vec<_> = found(stage, keys)
        .into_iter()
        .map(|(kind, place, _)| (kind, place))
        .collect();
    accused.sort();
    accused
}

/// The files of the list, each as one that is of another key.
fn of_list() -> Vec<(Kind, String)> {
    let places = LIST.map(|name| (Kind::Signature, format!("seal/{name}")));
    places.to_vec()
}

#[test]
fn a_forged_notebook_is_named_and_with_it_the_list_that_its_forger_signed() {
    let stage = Stage::new(1);
    let sums = forged(&stage);
    put(&stage, sums, &LIST);
    let (own, p256) = (stage.public(), stage.key.public().p256());
    let mut expected = of_list();
    expected.insert(0, (Kind::Different, PAGE.to_owned()));
    for keys in [
        vec![],
        vec![own.clone()],
        vec![own, p256.clone()],
        vec![p256],
    ] {
        assert_eq!(accused(&stage, &keys), expected);
        let (code, said) = with_keys(&stage, &[stage.pages()], &keys, &[]);
        assert_eq!(code, 10, "{said}");
        assert!(said.contains("not the bytes that were signed"), "{said}");
    }
    let (code, said) = with_keys(&stage, &[stage.pages().join(PAGE)], &[stage.public()], &[]);
    assert!(code == 10 && said.contains(PAGE), "{said}");
}

#[test]
fn a_statement_of_which_one_signature_was_replaced_is_known_by_the_other_key_that_is_given() {
    let stage = Stage::new(1);
    let (own, p256) = (stage.public(), stage.key.public().p256());
    let sums = forged(&stage);
    put(&stage, sums, &LIST);
    put(&stage, String::new(), &["statement.ed25519.sig"]);
    let accused = accused(&stage, &[own, p256]);
    let is_named = |kind, name: &str| accused.contains(&(kind, name.to_owned()));
    assert!(is_named(Kind::Different, PAGE), "{accused:?}");
    for name in ["SHA256SUMS", "SHA256SUMS.sig", "statement.ed25519.sig"] {
        let place = format!("seal/{name}");
        assert!(is_named(Kind::Signature, &place), "{accused:?}");
    }
}

#[test]
fn of_a_list_and_its_signature_the_one_that_was_changed_is_named() {
    let stage = Stage::new(1);
    let own = [stage.public()];
    let sums = signed(&stage).sums().to_owned();
    put(&stage, sums, &LIST[1..]);
    for keys in [&own[..], &[]] {
        assert_eq!(accused(&stage, keys), of_list()[1..]);
        assert_eq!(with_keys(&stage, &[stage.pages()], keys, &[]).0, 11);
    }
    let (_, _, what) = found(&stage, &own).swap_remove(0);
    for name in [forger().public().name(), stage.key.public().name()] {
        assert!(what.contains(&name), "{what}");
    }

    let stage = Stage::new(1);
    let list = stage.pages().join("seal/SHA256SUMS");
    let sums = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, sums.replacen('0', "1", 1)).unwrap();
    for keys in [&own[..], &[]] {
        assert_eq!(accused(&stage, keys), of_list()[..1]);
        assert_eq!(with_keys(&stage, &[stage.pages()], keys, &[]).0, 11);
    }
    std::fs::remove_file(&list).unwrap();
    for keys in [&own[..], &[]] {
        let gone = [(Kind::NotHere, "seal/SHA256SUMS".to_owned())];
        assert_eq!(accused(&stage, keys), gone);
        assert_eq!(with_keys(&stage, &[stage.pages()], keys, &[]).0, 13);
    }
}

#[test]
fn notebooks_are_not_called_changed_by_what_somebody_signed_whose_key_is_not_given() {
    let (stage, other) = (Stage::new(1), Stage::new(9));
    let seal = stage.pages().join("seal");
    for name in SignedStatement::FILES {
        std::fs::copy(other.pages().join("seal").join(name), seal.join(name)).unwrap();
    }
    // Without a key nothing tells which of them are the forger's.
    assert_eq!(with_keys(&stage, &[stage.pages()], &[], &[]).0, 10);
    let own = [stage.public()];
    let expected = [
        (Kind::Signature, "seal/SHA256SUMS.sig".to_owned()),
        (Kind::Unread, "the notebooks".to_owned()),
    ];
    assert_eq!(accused(&stage, &own), expected);
    for path in [stage.pages(), stage.pages().join(PAGE)] {
        let (code, said) = with_keys(&stage, &[path], &own, &[]);
        assert_eq!(code, 11, "{said}");
        let name = other.key.public().name();
        let words = format!("signed by {name}, which is none of the given keys");
        assert!(said.contains(&words), "{said}");
        assert!(!said.contains("changed:"), "{said}");
        // That the rest holds was not shown.
        assert!(!said.contains("apart from that"), "{said}");
    }
}

#[test]
fn a_list_that_a_given_key_signed_counts_for_more_than_a_statement_of_another_key() {
    let stage = Stage::new(1);
    let seal = stage.pages().join("seal");
    let mut statement: serde_json::Value =
        serde_json::from_slice(signed(&stage).statement()).unwrap();
    statement["predicate"]["key"] = serde_json::to_value(forger().public()).unwrap();
    let digest = "0".repeat(64);
    statement["subject"][0]["digest"]["sha256"] = digest.into();
    let (text, sums) = (statement.to_string(), signed(&stage).sums().to_owned());
    let theirs = SignedStatement::sign(text.into_bytes(), sums, &forger()).unwrap();
    for (name, content) in theirs.files(&forger().public()) {
        if !LIST.contains(&name) {
            std::fs::write(seal.join(name), content).unwrap();
        }
    }
    let own = [stage.public()];
    let expected = [(Kind::Signature, "seal/statement.ed25519.sig".to_owned())];
    assert_eq!(accused(&stage, &own), expected);
    let (code, said) = with_keys(&stage, &[stage.pages()], &own, &[]);
    let unused = "no signature that was checked is of this key";
    assert!(code == 11 && !said.contains(unused), "{said}");
}
