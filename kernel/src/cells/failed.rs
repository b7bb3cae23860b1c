//! How a command that failed ends its cell: as text for every reader, and as HTML for pages.
//!
//! The `error` message of the protocol holds text only, and what runs notebooks without a page
//! (nbclient, papermill, consoles) shows nothing else of a failed cell: there it says everything, and
//! is the only output, as Jupyter's own suite asks. A page, which names the cell it shows, gets a display
//! before it, and in the `error` no more than the code: it shows both, one below the other.

use code_deploy_jupyter::{Cell, CellError, CellOutput, MimeBundle};

use code_deploy_record::Problem;

use crate::failure::Failure;
use crate::html;
use crate::magic::as_magics;

/// Readable beside text of either theme; a pause is no error.
const RED: &str = "#d64541";
const BLUE: &str = "#3b82c4";

/// Shows why a command failed, and returns the error with which its cell ends.
pub async fn show(failure: Failure, cell: &Cell, out: &CellOutput) -> CellError {
    let failure = &in_cells(failure);
    let error = cell_error(failure);
    if cell.cell_id.is_none() {
        return error;
    }
    let bundle = MimeBundle::text(failure.lines().join("\n")).with("text/html", html(failure));
    out.display(&bundle, serde_json::Value::Null).await;
    let code = format!("{}[{}]", failure.word(), failure.problem.code);
    // A page lays errors on a red ground, on which red is hard to read where the theme is dark.
    let code = if failure.is_pause() {
        code
    } else {
        format!("\u{1b}[1m{code}\u{1b}[0m")
    };
    error.with_traceback(vec![format!("{code}, as shown above")])
}

/// Returns a failure whose commands are those that are given in cells.
fn in_cells(failure: Failure) -> Failure {
    let Problem {
        code,
        what,
        state,
        next,
    } = failure.problem;
    let problem = Problem {
        code,
        what: as_magics(&what),
        state: as_magics(&state),
        next: as_magics(&next),
    };
    Failure { problem, ..failure }
}

/// Returns a failure as a cell ends with it. A pause ends a cell too, so that the cells below it are
/// not run, but by its own name and without the colour of errors.
fn cell_error(failure: &Failure) -> CellError {
    let mut lines = failure.lines();
    let what = failure.problem.what.clone();
    if failure.is_pause() {
        return CellError::new("Paused".to_owned(), what).with_traceback(lines);
    }
    if let Some(first) = lines.first_mut() {
        *first = in_red(first);
    }
    CellError::new(failure.problem.code.clone(), what).with_traceback(lines)
}

fn in_red(text: &str) -> String {
    format!("\u{1b}[31m{text}\u{1b}[0m")
}

/// Returns the four parts of a failure: what went wrong, where, what the state is, what to do next.
fn html(failure: &Failure) -> String {
    let problem = &failure.problem;
    let colour = if failure.is_pause() { BLUE } else { RED };
    let excerpt = if failure.excerpt.is_empty() {
        String::new()
    } else {
        format!("<pre>{}</pre>", html::escape(&failure.excerpt.join("\n")))
    };
    let heading = format!("{}[{}]", failure.word(), problem.code);
    format!(
        "<div style=\"border-left: 4px solid {colour}; padding-left: 1em\">\
         <p><b>{}</b> {}</p>{excerpt}<p><b>State</b> {}</p><p><b>Next</b> {}</p></div>",
        html::escape(&heading),
        html::sentence(&problem.what),
        html::sentence(&problem.state),
        html::sentence(&problem.next),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_cell_that_was_paused_ends_by_that_name_and_not_in_the_colour_of_errors() {
        let what = "the run stands at a safe point";
        let code = code_deploy_engine::code::PAUSED;
        let failure = Failure::new(Exit::Interrupted, code, what, "It waits.", "Resume it.");
        let shown = format!("{:?}", cell_error(&failure));
        assert!(shown.contains("Paused"), "{shown}");
        assert!(shown.contains("paused[CD0401]: the run stands"), "{shown}");
        assert!(!shown.contains("[31m"), "{shown}");
        assert!(!html(&failure).contains(RED), "{}", html(&failure));
    }

    #[test]
    fn a_cell_shows_an_error_in_the_lines_of_the_terminal() {
        let failure = Failure::usage("it is wrong", "Mend it.");
        let shown = format!("{:?}", cell_error(&failure));
        for line in failure.lines() {
            assert!(shown.contains(&line), "`{line}` is not in {shown}");
        }
    }

    #[test]
    fn a_cell_names_the_commands_that_are_given_in_cells() {
        let failure = Failure::refused("CD0001", "it is wrong", "`code-deploy resume` goes on.");
        assert_eq!(in_cells(failure).problem.next, "`%resume` goes on.");
    }

    #[test]
    fn the_page_has_code_cause_place_state_and_next_command() {
        let mut failure = Failure::usage("a <b> is wrong", "Give `%plan` again.");
        failure.excerpt = vec!["7 | replicas: <x>".to_owned()].into();
        let shown = html(&failure);
        for part in [
            "<b>error[CD0001]</b> a &lt;b&gt; is wrong",
            "<pre>7 | replicas: &lt;x&gt;</pre>",
            "<b>State</b> Nothing was changed.",
            "<b>Next</b> Give <code>%plan</code> again.",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        // Text keeps the colour that the page's theme gives it.
        assert!(!shown.contains("color:") && !shown.contains("background"));
    }
}
