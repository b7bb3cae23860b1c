use std::io::{BufRead, Write};

/// The kernel reads these lines where a cell writes them, and answers with a line.
const ASK: &str = "EVCXR_INPUT_REQUEST:";
const ASK_PASSWORD: &str = "EVCXR_INPUT_REQUEST_PASSWORD:";
/// In a question: the answer may be a refusal. In an answer: it is one, and its reason follows.
const REFUSAL: char = '\u{1}';

/// Why a cell ended at a question.
struct NoAnswer;

/// Asks whoever runs the cell, and returns the line that was given, without its end.
///
/// Where nobody can be asked - the notebook is run by a tool that takes no input - or the cell is interrupted, the
/// cell ends here as failed, by unwinding. Variables of earlier cells are kept.
#[must_use]
pub fn ask(prompt: &str) -> String {
    asked(ASK, prompt)
}

/// Asks as [`ask`] does; what is typed is not shown.
#[must_use]
pub fn ask_password(prompt: &str) -> String {
    asked(ASK_PASSWORD, prompt)
}

fn asked(kind: &str, prompt: &str) -> String {
    let answer = put(std::io::stdout(), kind, prompt).and_then(|()| take(std::io::stdin().lock()));
    // The kernel knows the reason and tells it as the error of the cell: a panic's text would be one too many.
    answer.unwrap_or_else(|| std::panic::resume_unwind(Box::new(NoAnswer)))
}

fn put(mut out: impl Write, kind: &str, prompt: &str) -> Option<()> {
    let question = format!("{kind}{REFUSAL}{}\n", escaped(prompt));
    out.write_all(question.as_bytes()).ok()?;
    out.flush().ok()
}

/// Returns the answer; nothing where there is none.
fn take(mut input: impl BufRead) -> Option<String> {
    let mut line = String::new();
    let count = input.read_line(&mut line).ok()?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    (count > 0 && !line.starts_with(REFUSAL)).then(|| line.to_owned())
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn a_question_is_one_line_and_its_answer_too() {
        let mut out = Vec::new();
        put(&mut out, ASK, "a: b\n\\?").unwrap();
        let asked = String::from_utf8(out).unwrap();
        assert_eq!(asked, "EVCXR_INPUT_REQUEST:\u{1}a: b\\n\\\\?\n");
        assert_eq!(take(&b" yes: \nmore"[..]).unwrap(), " yes: ");
        assert_eq!(take(&b"\n"[..]).unwrap(), "");
    }

    #[test]
    fn a_refusal_and_the_end_of_input_are_no_answers() {
        assert_eq!(take(&b"\x01nobody\n"[..]), None);
        assert_eq!(take(&b""[..]), None);
    }
}
