//! Whether what was typed is a whole piece of Rust, for consoles that ask at every line.

use std::str::FromStr;

use proc_macro2::{LexError, LineColumn, TokenStream};
use syn::Block;
use syn::parse::Parser;

use crate::cells::IsComplete;

/// White space by which an opened bracket moves the next line.
const INDENT: &str = "    ";
/// How a parser says that it came to the end of the text before the end of a construct.
const AT_THE_END: &str = "unexpected end of input";

/// Returns whether `code` can run as it stands, needs more lines, or is wrong however it goes on. Lines that
/// begin with a colon are commands of evcxr and not looked at.
#[must_use]
pub fn is_complete(code: &str) -> IsComplete {
    let code = without_commands(code);
    let told = read(&code);
    // What the lexer keeps to find places grows with every text otherwise.
    proc_macro2::extra::invalidate_current_thread_spans();
    told
}

fn without_commands(code: &str) -> String {
    let lines = code.split('\n');
    let lines = lines.map(|line| {
        if line.trim_start().starts_with(':') {
            ""
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read(code: &str) -> IsComplete {
    let tokens = match TokenStream::from_str(code) {
        Ok(tokens) => tokens,
        Err(error) if is_open(code, &error) => return more(code),
        Err(_) => return IsComplete::Invalid,
    };
    match Block::parse_within.parse2(tokens) {
        Ok(_) => IsComplete::Complete,
        Err(error) if error.to_string().starts_with(AT_THE_END) => more(code),
        // A compiler says better what is wrong, where and what would be right.
        Err(_) => IsComplete::Invalid,
    }
}

/// Returns whether the lexer stopped at something that more lines may close: it stops at the beginning of a
/// bracket, a string or a comment that has no end.
fn is_open(code: &str, error: &LexError) -> bool {
    let rest = from(code, error.span().start());
    let literal = rest.trim_start_matches(['b', 'c', 'r']);
    rest.starts_with(['(', '[', '{'])
        || rest.starts_with("/*")
        || literal.trim_start_matches('#').starts_with('"')
}

fn from(code: &str, place: LineColumn) -> &str {
    let above = place.line.saturating_sub(1);
    let line: usize = code.split_inclusive('\n').take(above).map(str::len).sum();
    let rest = code.get(line..).unwrap_or_default();
    let column = rest.char_indices().nth(place.column);
    column.map_or("", |(offset, _)| &rest[offset..])
}

fn more(code: &str) -> IsComplete {
    let last = code.lines().rfind(|line| !line.trim().is_empty());
    let last = last.unwrap_or_default();
    let text = last.trim_start();
    let mut indent = last[..last.len() - text.len()].to_owned();
    if text.trim_end().ends_with(['(', '[', '{']) {
        indent.push_str(INDENT);
    }
    IsComplete::Incomplete { indent }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn what_can_run_is_complete() {
        let fragments = [
            "",
            "1 + 2",
            "let x = 1;",
            "fn f() {\n    1\n}",
            "use std::fmt::Write as _;",
            ":dep regex = \"1\"\nlet re = 1;",
            "let a: &'static str = \"(\"; // (",
            "#[derive(Debug)]\nstruct S { a: u8 }\nS { a: 1 }",
        ];
        for fragment in fragments {
            assert_eq!(is_complete(fragment), IsComplete::Complete, "{fragment}");
        }
    }

    #[test]
    fn what_is_open_needs_more_lines() {
        let fragments = [
            ("fn f() {", "    "),
            ("fn f() {\n    if x {", "        "),
            ("fn f() {\n    let y = 2;\n", "    "),
            ("let x = (1,", ""),
            ("let x =", ""),
            ("let text = \"open", ""),
            ("let text = r#\"open\"", ""),
            ("let text = br\"open", ""),
            ("/* a comment", ""),
            ("let é = \"ü\"; /* a comment", ""),
            ("let é = \"ü\";\nlet b = vec![", "    "),
        ];
        for (fragment, indent) in fragments {
            let indent = indent.to_owned();
            let wanted = IsComplete::Incomplete { indent };
            assert_eq!(is_complete(fragment), wanted, "{fragment}");
        }
    }

    #[test]
    fn what_cannot_become_right_is_invalid() {
        for fragment in ["fn f() { ) }", ")", "let = 7q;", "let x = };", "fn fn"] {
            assert_eq!(is_complete(fragment), IsComplete::Invalid, "{fragment}");
        }
    }
}
