//! Pages made of synthetic records, looked at as a reader and as a machine would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    missing_docs
)]

mod audit;
mod charts;
mod hour;
mod lessons;
mod maps;
mod open_items;
mod pages;
mod python;
mod reports;
mod shipped;
mod standstill;
mod write;

use std::path::Path;

/// Returns a folder for records and pages: in memory where the system offers that, because a
/// journal is flushed to disk with every event.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Returns the text of all cells and outputs of a notebook, in order.
pub fn text_of(page: &code_deploy_notebook_gen::Page) -> String {
    let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    let mut text = String::new();
    for cell in notebook["cells"].as_array().unwrap() {
        push_lines(&mut text, &cell["source"]);
        for output in cell["outputs"].as_array().into_iter().flatten() {
            push_lines(&mut text, &output["text"]);
            push_lines(&mut text, &output["data"]["text/markdown"]);
            push_lines(&mut text, &output["traceback"]);
        }
    }
    text
}

fn push_lines(text: &mut String, lines: &serde_json::Value) {
    for line in lines.as_array().into_iter().flatten() {
        text.push_str(line.as_str().unwrap());
    }
    text.push('\n');
}

/// Writes pages where a developer can look at them, when asked to.
pub fn keep(pages: &[code_deploy_notebook_gen::Page], name: &str) {
    if let Some(folder) = std::env::var_os("CODE_DEPLOY_KEEP_PAGES") {
        code_deploy_notebook_gen::write(pages, &Path::new(&folder).join(name)).unwrap();
    }
}
