//! The notebooks that the repository shows are what the program writes from the record beside them.

use std::path::Path;

use code_deploy_notebook_gen::executed;
use code_deploy_record::RunFolder;

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
            kept == page.text,
            "{} is not what the record gives: write it anew by \
             `code-deploy notebooks --run notebooks/record --out notebooks`",
            path.display()
        );
    }
}
