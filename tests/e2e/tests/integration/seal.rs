//! What was signed over a run, in the hands of programs of other people.

use std::path::Path;
use std::process::{Command, Output};

use code_deploy_record::{PublicKey, PublicKeys, RunFolder, SealKey, SignedStatement};

use crate::kit::Place;
use crate::verify::copy;

/// Carries out what `VERIFY.md` says, word by word, in the folder of the notebooks; then once more
/// after a notebook and the statement were changed.
#[track_caller]
pub fn shows_with_tools_of_other_people(notebooks: &Path) {
    let guide = std::fs::read_to_string(notebooks.join("VERIFY.md")).unwrap();
    let recipes: Vec<&str> = guide
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [listed, signed, named, whose, ..] = recipes[..] else {
        panic!("{guide}");
    };
    for recipe in [listed, signed, named, whose] {
        let done = shell(notebooks, recipe);
        assert!(done.status.success(), "{recipe}\n{done:?}");
    }
    assert_eq!(shell(notebooks, named).stdout, b"");
    let page = notebooks.join("03_Build_Process.ipynb");
    changed(&page, || {
        assert!(!shell(notebooks, listed).status.success())
    });
    let statement = notebooks.join("seal/statement.json");
    changed(&statement, || {
        let done = shell(notebooks, signed);
        assert!(!done.status.success(), "{done:?}");
    });
    changed(&notebooks.join("seal/SHA256SUMS"), || {
        assert!(!shell(notebooks, signed).status.success());
    });
    // A list of somebody else's, which their key may have signed.
    let list = notebooks.join("seal/SHA256SUMS");
    let whole = std::fs::read_to_string(&list).unwrap();
    let digest = whole.get(..64).unwrap();
    std::fs::write(&list, whole.replace(digest, &"0".repeat(64))).unwrap();
    let said = shell(notebooks, named).stdout;
    assert!(String::from_utf8_lossy(&said).contains("has no such file with this digest"));
    // Also in a last line that does not end.
    let bent = whole.replace(digest, &"0".repeat(64));
    let (first, rest) = bent.split_once('\n').unwrap();
    std::fs::write(&list, format!("{rest}{first}")).unwrap();
    let said = shell(notebooks, named).stdout;
    assert!(String::from_utf8_lossy(&said).contains("has no such file with this digest"));
    std::fs::write(&list, &whole).unwrap();
    a_list_that_another_key_signed_is_refused(notebooks, signed);
    a_file_that_is_not_listed_is_named(notebooks, listed);
    let p256 = notebooks.join("seal/p256.pem");
    let whole = std::fs::read(&p256).unwrap();
    std::fs::write(&p256, another().public().p256().to_pem()).unwrap();
    let said = shell(notebooks, named).stdout;
    let words = "seal/p256.pem: the signed statement names another key";
    assert!(String::from_utf8_lossy(&said).contains(words));
    std::fs::write(&p256, whole).unwrap();
}

/// Somebody signs the list that is there, and says that their key is the one.
fn a_list_that_another_key_signed_is_refused(notebooks: &Path, recipe: &str) {
    let seal = notebooks.join("seal");
    let [statement, sums] = ["statement.json", "SHA256SUMS"].map(|name| seal.join(name));
    let statement = std::fs::read(statement).unwrap();
    let sums = std::fs::read_to_string(sums).unwrap();
    let signed = SignedStatement::sign(statement, sums, &another()).unwrap();
    let own = std::fs::read_to_string(seal.join("allowed_signers")).unwrap();
    let name = own.split(' ').next().unwrap();
    let mut before = Vec::new();
    for (file, content) in signed.files(&another().public()) {
        if ["SHA256SUMS.sig", "allowed_signers"].contains(&file) {
            let path = seal.join(file);
            before.push((path.clone(), std::fs::read(&path).unwrap()));
            let theirs = another().public().name();
            let content = String::from_utf8(content).unwrap().replace(&theirs, name);
            std::fs::write(path, content).unwrap();
        }
    }
    assert_eq!(before.len(), 2);
    let done = shell(notebooks, recipe);
    assert!(!done.status.success(), "{done:?}");
    for (path, content) in before {
        std::fs::write(path, content).unwrap();
    }
}

fn a_file_that_is_not_listed_is_named(notebooks: &Path, recipe: &str) {
    let names = [
        "10_More.ipynb",
        "charts/x.svg",
        "sub.ipynb\n03_Build_Process.ipynb",
    ];
    for name in names {
        let path = notebooks.join(name);
        // A link that leads nowhere is there, too.
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let done = shell(notebooks, recipe);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let named = format!("{}: here, and not listed", name.lines().next().unwrap());
        assert!(said.contains(&named), "{said}");
        std::fs::remove_file(path).unwrap();
    }
}

/// The key of somebody who had no part in the run.
fn another() -> SealKey {
    SealKey::from_seed(&[9; 32]).unwrap()
}

/// Each command has to succeed: a recipe is what a person looks at line by line.
fn shell(folder: &Path, recipe: &str) -> Output {
    let scratch = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", recipe]).current_dir(folder);
    shell.env("TMPDIR", scratch.path());
    shell.output().unwrap()
}

fn changed(path: &Path, look: impl FnOnce()) {
    let whole = std::fs::read(path).unwrap();
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    std::fs::write(path, bent).unwrap();
    look();
    std::fs::write(path, whole).unwrap();
}

/// Writes the record of a run into an archive twice; the second verifies where it is unpacked.
#[track_caller]
pub fn exports_the_same_bytes_twice(place: &Place, run: &str) {
    let archives = ["one.tar", "two.tar"].map(|name| {
        let said = place.run_in(
            &place.demo(),
            &["record", "export", "--run", run, "--out", name],
        );
        assert_eq!(said.code, Some(0), "{said:?}");
        std::fs::read(place.demo().join(name)).unwrap()
    });
    assert!(archives[0] == archives[1], "the archives differ");
    let elsewhere = tempfile::tempdir().unwrap();
    let done = Command::new("tar")
        .arg("xf")
        .arg(place.demo().join("two.tar"))
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    // The run before is not in the archive, so this program would give other notebooks there; the key
    // of the record says that these are the ones.
    let said = place.run_in(elsewhere.path(), &["verify", run]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    assert!(
        said.out.contains("are, byte for byte, those that the key"),
        "{}",
        said.out
    );
    assert!(said.out.contains("is self-asserted"), "{}", said.out);
}

/// Takes the last checkpoint of a run away: nothing is signed or written until it is back.
#[track_caller]
pub fn signs_nothing_over_a_damaged_record(place: &Place, record: &RunFolder, run: &str) {
    let last = record.seal().checkpoints().unwrap().pop().unwrap();
    let whole = std::fs::read(&last).unwrap();
    let name = last.file_name().unwrap().to_str().unwrap();
    std::fs::remove_file(&last).unwrap();
    let demo = place.demo();
    let notebooks = ["notebooks", "--run", run, "--out", "damaged"];
    let export = ["record", "export", "--run", run, "--out", "damaged.tar"];
    let words = [name, "Nothing was signed or written", "--unsigned"];
    for command in [&notebooks[..], &export[..]] {
        place.run_in(&demo, command).refused(1, "CD0318", &words);
    }
    assert!(!demo.join("damaged").exists() && !demo.join("damaged.tar").exists());
    let lost = ["notebooks", "--run", run, "--unsigned"];
    place
        .run_in(&demo, &lost)
        .refused(2, "CD0001", &["would be lost", "`--out`"]);
    let unsigned = [&notebooks[..], &["--unsigned"]].concat();
    let said = place.run_in(&demo, &unsigned);
    assert_eq!(said.code, Some(0), "{said:?}");
    std::fs::write(&last, &whole).unwrap();
    let said = place.run_in(&demo, &notebooks);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(std::fs::read(&last).unwrap(), whole);
}

/// Puts the P-256 key of somebody else beside notebooks without their record, with all that follows from it.
#[track_caller]
pub fn names_a_p256_key_that_was_put_beside_notebooks(place: &Place, notebooks: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let pages = elsewhere.path().join("pages");
    copy(notebooks, &pages);
    let plain = ["verify", "pages"];
    let keyed = ["verify", "pages", "--key", "pages/seal/ed25519.pem"];
    for command in [&plain[..], &keyed[..]] {
        let said = place.run_in(elsewhere.path(), command);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let seal = pages.join("seal");
    let read = |name: &str| std::fs::read(seal.join(name)).unwrap();
    let pem = String::from_utf8(read("ed25519.pem")).unwrap();
    let (statement, sums) = (read("statement.json"), read("SHA256SUMS"));
    let sums = String::from_utf8(sums).unwrap();
    let theirs = SignedStatement::sign(statement, sums, &another()).unwrap();
    let files = theirs.files(&another().public()).into_iter();
    let signature = files.filter(|(name, _)| *name == SignedStatement::P256_SIGNATURE);
    for (name, content) in signature {
        std::fs::write(seal.join(name), content).unwrap();
    }
    let mixed = SignedStatement::read(|name| std::fs::read(seal.join(name)).map(Some));
    let own = PublicKey::parse(&pem).unwrap();
    let keys = PublicKeys::of(&own, &another().public().p256()).unwrap();
    for (name, content) in mixed.unwrap().unwrap().files(&keys) {
        std::fs::write(seal.join(name), content).unwrap();
    }
    for command in [&plain[..], &keyed[..]] {
        place.run_in(elsewhere.path(), command).refused(
            11,
            "CD0315",
            &["seal/p256.pem", "1 signature does not hold"],
        );
    }
}
