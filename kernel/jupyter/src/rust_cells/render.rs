//! Errors of evcxr as errors of a cell, with the lines of the cell.

use std::fmt::Write as _;

use evcxr::{CompilationError, Error};
use serde_json::Value;

use crate::cells::CellError;

/// How many variables an error names.
const NAMED: usize = 20;

const RED: &str = "\u{1b}[31m";
const BLUE: &str = "\u{1b}[34m";
const PLAIN: &str = "\u{1b}[0m";

/// Returns a content as a message holds it: JSON as what it is, all else as text.
pub(super) fn content(mime: &str, text: String) -> Value {
    let json = mime == "application/json" || mime.ends_with("+json");
    let value = json.then(|| serde_json::from_str(&text).ok()).flatten();
    value.unwrap_or(Value::String(text))
}

/// Returns the error of the cell, and whether variables of earlier cells are gone.
pub(super) fn cell_error(error: &Error, code: &str) -> (CellError, bool) {
    match error {
        Error::CompilationErrors(errors) => (compile_error(errors, code), false),
        Error::TypeRedefinedVariablesLost(variables) => {
            let text = format!(
                "a type was defined anew, and with it went the variables {}; define them again",
                variables.join(", ")
            );
            (CellError::new("VariablesLost", text), true)
        }
        Error::SubprocessTerminated(how) => (ended(how.trim()), true),
        Error::Message(text) => (CellError::new("RustError", text.clone()), false),
    }
}

/// Says below a compiler's error which variables of earlier cells are kept: nothing of the cell was run.
pub(super) fn with_kept(error: &Error, cell_error: CellError, mut names: Vec<&str>) -> CellError {
    if !matches!(error, Error::CompilationErrors(_)) {
        return cell_error;
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let kept = match (names.as_slice(), more) {
        ([], _) => "nothing of this cell was run".to_owned(),
        (names, 0) => format!("nothing of this cell was run; kept: {}", names.join(", ")),
        (names, more) => {
            let names = names.join(", ");
            format!("nothing of this cell was run; kept: {names} and {more} more variables")
        }
    };
    let mut lines = cell_error.traceback.clone();
    lines.push(format!("note: {kept}"));
    cell_error.with_traceback(lines)
}

/// Returns the error of a cell whose process has ended, in that way.
pub(super) fn ended(how: &str) -> CellError {
    let text = format!(
        "the Rust program ended ({how}); variables of earlier Rust cells are lost: run the cells that define \
         them again"
    );
    CellError::new("RustEnded", text)
}

fn compile_error(errors: &[CompilationError], code: &str) -> CellError {
    let lines: Vec<&str> = code.lines().collect();
    let mut traceback = Vec::new();
    for error in errors {
        traceback.extend(one_error(error, &lines).lines().map(str::to_owned));
    }
    let first = errors
        .first()
        .map_or_else(|| "unknown error".to_owned(), CompilationError::message);
    let evalue = match errors.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    };
    CellError::new("CompileError", evalue).with_traceback(traceback)
}

fn one_error(error: &CompilationError, lines: &[&str]) -> String {
    let mut text = String::new();
    let code = error
        .code()
        .map(|code| format!("[{code}]"))
        .unwrap_or_default();
    let _ = writeln!(text, "{RED}error{code}{PLAIN}: {}", error.message());
    for spanned in error.spanned_messages() {
        let Some(span) = &spanned.span else { continue };
        let (row, column) = (span.start_line, span.start_column);
        let Some(line) = row.checked_sub(1).and_then(|index| lines.get(index)) else {
            continue;
        };
        let _ = writeln!(text, "{BLUE}  --> cell, line {row}, column {column}{PLAIN}");
        let number = row.to_string();
        let margin = " ".repeat(number.len());
        let width = if span.end_line == row {
            span.end_column.saturating_sub(column)
        } else {
            1
        };
        let before = " ".repeat(column.saturating_sub(1));
        let marks = "^".repeat(width.max(1));
        let _ = writeln!(text, "{BLUE}{number} |{PLAIN} {line}");
        let _ = writeln!(
            text,
            "{BLUE}{margin} |{PLAIN} {before}{RED}{marks}{PLAIN} {}",
            spanned.label
        );
    }
    for help in error.help() {
        let _ = writeln!(text, "help: {help}");
    }
    if let Some(hint) = error.evcxr_extra_hint() {
        let _ = writeln!(text, "note: {hint}");
    }
    text
}
