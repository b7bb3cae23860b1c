//! The cause is what is named, and links are followed nowhere.

use code_deploy_record::disk::NoFile;

use super::forged::{checkpoints_of, flat, held};
use super::told::{side_by_side, told, told_of};
use super::*;

#[test]
fn where_the_record_lacks_what_it_had_signed_no_notebook_is_accused() {
    let stage = Stage::new(1);
    let (pages, record) = side_by_side(&stage);
    let note = record.join("seal/outputs.note");
    let whole = std::fs::read_to_string(&note).unwrap();
    std::fs::remove_file(&note).unwrap();
    let (code, said) = told(std::slice::from_ref(&pages));
    assert!(code == 13 && said.contains("outputs.note"), "{said}");
    assert!(!said.contains(".ipynb"), "{said}");
    std::fs::write(&note, whole.replacen("code-deploy/", "code-deployed/", 1)).unwrap();
    let (code, said) = told(std::slice::from_ref(&pages));
    assert!(code == 10 && said.contains("outputs.note"), "{said}");
    assert!(!said.contains(".ipynb"), "{said}");
    std::fs::remove_dir_all(record.join("seal")).unwrap();
    let (code, said) = told(&[pages]);
    assert!(code == 13 && !said.contains(".ipynb"), "{said}");
}

/// Adds a line to the signed root in a notebook, in the form of a signature.
fn add_line(page: &Path) {
    let text = std::fs::read_to_string(page).unwrap();
    let mut notebook: serde_json::Value = serde_json::from_str(&text).unwrap();
    let note = notebook.pointer_mut("/metadata/code-deploy/outputs/note");
    let note = note.unwrap();
    let more = format!(
        "{}\u{2014} Anna-approved-this-run AAAAAAAA\n",
        note.as_str().unwrap()
    );
    let (before, after) = (note.to_string(), serde_json::json!(more).to_string());
    assert_eq!(text.matches(&before).count(), 1);
    std::fs::write(page, text.replace(&before, &after)).unwrap();
}

#[test]
fn the_signed_root_in_a_notebook_is_excused_as_the_key_signed_it_alone() {
    let stage = Stage::new(1);
    let (pages, record) = side_by_side(&stage);
    let page = pages.join(PAGE);
    let whole = std::fs::read_to_string(&page).unwrap();
    let kept = record.join("seal/outputs.note");
    for is_kept in [true, false] {
        if !is_kept {
            std::fs::remove_file(&kept).unwrap();
        }
        add_line(&page);
        let (code, said) = told(std::slice::from_ref(&pages));
        assert!(code == 10 && said.contains(PAGE), "{is_kept}: {said}");
        std::fs::write(&page, &whole).unwrap();
    }
    // The same in other bytes is told as that.
    std::fs::write(&page, format!("{whole} ")).unwrap();
    let (code, said) = told(&[pages]);
    assert_eq!(code, 13, "{said}");
    assert!(flat(&said).contains("another program saved it"), "{said}");
}

#[test]
fn a_journal_that_is_gone_or_no_file_is_told_as_that() {
    let stage = Stage::new(1);
    let (pages, record) = side_by_side(&stage);
    let journal = record.join(RunFolder::JOURNAL);
    let elsewhere = stage.folder.path().join("elsewhere");
    std::fs::rename(&journal, &elsewhere).unwrap();
    let judged = |expected: u8, words: &str| {
        let (code, said) = told(std::slice::from_ref(&pages));
        assert!(
            code == expected && flat(&said).contains(words),
            "{words}: {said}"
        );
        assert!(!flat(&said).contains("keep elsewhere"), "{said}");
    };
    judged(13, "record/journal.jsonl");
    std::os::unix::fs::symlink(&elsewhere, &journal).unwrap();
    judged(10, NoFile::WHAT);
    let (code, said) = told(std::slice::from_ref(&record));
    assert!(code == 10 && flat(&said).contains(NoFile::WHAT), "{said}");
    std::fs::remove_file(&journal).unwrap();
    std::fs::create_dir(&journal).unwrap();
    judged(10, NoFile::WHAT);
}

#[test]
fn linked_folders_beside_notebooks_are_not_followed() {
    for name in ["record", "charts", "seal"] {
        let stage = Stage::new(1);
        let (pages, _) = side_by_side(&stage);
        let moved = stage.folder.path().join("moved");
        std::fs::rename(pages.join(name), &moved).unwrap();
        std::os::unix::fs::symlink(&moved, pages.join(name)).unwrap();
        let (code, said) = told(std::slice::from_ref(&pages));
        assert!(
            code == 13 && flat(&said).contains("is a link"),
            "{name}: {said}"
        );
    }
    // What is named may be a link itself.
    let stage = Stage::new(1);
    let (pages, record) = side_by_side(&stage);
    for folder in [pages, record] {
        let link = stage.folder.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let (code, said) = told(std::slice::from_ref(&link));
        assert_eq!(code, 0, "{said}");
        std::fs::remove_file(link).unwrap();
    }
}

#[test]
fn a_checkpoint_with_another_size_is_said_not_to_be_what_was_signed() {
    let stage = Stage::new(1);
    let signed = checkpoints_of(&stage).remove(1);
    let size = signed.head.size;
    let text = signed.to_string();
    let edited = text.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1);
    let edited = edited.parse().unwrap();
    let (_, said) = held(&stage, &stage.record, &edited);
    let words = "does not hold over the text of that checkpoint";
    assert!(flat(&said).contains(words), "{said}");
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        ..VerifyArgs::default()
    };
    assert_eq!(told_of(None, &arguments).0, 0);
}

#[test]
fn what_a_person_added_is_said_in_the_closing_sentence() {
    let stage = Stage::new(1);
    let whole = "Everything that was checked is as it was written.";
    let (code, said) = told(&stage.both());
    assert!(code == 0 && said.contains(whole), "{said}");
    stage.edit(PAGE, |notebook| {
        let mine = serde_json::json!({
            "cell_type": "markdown", "id": "mine", "metadata": {}, "source": "Looks good."
        });
        notebook["cells"].as_array_mut().unwrap().push(mine);
    });
    let (code, said) = told(&stage.both());
    let words = "is as it was written, but for what was added (listed above).";
    assert!(code == 0 && said.contains(words), "{said}");
}

#[test]
fn notebooks_that_say_of_no_run_or_are_gone_are_missed_beside_their_record() {
    let stage = Stage::new(1);
    let (pages, _) = side_by_side(&stage);
    let entries = std::fs::read_dir(&pages).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.ends_with(".ipynb")).collect();
    assert_eq!(names.len(), 18);
    for name in &names {
        stage.edit(name, |notebook| {
            notebook["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("code-deploy");
        });
    }
    let above = stage.folder.path().to_owned();
    for folder in [&pages, &above] {
        let (code, said) = told(std::slice::from_ref(folder));
        assert_eq!(code, 10, "{said}");
    }
    for name in &names {
        std::fs::remove_file(pages.join(name)).unwrap();
    }
    for folder in [&pages, &above] {
        let (code, said) = told(std::slice::from_ref(folder));
        assert_eq!(code, 13, "{said}");
    }
    let (code, said) = told(&[pages.join("VERIFY.md")]);
    assert!(code == 2 && said.contains("is no notebook"), "{said}");
}
