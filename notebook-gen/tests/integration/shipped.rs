//! The notebooks that the repository shows are what the program writes from the record beside them.

use std::path::Path;

use code_deploy_notebook_gen::{executed, take_source};
use code_deploy_record::RunFolder;
use serde_json::Value;

/// Returns a notebook without what says which build made it: they are not written anew with every change of a source
/// that changes nothing in them.
fn without_build(text: &str) -> Value {
    let mut notebook = serde_json::from_str(text).unwrap();
    take_source(&mut notebook);
    notebook
}

#[test]
fn the_notebooks_shown_are_those_of_the_record_beside_them() {
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
    let run = RunFolder::at(&shown.join("record")).unwrap();
    let pages = executed(&run, &[]).unwrap();
    assert_eq!(pages.len(), 18);
    for page in &pages {
        let path = shown.join(format!("{}.ipynb", page.name));
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(
            without_build(&kept) == without_build(&page.text),
            "{} is not what the record gives: write it anew by \
             `code-deploy notebooks --run notebooks/record --out notebooks`",
            path.display()
        );
    }
}
