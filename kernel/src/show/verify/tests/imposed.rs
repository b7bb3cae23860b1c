//! Records and notebooks that stand where others should.

use super::forged::{flat, left, run_of};
use super::left::notebooks_in;
use super::told::{side_by_side, told, told_of};
use super::*;

/// A run that never was.
const ANOTHER: &str = "20261202T000000000Z-prod-k8s-abcd";

#[test]
fn a_record_says_of_which_run_it_is() {
    let stage = Stage::new(1);
    let (code, said) = told(&[stage.record.path().to_owned()]);
    assert_eq!(code, 0, "{said}");
    let words = format!(
        "run {} of shop, dev on local, from 1.0.0 to 1.1.0",
        run_of(&stage)
    );
    assert!(said.contains(&words), "{said}");
    // Notebooks whose record is not here have it of what was signed.
    let (code, said) = told(&[stage.pages()]);
    let words = format!("what was signed over them names {words}");
    assert!(code == 0 && said.contains(&words), "{said}");
}

#[test]
fn the_record_of_another_run_in_the_place_of_one_is_named() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let (run, own) = (run_of(&stage), stage.record.path().to_owned());
    let place = own.with_file_name(ANOTHER);
    std::fs::rename(&own, &place).unwrap();
    std::fs::rename(&left, left.with_file_name(ANOTHER)).unwrap();
    let expected =
        format!("this is the record of run {run}, in the place of that of run {ANOTHER}");
    for paths in [vec![], vec![place.clone()]] {
        let arguments = VerifyArgs {
            paths,
            ..VerifyArgs::default()
        };
        let (code, said) = told_of(Some(&project), &arguments);
        assert_eq!(code, 10, "{said}");
        let said = flat(&said);
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("journal.jsonl, event 0"), "{said}");
    }
    // As it is exported, in a folder that is called as another run.
    let exported = stage.folder.path().join(ANOTHER).join("record");
    std::fs::create_dir(exported.parent().unwrap()).unwrap();
    std::fs::rename(&place, &exported).unwrap();
    let (code, said) = told(std::slice::from_ref(&exported));
    assert!(code == 10 && flat(&said).contains(&expected), "{said}");
    std::fs::rename(
        exported.parent().unwrap(),
        stage.folder.path().join("archived"),
    )
    .unwrap();
    let (code, said) = told(&[stage.folder.path().join("archived/record")]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_link_that_is_called_as_another_run_is_no_record_of_it_and_other_links_are() {
    let stage = Stage::new(1);
    let (project, _) = left(&stage);
    let own = stage.record.path();
    let linked = |name: &str| {
        let link = own.with_file_name(name);
        std::os::unix::fs::symlink(own, &link).unwrap();
        let arguments = VerifyArgs {
            paths: vec![link.clone()],
            ..VerifyArgs::default()
        };
        let told = told_of(Some(&project), &arguments);
        std::fs::remove_file(link).unwrap();
        told
    };
    let (code, said) = linked(ANOTHER);
    let words = format!("in the place of that of run {ANOTHER}");
    assert!(code == 10 && flat(&said).contains(&words), "{said}");
    let (code, said) = linked("latest");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn the_notebooks_of_another_run_in_the_folder_of_one_are_named_without_its_record() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let run = run_of(&stage);
    let place = left.with_file_name(ANOTHER);
    std::fs::rename(&left, &place).unwrap();
    let of = |paths: Vec<PathBuf>, notebooks| VerifyArgs {
        paths,
        notebooks,
        ..VerifyArgs::default()
    };
    let words = format!("it says that it is of {run}, in the folder of run {ANOTHER}");
    for arguments in [
        of(vec![place.clone()], None),
        of(vec![place.join(PAGE)], None),
        of(vec![ANOTHER.into()], None),
        of(vec![stage.record.path().to_owned()], Some(place)),
    ] {
        let (code, said) = told_of(Some(&project), &arguments);
        assert!(code == 10 && flat(&said).contains(&words), "{said}");
    }
}

#[test]
fn a_record_that_was_cut_is_named_and_not_the_notebooks_that_were_made_of_more() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let journal = stage.record.journal_path();
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: String = text.split_inclusive('\n').take(300).collect();
    std::fs::write(&journal, lines).unwrap();
    for later in stage.record.seal().checkpoints().unwrap().iter().skip(2) {
        std::fs::remove_file(later).unwrap();
    }
    let cut = |paths: &[PathBuf]| {
        let (code, said) = told(paths);
        let said = flat(&said);
        assert_eq!(code, 10, "{said}");
        assert!(said.contains("cut at its end, or an early copy"), "{said}");
        assert!(said.contains("1 place does not verify"), "{said}");
        for accused in ["text was changed", "outputs were changed"] {
            assert!(!said.contains(accused), "{accused}: {said}");
        }
    };
    let all = [project.folder.clone()];
    cut(&all);
    // Nor where the notebooks have nothing of what was signed over them.
    let (seal, aside) = (left.join("seal"), stage.folder.path().join("aside"));
    std::fs::rename(&seal, &aside).unwrap();
    cut(&all);
    std::fs::rename(&aside, &seal).unwrap();
    // Nor where the record has nothing of it.
    for file in SignedStatement::FILES {
        std::fs::remove_file(stage.record.seal().path().join(file)).unwrap();
    }
    cut(&all);
}

/// Has a notebook say that another version made it, which is what a forger would write into it.
fn made_by_another_version(page: &Path) {
    let text = std::fs::read_to_string(page).unwrap();
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    std::fs::write(page, text.replace(&version, "\"version\": \"0.0.9\"")).unwrap();
}

#[test]
fn some_of_the_notebooks_that_were_signed_are_not_excused_by_who_they_say_made_them() {
    let stage = Stage::new(1);
    let pages = stage.pages();
    std::fs::remove_dir_all(pages.join("seal")).unwrap();
    let page = pages.join("01_Deployment_Plan.ipynb");
    made_by_another_version(&page);
    let chart = pages.join("charts/latency.svg");
    let drawn = std::fs::read_to_string(&chart).unwrap();
    std::fs::write(&chart, drawn.replace("</svg>", "<text>fine</text></svg>")).unwrap();
    let (code, said) = told(&stage.both());
    assert_eq!(code, 10, "{said}");
    for place in ["01_Deployment_Plan.ipynb", "charts/latency.svg"] {
        assert!(said.contains(place), "{said}");
    }
    let words = "not the bytes that were signed";
    assert!(flat(&said).contains(words), "{said}");
    // Nor is one that is named alone, beside which they lie.
    let (code, said) = told(&[stage.record.path().to_owned(), page]);
    assert!(code == 10 && flat(&said).contains(words), "{said}");
}

#[test]
fn in_the_folder_of_the_run_all_are_held_against_what_was_signed_and_elsewhere_all_may_be_made_again()
 {
    let stage = Stage::new(1);
    let again = stage.pages();
    std::fs::remove_dir_all(again.join("seal")).unwrap();
    for page in notebooks_in(&again) {
        made_by_another_version(&page);
    }
    let (code, said) = told(&stage.both());
    assert!(code == 14 && said.contains("CD0312"), "{said}");
    let (project, _) = left(&stage);
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    let words = "not the bytes that were signed";
    assert!(code == 10 && flat(&said).contains(words), "{said}");
}

#[test]
fn a_file_that_is_not_here_does_not_make_the_rest_be_as_it_was_written() {
    let stage = Stage::new(1);
    let again = stage.pages();
    std::fs::remove_dir_all(again.join("seal")).unwrap();
    for page in notebooks_in(&again) {
        made_by_another_version(&page);
    }
    let all = "what is here is as it was written";
    std::fs::remove_file(again.join("charts/latency.svg")).unwrap();
    let (code, said) = told(&stage.both());
    assert!(code == 13 && !said.contains(all), "{said}");
    let words = "not all of what is here could be shown to be as it was written";
    assert!(said.contains(words), "{said}");
    let whole = Stage::new(1);
    std::fs::remove_file(whole.pages().join("charts/latency.svg")).unwrap();
    let (code, said) = told(&whole.both());
    assert!(code == 13 && said.contains(all), "{said}");
}

#[test]
fn a_project_that_is_named_by_another_path_is_checked_once() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let words = format!("run {} of shop", run_of(&stage));
    for path in [
        project.folder.clone(),
        project.folder.join("deployments/.."),
    ] {
        let (code, said) = told(&[path]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said.matches(&words).count(), 1, "{said}");
        assert!(said.contains("compared with"), "{said}");
    }
    assert!(left.is_dir());
}

#[test]
fn a_journal_that_was_put_beside_notebooks_makes_their_folder_no_record() {
    for stage in [Stage::new(1), Stage::unsigned()] {
        let (pages, record) = side_by_side(&stage);
        let planted = pages.join(RunFolder::JOURNAL);
        std::fs::copy(record.join(RunFolder::JOURNAL), &planted).unwrap();
        let outer = stage.folder.path().join("outer");
        std::fs::create_dir(&outer).unwrap();
        let judged = |path: &Path| {
            let (code, said) = told(&[path.to_owned()]);
            let said = flat(&said);
            assert!(
                code == 10 && said.contains("1 place does not verify"),
                "{said}"
            );
            let words = "it is not the journal of the record beside these notebooks";
            assert!(said.contains(words), "{said}");
        };
        judged(&pages);
        let within = outer.join("run");
        std::fs::rename(&pages, &within).unwrap();
        judged(&outer);
        // A record is one also where notebooks lie in its folder.
        let planted = within.join("record/record");
        std::fs::create_dir(&planted).unwrap();
        std::fs::copy(
            within.join(RunFolder::JOURNAL),
            planted.join(RunFolder::JOURNAL),
        )
        .unwrap();
        std::fs::copy(within.join(PAGE), within.join("record").join(PAGE)).unwrap();
        let (code, said) = told(&[within.join("record")]);
        assert!(code == 10 && said.contains("record/"), "{said}");
        let unnamed = "the journal does not name it";
        assert!(flat(&said).contains(unnamed), "{said}");
    }
}

#[test]
fn what_was_signed_behind_a_link_is_not_said_to_be_compared() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let (seal, moved) = (left.join("seal"), stage.folder.path().join("moved"));
    std::fs::rename(&seal, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &seal).unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert_eq!(code, 13, "{said}");
    for words in ["is a link, which is not followed", "1 file is not here"] {
        assert!(flat(&said).contains(words), "{words}: {said}");
    }
    assert!(!said.contains("that say how they are signed"), "{said}");
}
