//! Proofs of outputs: each output that the program made is a leaf of a tree (RFC 6962), and each
//! notebook carries the tree's root and, for each of its outputs, the way from the leaf to the root.
//!
//! The leaf is the line that `sha256sum` would print for the output as canonical JSON (RFC 8785), had
//! it a file of its own: `DIGEST  NOTEBOOK.ipynb#CELL/OUTPUT`.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_record::disk::{is_refused, read_at_most};
use code_deploy_record::{
    Checkpoint, Digest, Error as RecordError, LARGEST_NOTE, OUTPUTS_NOTE, PublicKey, RunFolder,
    RunStarted, TreeHead, includes, inclusion_proof, leaf_hash, origin, root_of,
};
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use crate::page::Page;
use crate::{Error, Result};

/// Returns whose tree the outputs of a run are.
#[must_use]
pub fn outputs_origin(started: &RunStarted) -> String {
    format!("{}/outputs", origin(started))
}

/// Where in a notebook the proofs of its outputs stand, as a JSON pointer.
const OUTPUTS: &str = "/metadata/code-deploy/outputs";

/// Where an output stands: notebook, cell, number.
type Place = (usize, String, usize);

/// Puts the tree over all outputs into the metadata of the notebooks, with the signed root where the
/// run's folder has one of these very outputs.
pub(crate) fn attach(pages: &mut [Page], run: &RunFolder, started: &RunStarted) -> Result<()> {
    let (places, leaves) = leaves(pages)?;
    let head = TreeHead {
        size: leaves.len() as u64,
        root: root_of(&leaves),
    };
    let origin = outputs_origin(started);
    let note = kept_note(run, &origin, &head)?;
    let mut proofs: Vec<BTreeMap<String, Vec<Value>>> = vec![BTreeMap::new(); pages.len()];
    for (index, (page, cell, _)) in places.into_iter().enumerate() {
        let proof = inclusion_proof(&leaves, index).unwrap_or_default();
        if let Some(cells) = proofs.get_mut(page) {
            let leaf = json!({ "leaf": index, "proof": proof });
            cells.entry(cell).or_default().push(leaf);
        }
    }
    for (page, proofs) in pages.iter_mut().zip(proofs) {
        let mut outputs = json!({
            "origin": origin, "size": head.size, "root": head.root, "proofs": proofs,
        });
        if let Some(note) = &note {
            outputs["note"] = note.as_str().into();
        }
        let mut notebook = parse(page)?;
        put(&mut notebook, outputs);
        page.text = write(page, notebook)?;
    }
    Ok(())
}

/// Takes the signed root over the outputs out of two notebooks, where that in `found` is the one that `key` signed over the
/// outputs of `made`, with no other line, and `made` has none such: the record's own copy of it may be gone or changed.
/// Returns whether it did.
pub fn take_note(found: &mut Value, made: &mut Value, key: &PublicKey) -> bool {
    if !has_sound_note(found, made, key) || has_sound_note(made, made, key) {
        return false;
    }
    for notebook in [found, made] {
        let outputs = notebook.pointer_mut(OUTPUTS);
        if let Some(outputs) = outputs.and_then(Value::as_object_mut) {
            outputs.remove("note");
        }
    }
    true
}

/// Returns whether the signed root in a notebook is the one over the outputs of `made` as the holder of `key` signs it: in
/// that key's name, and in no other beside it, as whoever may write there can add lines.
fn has_sound_note(notebook: &Value, made: &Value, key: &PublicKey) -> bool {
    let at = |notebook: &Value, name: &str| notebook.pointer(&format!("{OUTPUTS}/{name}")).cloned();
    let note = at(notebook, "note").and_then(|note| note.as_str()?.parse::<Checkpoint>().ok());
    let Some(note) = note else { return false };
    let (origin, size) = (json!(note.origin), json!(note.head.size));
    let named = [Some(origin), Some(size), Some(json!(note.head.root))];
    let of_made = ["origin", "size", "root"].map(|name| at(made, name));
    let name = key.name();
    named == of_made && note.signers().eq([name.as_str()]) && note.is_signed_by(key)
}

/// Returns whether the bytes of a notebook are those that this program writes for what stands in it.
#[must_use]
pub fn is_as_written(notebook: &[u8]) -> bool {
    let read = serde_json::from_slice::<Value>(notebook).ok();
    let again = read.and_then(|notebook| written(notebook).ok());
    again.is_some_and(|again| again == notebook)
}

/// Returns the tree over the outputs of notebooks that were made together.
///
/// # Errors
/// [`Error::Notebook`] when one is not as the program makes them.
pub fn outputs_head(pages: &[Page]) -> Result<TreeHead> {
    let head = pages.first().map(parse).transpose()?;
    let outputs = head.as_ref().and_then(own).map(|own| &own["outputs"]);
    let head = outputs.and_then(|outputs| serde_json::from_value(outputs.clone()).ok());
    head.ok_or_else(|| Error::Notebook {
        notebook: "all".to_owned(),
        what: "it names no tree of its outputs".to_owned(),
    })
}

/// Puts the signed root into notebooks that were made without.
///
/// # Errors
/// [`Error::Notebook`] when one is not as the program makes them.
pub fn put_note(pages: &mut [Page], note: &Checkpoint) -> Result<()> {
    for page in pages {
        let mut notebook = parse(page)?;
        if let Some(outputs) = own(&notebook).map(|own| own["outputs"].clone()) {
            let mut outputs = outputs;
            outputs["note"] = note.to_string().into();
            put(&mut notebook, outputs);
        }
        page.text = write(page, notebook)?;
    }
    Ok(())
}

fn kept_note(run: &RunFolder, origin: &str, head: &TreeHead) -> Result<Option<String>> {
    let seal = run.seal();
    if !seal.is_folder() {
        return Ok(None);
    }
    let path = seal.path().join(OUTPUTS_NOTE);
    let opened = run.disk().read(&path);
    let text = match opened.and_then(|file| read_at_most(file, LARGEST_NOTE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_refused(&error) => return Ok(None),
        Err(error) => return Err(RecordError::io("read", &path)(error).into()),
    };
    let Ok(text) = String::from_utf8(text) else {
        return Ok(None);
    };
    let note = text.parse::<Checkpoint>().ok();
    let of_these = note.is_some_and(|note| note.head == *head && note.origin == origin);
    Ok(of_these.then_some(text))
}

fn parse(page: &Page) -> Result<Value> {
    serde_json::from_str(&page.text).map_err(|error| failed(page, &error))
}

fn failed(page: &Page, what: &impl ToString) -> Error {
    Error::Notebook {
        notebook: page.name.clone(),
        what: what.to_string(),
    }
}

fn write(page: &Page, notebook: Value) -> Result<String> {
    let text = written(notebook).map_err(|error| failed(page, &error))?;
    String::from_utf8(text).map_err(|error| failed(page, &error))
}

/// Writes a notebook as `nbformat` does: sorted keys, an indent of one, a line end behind it.
fn written(notebook: Value) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, form);
    in_order(notebook).serialize(&mut writer)?;
    text.push(b'\n');
    Ok(text)
}

/// Sorts keys, whatever order a program that shares `serde_json` has chosen for it.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.into_iter().collect();
            sorted
                .into_iter()
                .map(|(key, value)| (key, in_order(value)))
                .collect()
        }
        Value::Array(list) => list.into_iter().map(in_order).collect(),
        other => other,
    }
}

fn own(notebook: &Value) -> Option<&Map<String, Value>> {
    notebook.get("metadata")?.get("code-deploy")?.as_object()
}

fn put(notebook: &mut Value, outputs: Value) {
    let own = notebook
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("code-deploy"))
        .and_then(Value::as_object_mut);
    if let Some(own) = own {
        own.insert("outputs".to_owned(), outputs);
    }
}

/// Takes the notebooks apart one by one: all of them together are many times their text.
fn leaves(pages: &[Page]) -> Result<(Vec<Place>, Vec<Digest>)> {
    let (mut places, mut leaves) = (Vec::new(), Vec::new());
    for (number, page) in pages.iter().enumerate() {
        let notebook = parse(page)?;
        for cell in cells(&notebook) {
            for (index, output) in outputs_of(cell).iter().enumerate() {
                let id = id_of(cell).to_owned();
                let leaf = leaf(&page.name, &id, index, output)
                    .ok_or_else(|| failed(page, &"an output has no canonical form"))?;
                leaves.push(leaf);
                places.push((number, id, index));
            }
        }
    }
    Ok((places, leaves))
}

pub(crate) fn cells(notebook: &Value) -> &[Value] {
    let cells = notebook.get("cells").and_then(Value::as_array);
    cells.map_or(&[], Vec::as_slice)
}

pub(crate) fn id_of(cell: &Value) -> &str {
    cell.get("id").and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn outputs_of(cell: &Value) -> &[Value] {
    let outputs = cell.get("outputs").and_then(Value::as_array);
    outputs.map_or(&[], Vec::as_slice)
}

fn leaf(notebook: &str, cell: &str, index: usize, output: &Value) -> Option<Digest> {
    let canonical = serde_json_canonicalizer::to_vec(&joined(output)).ok()?;
    let digest = Digest::of(&canonical);
    let line = format!("{digest}  {notebook}.ipynb#{cell}/{index}");
    Some(leaf_hash(line.as_bytes()))
}

/// Returns an output with each text in one piece: notebooks write a text of several lines as a list
/// of them or as one string, and mean the same.
pub(crate) fn joined(output: &Value) -> Value {
    let mut output = output.clone();
    if let Some(text) = output.get_mut("text") {
        join(text);
    }
    let data = output.get_mut("data").and_then(Value::as_object_mut);
    data.into_iter()
        .flat_map(|data| data.values_mut())
        .for_each(join);
    output
}

pub(crate) fn join(text: &mut Value) {
    let Some(lines) = text.as_array() else { return };
    let lines: Option<Vec<&str>> = lines.iter().map(Value::as_str).collect();
    if let Some(lines) = lines {
        *text = lines.concat().into();
    }
}

/// What the metadata of a notebook says of its outputs, and what of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputCheck {
    /// Outputs that are the leaves that they are said to be.
    pub proved: usize,
    /// The signed root, where the notebook carries one that is of this tree.
    pub note: Option<Checkpoint>,
    /// What does not hold: the cell, or nothing for the notebook as a whole, and why.
    pub broken: Vec<(Option<String>, String)>,
}

/// Checks each output of a notebook against the leaf that its metadata gives it, and that each has one; nothing when the
/// notebook names no tree. Needs nothing but the notebook, whose name without its extension it is
/// told.
#[must_use]
pub fn check_outputs(name: &str, notebook: &Value) -> Option<OutputCheck> {
    let named = own(notebook)?.get("outputs")?;
    let mut check = OutputCheck::default();
    let Ok(head) = serde_json::from_value::<TreeHead>(named.clone()) else {
        let what = "its metadata names no tree that can be read".to_owned();
        check.broken.push((None, what));
        return Some(check);
    };
    check_note(named, &head, &mut check);
    let empty = Map::new();
    let proofs = named
        .get("proofs")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut seen = BTreeSet::new();
    for (place, cell) in cells(notebook).iter().enumerate() {
        let id = id_of(cell);
        let of_cell = proofs.get(id).and_then(Value::as_array);
        let of_cell = of_cell.map_or(&[][..], Vec::as_slice);
        let found = if seen.insert(id) || id.is_empty() {
            check_cell(&head, (name, id), cell, of_cell)
        } else {
            Err(format!(
                "cell {} has the id of one before it: nothing shows that it was made",
                place + 1
            ))
        };
        match found {
            Ok(proved) => check.proved += proved,
            Err(what) => {
                let id = (!id.is_empty()).then(|| id.to_owned());
                check.broken.push((id, what));
            }
        }
    }
    for id in proofs.keys().filter(|id| !seen.contains(id.as_str())) {
        let what = "the cell was removed".to_owned();
        check.broken.push((Some(id.clone()), what));
    }
    Some(check)
}

fn check_note(named: &Value, head: &TreeHead, check: &mut OutputCheck) {
    let Some(note) = named.get("note") else {
        return;
    };
    let note = note
        .as_str()
        .and_then(|note| note.parse::<Checkpoint>().ok());
    match note.filter(|note| note.head == *head && named["origin"] == note.origin.as_str()) {
        Some(note) => check.note = Some(note),
        None => {
            let what = "the signed root in its metadata is not that of its outputs".to_owned();
            check.broken.push((None, what));
        }
    }
}

/// Returns how many outputs a cell has, where each is the leaf that its proof says.
///
/// # Errors
/// What does not hold, in words.
fn check_cell(
    head: &TreeHead,
    (notebook, id): (&str, &str),
    cell: &Value,
    proofs: &[Value],
) -> std::result::Result<usize, String> {
    if cell
        .get("outputs")
        .is_some_and(|outputs| !outputs.is_array())
    {
        return Err("what stands in the place of its outputs is no list of them".to_owned());
    }
    let outputs = outputs_of(cell);
    if proofs.is_empty() && !outputs.is_empty() {
        return Err("its outputs have no proof: nothing shows that they were made".to_owned());
    }
    if outputs.len() != proofs.len() {
        return Err(format!(
            "it has {} outputs, and {} were made",
            outputs.len(),
            proofs.len()
        ));
    }
    let mut pairs = outputs.iter().zip(proofs).enumerate();
    let bad = pairs
        .find(|(index, (output, proof))| !is_proved(head, (notebook, id, *index), output, proof));
    match bad {
        Some((index, _)) => Err(format!("output {index} is not the one that was made")),
        None => Ok(outputs.len()),
    }
}

fn is_proved(
    head: &TreeHead,
    (notebook, cell, index): (&str, &str, usize),
    output: &Value,
    proof: &Value,
) -> bool {
    let at = proof.get("leaf").and_then(Value::as_u64);
    let path = proof.get("proof").cloned().unwrap_or_default();
    let path: Option<Vec<Digest>> = serde_json::from_value(path).ok();
    let leaf = leaf(notebook, cell, index, output);
    let (Some(at), Some(path), Some(leaf)) = (at, path, leaf) else {
        return false;
    };
    includes(&head.root, head.size, at, &leaf, &path)
}
