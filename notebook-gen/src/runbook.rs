//! Documents of a record, such as runbooks, as Markdown that pages show. They are written in a few forms of
//! Markdown with values between: headings, lists, tables and code are kept, and nothing else in them is markup.

use crate::markdown::{escape, escape_start};

/// Headings of a document stand below those of the page.
const BELOW: usize = 2;

/// The deepest heading that there is.
const DEEPEST: usize = 6;

/// Which form a line has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Empty,
    Heading,
    Bullet,
    Number,
    Table,
    Plain,
}

/// Returns a document as Markdown of a page: headings, lists, tables and code within lines.
pub(crate) fn runbook_to_markdown(text: &str) -> String {
    let mut out = String::new();
    let (mut before, mut columns) = (Form::Empty, 0);
    for line in text.lines().map(str::trim) {
        let (form, shown) = shown(line, if before == Form::Table { columns } else { 0 });
        if form == Form::Empty {
            before = form;
            continue;
        }
        if form == Form::Table && before != Form::Table {
            columns = cells(line).len();
        }
        match (before, form) {
            _ if out.is_empty() => {}
            // Each line of a paragraph stands on its own, as it was written.
            (Form::Plain, Form::Plain) => out.push_str("  \n"),
            (one, other) if one == other && one != Form::Heading => out.push('\n'),
            _ => out.push_str("\n\n"),
        }
        out.push_str(&shown);
        before = form;
    }
    out
}

/// Returns a line's form and how a page shows it; in a table that has begun it has so many columns.
fn shown(line: &str, columns: usize) -> (Form, String) {
    if line.is_empty() {
        return (Form::Empty, String::new());
    }
    let hashes = line.chars().take_while(|one| *one == '#').count();
    if let Some(rest) = line.get(hashes..).and_then(|rest| rest.strip_prefix(' '))
        && (1..=DEEPEST).contains(&hashes)
    {
        let depth = (hashes + BELOW).min(DEEPEST);
        let shown = format!("{} {}", "#".repeat(depth), title(rest));
        return (Form::Heading, shown);
    }
    if let Some(rest) = line.strip_prefix("- ") {
        return (Form::Bullet, format!("- {}", escape_start(rest)));
    }
    if let Some((number, rest)) = line.split_once(". ")
        && number.len() <= 3
        && !number.is_empty()
        && number.chars().all(|one| one.is_ascii_digit())
    {
        return (Form::Number, format!("{number}. {}", escape_start(rest)));
    }
    if line.len() > 1 && line.starts_with('|') && line.ends_with('|') {
        return (Form::Table, row(line, columns));
    }
    (Form::Plain, escape_start(line))
}

/// Signs at the end of a heading's text belong to it: without the backslash a reader would leave them out.
fn title(text: &str) -> String {
    let escaped = escape(text.trim());
    match escaped.strip_suffix('#') {
        Some(before) => format!("{before}\\#"),
        None => escaped,
    }
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').unwrap_or(line);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(str::trim).collect()
}

/// A value may hold the border of a table: what is beyond the columns belongs to the last.
fn row(line: &str, columns: usize) -> String {
    let cells = cells(line);
    let rule = |cell: &&str| !cell.is_empty() && cell.chars().all(|one| matches!(one, '-' | ':'));
    if columns > 0 && cells.iter().all(rule) {
        return format!("|{}|", cells.join("|"));
    }
    let mut cells: Vec<String> = cells.into_iter().map(escape).collect();
    if columns > 0 && cells.len() > columns {
        let beyond = cells.split_off(columns - 1);
        cells.push(beyond.join(" \\| "));
    }
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::runbook_to_markdown;
    use crate::markdown::outside_code;

    #[test]
    fn the_forms_of_a_runbook_are_kept() {
        let text = "# Runbook: catalog\n\n| | |\n|---|---|\n| owner | team_products |\n\n## Go back\n\
                    `code-deploy rollback --reason \"WHY\"`\nIt takes all services back.\n- While the run of \
                    `1.1.0` is under way\n- After it\nRehearsed.\n\n1. Look.\n2. Call.\n";
        let expected = "### Runbook: catalog\n\n|  |  |\n|---|---|\n| owner | team\\_products |\n\n#### Go back\n\n\
                        `code-deploy rollback --reason \"WHY\"`  \nIt takes all services back.\n\n- While the run of \
                        `1.1.0` is under way\n- After it\n\nRehearsed.\n\n1. Look.\n2. Call.";
        assert_eq!(runbook_to_markdown(text), expected);
    }

    #[test]
    fn what_stands_in_a_value_is_no_markup() {
        let hostile = [
            "<script>alert(1)</script>",
            "[a](http://evil.example)",
            "![x](http://evil.example/x.png)",
            "a `b <i>",
            "$x$ and **bold**",
            "- <b>one</b> `two`",
            "# <h1>",
            "1. [a](b)",
            "| <td> | `a|b` | c |",
        ];
        for text in hostile {
            let shown = runbook_to_markdown(text);
            let outside = outside_code(&shown);
            assert!(!outside.contains(['<', '*', '[', ']', '$']), "{shown}");
        }
    }

    #[test]
    fn no_form_begins_within_another() {
        let lines = [
            ("- - a", "- \\- a"),
            ("- # a", "- \\# a"),
            ("-     a", "- a"),
            ("- 1. a", "- 1\\. a"),
            ("- > a", "- &gt; a"),
            ("- - - -", "- \\- - -"),
            ("1. 2) a", "1. 2\\) a"),
            ("1. = a", "1. \\= a"),
            ("1) a", "1\\) a"),
            ("2026. a", "2026\\. a"),
            ("a\n===", "a  \n\\==="),
            ("a\n:-:", "a  \n\\:-:"),
            ("# a #", "### a \\#"),
            ("\u{7}# a", "\\# a"),
        ];
        for (line, expected) in lines {
            assert_eq!(runbook_to_markdown(line), expected);
        }
    }

    #[test]
    fn code_holds_no_border_of_a_table() {
        let text = "`a|b`\n\n| a | b |\n|---|---|\n| `x|y` | `z` |\n";
        let expected = "\\`a\\|b\\`\n\n| a | b |\n|---|---|\n| \\`x | y\\` \\| `z` |";
        assert_eq!(runbook_to_markdown(text), expected);
    }

    #[test]
    fn a_value_with_a_border_stays_in_its_cell() {
        let text = "| a | b |\n|---|---|\n| one | two | three |\n";
        let shown = runbook_to_markdown(text);
        assert!(shown.ends_with("| one | two \\| three |"), "{shown}");
    }
}
