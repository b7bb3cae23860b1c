//! Notebooks that another build of the same version made, and those that only say so.

use code_deploy_record::Digest;
use serde_json::Value;

use super::forged::{flat, left};
use super::told::told;
use super::*;

/// Has a notebook say that another build made it.
fn say_another_build(notebook: &mut Value) {
    notebook["metadata"]["code-deploy"]["made_by"]["source"] = "0".repeat(64).into();
}

/// Changes the words of a notebook, and has it say that another build made it.
fn change(notebook: &mut Value) {
    say_another_build(notebook);
    notebook["cells"][0]["source"] = "everything went well".into();
}

/// Makes one of the stage's notebooks as another build would, and signs them all with the stage's key.
fn made_by_another_build(stage: &Stage) {
    signed_with(stage, change);
}

fn signed_with(stage: &Stage, change: fn(&mut Value)) {
    let page = stage.pages().join(PAGE);
    let digest = || Digest::of(&std::fs::read(&page).unwrap()).to_string();
    let before = digest();
    stage.edit(PAGE, change);
    let after = digest();
    let kept = publish::kept(&stage.record).unwrap().unwrap();
    let statement = String::from_utf8(kept.statement().to_vec()).unwrap();
    let [statement, sums] = [statement.as_str(), kept.sums()].map(|text| {
        assert!(text.contains(&before));
        text.replace(&before, &after)
    });
    let anew = SignedStatement::sign(statement.into_bytes(), sums, &stage.key).unwrap();
    for (name, content) in anew.files(&stage.key.public()) {
        stage.record.seal().write(name, &content).unwrap();
        std::fs::write(stage.pages().join("seal").join(name), content).unwrap();
    }
}

const AS_SIGNED: &str = "those that the key of the record signed";

#[test]
fn what_another_build_made_is_not_said_to_be_changed_where_its_bytes_were_signed() {
    let stage = Stage::new(1);
    made_by_another_build(&stage);
    let (code, said) = told(&stage.both());
    assert!(code == 0 && said.contains(AS_SIGNED), "{said}");
    // The guide is signed by nobody, and another build may have another.
    let guide = stage.pages().join("VERIFY.md");
    std::fs::write(&guide, "Another guide.").unwrap();
    let (code, said) = told(&stage.both());
    assert!(
        code == 14 && flat(&said).contains("do not run commands"),
        "{said}"
    );
}

#[test]
fn a_guide_of_another_build_that_made_the_same_notebooks_is_no_change() {
    let stage = Stage::new(1);
    signed_with(&stage, say_another_build);
    assert_eq!(told(&stage.both()).0, 0);
    std::fs::write(stage.pages().join("VERIFY.md"), "Another guide.").unwrap();
    let (code, said) = told(&stage.both());
    assert!(
        code == 14 && flat(&said).contains("do not run commands"),
        "{said}"
    );
}

#[test]
fn to_change_a_signed_notebook_and_what_says_who_made_it_is_no_way_to_a_better_answer() {
    for by_another in [false, true] {
        let stage = Stage::new(1);
        if by_another {
            made_by_another_build(&stage);
        }
        stage.edit(PAGE, |notebook| {
            change(notebook);
            notebook["cells"][1]["source"] = "and nothing failed".into();
        });
        let judged = |words: &str| {
            let (code, said) = told(&stage.both());
            assert!(code == 10 && said.contains(words), "{words}: {said}");
        };
        judged(PAGE);
        std::fs::remove_dir_all(stage.pages().join("seal")).unwrap();
        judged(PAGE);
    }
    // What says who made it was signed, too.
    let stage = Stage::new(1);
    stage.edit(PAGE, say_another_build);
    assert_eq!(told(&stage.both()).0, 10);
}

#[test]
fn a_chart_beside_notebooks_of_another_build_has_to_be_the_one_that_was_signed() {
    let stage = Stage::new(1);
    made_by_another_build(&stage);
    std::fs::write(stage.pages().join("charts/latency.svg"), "<svg/>").unwrap();
    for has_seal in [true, false] {
        if !has_seal {
            std::fs::remove_dir_all(stage.pages().join("seal")).unwrap();
        }
        let (code, said) = told(&stage.both());
        assert!(code == 10 && said.contains("charts/latency.svg"), "{said}");
    }
}

#[test]
fn a_forged_signature_speaks_for_no_build() {
    let (stage, forger) = (Stage::new(1), SealKey::from_seed(&[9; 32]).unwrap());
    made_by_another_build(&stage);
    let kept = publish::kept(&stage.record).unwrap().unwrap();
    let (text, sums) = (kept.statement().to_vec(), kept.sums().to_owned());
    let anew = SignedStatement::sign(text, sums, &forger).unwrap();
    for (name, content) in anew.files(&forger.public()) {
        stage.record.seal().write(name, &content).unwrap();
        std::fs::write(stage.pages().join("seal").join(name), content).unwrap();
    }
    let (code, said) = told(&stage.both());
    assert!(code == 10 && !said.contains(AS_SIGNED), "{said}");
}

#[test]
fn unsigned_notebooks_of_another_build_are_held_against_what_this_one_makes() {
    let stage = Stage::unsigned();
    stage.edit(PAGE, say_another_build);
    let (code, said) = told(&stage.both());
    assert_eq!(code, 0, "the same but for the build: {said}");
    stage.edit(PAGE, change);
    let (code, said) = told(&stage.both());
    assert_eq!(code, 10, "{said}");
    let hint = "1 notebook says that another build of this version made it";
    assert!(said.contains(hint), "{said}");
    // Where a run has left them, it is no excuse either.
    let stage = Stage::unsigned();
    let (project, left) = left(&stage);
    let page = left.join(PAGE);
    let mut notebook = serde_json::from_slice(&std::fs::read(&page).unwrap()).unwrap();
    change(&mut notebook);
    std::fs::write(&page, notebook.to_string()).unwrap();
    let (code, said) = super::told::told_of(Some(&project), &VerifyArgs::default());
    assert!(code == 10 && said.contains(PAGE), "{said}");
}
