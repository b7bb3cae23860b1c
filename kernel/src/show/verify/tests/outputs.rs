//! Outputs of a notebook that is alone: each has to be one that was made, and nothing else stands there.

use serde_json::{Value, json};

use super::forged::flat;
use super::told::told;
use super::*;

/// Where a notebook keeps the proofs of its outputs.
const PROOFS: &str = "/metadata/code-deploy/outputs/proofs";

/// Says that all is well in each output of a cell.
fn forge(cell: &mut Value) {
    for output in cell["outputs"].as_array_mut().unwrap() {
        output["data"]["text/plain"] = "all is well".into();
    }
}

fn cells(notebook: &mut Value) -> &mut Vec<Value> {
    notebook["cells"].as_array_mut().unwrap()
}

/// Puts a notebook into a folder of its own; returns where it is and its bytes.
fn alone(stage: &Stage) -> (PathBuf, Vec<u8>) {
    let folder = stage.folder.path().join("alone");
    std::fs::create_dir(&folder).unwrap();
    let page = folder.join(PAGE);
    std::fs::copy(stage.pages().join(PAGE), &page).unwrap();
    let whole = std::fs::read(&page).unwrap();
    (page, whole)
}

#[test]
fn an_output_that_no_proof_is_of_is_named_without_the_record() {
    let stage = Stage::new(1);
    let (page, whole) = alone(&stage);
    assert_eq!(told(std::slice::from_ref(&page)).0, 13);
    let no_proof = "its outputs have no proof: nothing shows that they were made";
    let changes: [Change; 5] = [
        (
            |notebook| {
                let at = with_outputs(notebook);
                let cell = &mut notebook["cells"][at];
                forge(cell);
                let id = cell["id"].as_str().unwrap().to_owned();
                let proofs = notebook.pointer_mut(PROOFS).unwrap();
                proofs.as_object_mut().unwrap().remove(&id).unwrap();
            },
            no_proof,
        ),
        (
            |notebook| {
                let at = with_outputs(notebook);
                let mut again = notebook["cells"][at].clone();
                forge(&mut again);
                cells(notebook).insert(at + 1, again);
            },
            "has the id of one before it: nothing shows that it was made",
        ),
        (
            |notebook| {
                let at = with_outputs(notebook);
                let mut new = notebook["cells"][at].clone();
                new["id"] = "new".into();
                cells(notebook).push(new);
            },
            no_proof,
        ),
        (
            |notebook| *notebook.pointer_mut(PROOFS).unwrap() = json!({}),
            no_proof,
        ),
        (
            |notebook| notebook["cells"][0]["outputs"] = "Anna approved".into(),
            "what stands in the place of its outputs is no list of them",
        ),
    ];
    for (change, what) in changes {
        let mut notebook = serde_json::from_slice(&whole).unwrap();
        change(&mut notebook);
        std::fs::write(&page, serde_json::to_vec(&notebook).unwrap()).unwrap();
        let (code, said) = told(std::slice::from_ref(&page));
        assert!(code == 10 && flat(&said).contains(what), "{what}: {said}");
    }
}

#[test]
fn words_that_a_person_added_are_no_outputs() {
    let stage = Stage::new(1);
    let (page, whole) = alone(&stage);
    let mut notebook = serde_json::from_slice(&whole).unwrap();
    let own = json!({ "cell_type": "markdown", "metadata": {}, "source": "mine" });
    cells(&mut notebook).extend([own.clone(), own]);
    std::fs::write(&page, serde_json::to_vec(&notebook).unwrap()).unwrap();
    let (code, said) = told(&[page]);
    assert_eq!(code, 13, "{said}");
}
