//! Reports as Markdown and as plain text, the same for pages, live cells and the terminal.

use code_deploy_record::{Block, Column, Report};

use crate::runbook::runbook_to_markdown;

/// Lines of a file or log that are shown; the whole of it stands in the record.
const LONGEST_CODE: usize = 200;

/// The language of a text that is a document of this program's own, and shown as one.
const DOCUMENT: &str = "markdown";

/// Parts two code spans that would stand side by side: their backticks would be read as one delimiter.
const APART: &str = "&#8203;";

/// What nbconvert takes for the beginning of a formula even within code: all up to the formula's end would become one
/// paragraph, without its lists and tables.
const FORMULAS: [&str; 3] = ["$$", "\\\\", "\\begin{"];

/// Returns text in which nothing is markup any more but code: no emphasis, link, HTML, formula or table border. What
/// stands between a pair of backticks is code where it can be that in every reader. Line ends become spaces.
///
/// Dollar signs and backslashes are written as code, because the readers look for formulas in the page that was made of
/// the Markdown, where an escaped sign is a sign again. An address that is written out (`http://...`) stays text here,
/// and some readers make a link of it.
#[must_use]
pub fn escape(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut escaped = String::with_capacity(text.len() + 8);
    let Some(codes) = codes(&parts) else {
        push_escaped(&mut escaped, text);
        return escaped;
    };
    let mut codes = codes.iter();
    for plain in parts.iter().step_by(2) {
        push_escaped(&mut escaped, plain);
        if let Some(code) = codes.next() {
            push_code(&mut escaped, code);
        }
    }
    escaped
}

/// Returns what stands between each pair of backticks, of the parts between all backticks; nothing where one has no
/// other, or where what stands between two cannot be code.
fn codes(parts: &[&str]) -> Option<Vec<String>> {
    if parts.len().is_multiple_of(2) {
        return None;
    }
    let within = parts.iter().skip(1).step_by(2);
    within.map(|part| code(part)).collect()
}

/// Returns text as it stands in a code span; nothing where it could end a table's cell or begin a formula.
fn code(text: &str) -> Option<String> {
    let code: String = text.chars().filter_map(in_line).collect();
    let is_formula = FORMULAS.iter().any(|begin| code.contains(*begin));
    let fits = !code.trim().is_empty() && !code.contains('|') && !is_formula;
    fits.then_some(code)
}

/// Returns a character as it stands within a line: a line end is a space, a control character nothing.
fn in_line(character: char) -> Option<char> {
    match character {
        '\n' | '\r' | '\t' => Some(' '),
        other => (!other.is_control()).then_some(other),
    }
}

fn push_escaped(escaped: &mut String, text: &str) {
    let mut characters = text.chars().filter_map(in_line).peekable();
    while let Some(character) = characters.next() {
        match character {
            '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '$' | '\\' => {
                let mut run = String::from(character);
                while let Some(next) = characters.next_if(|next| goes_on(&run, *next)) {
                    run.push(next);
                }
                push_code(escaped, &run);
            }
            other => escaped.push(other),
        }
    }
}

/// Returns whether a run of dollar signs and backslashes goes on. Two dollar signs never stand side by side: they are
/// one of [`FORMULAS`].
fn goes_on(run: &str, next: char) -> bool {
    match next {
        '\\' => true,
        '$' => !run.ends_with('$'),
        _ => false,
    }
}

fn push_code(escaped: &mut String, code: &str) {
    if escaped.ends_with('`') {
        escaped.push_str(APART);
    }
    escaped.push('`');
    escaped.push_str(code);
    escaped.push('`');
}

/// Returns a report as Markdown (tables in the form that JupyterLab, nbconvert and code hosts
/// read).
#[must_use]
pub fn report_to_markdown(report: &Report) -> String {
    let blocks: Vec<String> = report.blocks.iter().map(block_to_markdown).collect();
    blocks.join("\n\n")
}

fn block_to_markdown(block: &Block) -> String {
    match block {
        Block::Text { text } => {
            let paragraphs = text.split("\n\n").map(escape_start);
            paragraphs.collect::<Vec<_>>().join("\n\n")
        }
        Block::Table {
            caption,
            columns,
            rows,
        } => {
            let table = table_to_markdown(columns, rows);
            if caption.is_empty() {
                return table;
            }
            format!("**{}**\n\n{table}", escape(caption))
        }
        Block::Code {
            caption,
            language,
            text,
        } if language == DOCUMENT => {
            let document = runbook_to_markdown(&shorten(text));
            // Its own heading says what it is.
            if caption.is_empty() || document.starts_with('#') {
                return document;
            }
            format!("**{}**\n\n{document}", escape(caption))
        }
        Block::Code {
            caption,
            language,
            text,
        } => {
            let fence = fence_for(text);
            let language: String = language
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            let text = shorten(text);
            let caption = if caption.is_empty() {
                String::new()
            } else {
                format!("**{}**\n\n", escape(caption))
            };
            format!("{caption}{fence}{language}\n{text}\n{fence}")
        }
    }
}

/// Escapes a paragraph or the text of a list's item, so that its beginning is not taken for a heading, a list, a
/// definition, a table or a rule.
pub(crate) fn escape_start(text: &str) -> String {
    let escaped = escape(text);
    let escaped = escaped.trim();
    if escaped.starts_with(['#', '-', '+', '=', ':']) {
        return format!("\\{escaped}");
    }
    let rest = escaped.trim_start_matches(|one: char| one.is_ascii_digit());
    let digits = escaped.strip_suffix(rest).unwrap_or_default();
    let ends_marker = |after: &str| after.is_empty() || after.starts_with(' ');
    if !digits.is_empty() && rest.strip_prefix(['.', ')']).is_some_and(ends_marker) {
        return format!("{digits}\\{rest}");
    }
    escaped.to_owned()
}

fn table_to_markdown(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut text = String::from("|");
    for column in columns {
        text.push_str(&format!(" {} |", escape(&column.title)));
    }
    text.push_str("\n|");
    for column in columns {
        text.push_str(if column.numeric { "---:|" } else { ":---|" });
    }
    for row in rows {
        text.push_str("\n|");
        for entry in row {
            text.push_str(&format!(" {} |", escape(entry)));
        }
    }
    text
}

/// Returns a fence that is longer than any run of backticks in `text`.
fn fence_for(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat((longest + 1).max(3))
}

/// Cuts code after its first lines, and says how many follow.
pub(crate) fn shorten(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let lines = text.lines().count();
    if lines <= LONGEST_CODE {
        return text.to_owned();
    }
    let kept: Vec<&str> = text.lines().take(LONGEST_CODE).collect();
    let more = lines - LONGEST_CODE;
    format!("{}\n[{more} further lines in the record]", kept.join("\n"))
}

/// Returns a report as plain text with aligned columns.
#[must_use]
pub fn report_to_text(report: &Report) -> String {
    let blocks: Vec<String> = report.blocks.iter().map(block_to_text).collect();
    blocks.join("\n\n")
}

pub(crate) fn block_to_text(block: &Block) -> String {
    match block {
        Block::Text { text } => text.clone(),
        Block::Table {
            caption,
            columns,
            rows,
        } => {
            let table = table_to_text(columns, rows);
            if caption.is_empty() {
                return table;
            }
            format!("{caption}\n{table}")
        }
        Block::Code { caption, text, .. } => {
            let indented: Vec<String> = shorten(text)
                .lines()
                .map(|line| format!("    {line}"))
                .collect();
            format!("{caption}\n{}", indented.join("\n"))
        }
    }
}

/// Width at which the last column of a plain text table is wrapped, in characters.
const TEXT_WIDTH: usize = 110;

/// The last column stays at least this wide, however wide those before it are.
const LAST_COLUMN: usize = 40;

pub(crate) fn table_to_text(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "  none".to_owned();
    }
    let before: usize = (0..columns.len().saturating_sub(1))
        .map(|index| column_width(columns, rows, index) + 2)
        .sum();
    let room = TEXT_WIDTH.saturating_sub(before + 2).max(LAST_COLUMN);
    let rows: Vec<Vec<String>> = rows.iter().flat_map(|row| wrapped(row, room)).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| column_width(columns, &rows, index))
        .collect();
    let mut lines = Vec::new();
    if columns.iter().any(|column| !column.title.is_empty()) {
        let titles: Vec<String> = columns.iter().map(|c| c.title.clone()).collect();
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        lines.push(text_line(columns, &widths, &titles));
        lines.push(text_line(columns, &widths, &rules));
    }
    lines.extend(rows.iter().map(|row| text_line(columns, &widths, row)));
    lines.join("\n")
}

pub(crate) fn column_width(columns: &[Column], rows: &[Vec<String>], index: usize) -> usize {
    let entries = rows.iter().filter_map(|row| row.get(index));
    let longest = entries.map(|entry| entry.chars().count()).max();
    let title = columns
        .get(index)
        .map(|column| column.title.chars().count());
    longest.max(title).unwrap_or(0)
}

/// Spreads a row over as many lines as its last entry needs. A word is never broken: it may be a
/// path or an address that somebody copies.
fn wrapped(row: &[String], room: usize) -> Vec<Vec<String>> {
    let clean = |entry: &String| entry.replace(['\n', '\r', '\t'], " ");
    let mut entries: Vec<String> = row.iter().map(clean).collect();
    let Some(last) = entries.pop() else {
        return vec![entries];
    };
    let options = textwrap::Options::new(room)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let parts = textwrap::wrap(&last, options);
    let blank = vec![String::new(); entries.len()];
    let starts = std::iter::once(entries).chain(std::iter::repeat(blank));
    parts
        .iter()
        .zip(starts)
        .map(|(part, mut line)| {
            line.push(part.to_string());
            line
        })
        .collect()
}

fn text_line(columns: &[Column], widths: &[usize], entries: &[String]) -> String {
    let mut text = String::new();
    for ((entry, column), width) in entries.iter().zip(columns).zip(widths) {
        text.push_str("  ");
        if column.numeric {
            text.push_str(&format!("{entry:>width$}"));
        } else {
            text.push_str(&format!("{entry:<width$}"));
        }
    }
    text.trim_end().to_owned()
}

/// Returns what a reader of Markdown takes for text, without escaped characters.
#[cfg(test)]
pub(crate) fn outside_code(markdown: &str) -> String {
    let mut outside = String::new();
    let (mut is_code, mut is_escaped) = (false, false);
    for character in markdown.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '`' => is_code = !is_code,
            '\\' if !is_code => is_escaped = true,
            other if !is_code => outside.push(other),
            _ => {}
        }
    }
    assert!(!is_code, "{markdown}");
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_report_cannot_become_markup() {
        let report = Report::new().with_table(
            "sizes | 1",
            vec![Column::text("name"), Column::number("n")],
            vec![vec!["a|b <i> `x` $y$\n*z*".to_owned(), "3".to_owned()]],
        );
        let expected = "**sizes \\| 1**\n\n| name | n |\n|:---|---:|\n\
            | a\\|b &lt;i&gt; `x` `$`y`$` \\*z\\* | 3 |";
        assert_eq!(report_to_markdown(&report), expected);
    }

    #[test]
    fn what_stands_between_paired_backticks_is_code() {
        assert_eq!(escape("run `a_b <c>` and `d`"), "run `a_b <c>` and `d`");
        assert_eq!(escape("`a\nb\u{7}`"), "`a b`");
    }

    #[test]
    fn backticks_that_cannot_be_code_are_escaped() {
        assert_eq!(escape("a `b` c `d"), "a \\`b\\` c \\`d");
        assert_eq!(escape("``a``"), "\\`\\`a\\`\\`");
        assert_eq!(escape("`a` ` `"), "\\`a\\` \\` \\`");
        assert_eq!(escape("`a|b`"), "\\`a\\|b\\`");
        assert_eq!(escape("`a\u{7}$\u{7}$`"), "\\`a`$`&#8203;`$`\\`");
    }

    #[test]
    fn code_spans_never_touch() {
        assert_eq!(escape("`a``b`"), "`a`&#8203;`b`");
        assert_eq!(escape("$`a`\\"), "`$`&#8203;`a`&#8203;`\\`");
        assert_eq!(escape("\\\\$$\\x"), "`\\\\$`&#8203;`$\\`x");
        assert_eq!(escape("`$"), "\\`&#8203;`$`");
    }

    #[test]
    fn no_formula_begins_outside_of_code() {
        let formulas = [
            "$x$",
            "$$x$$",
            "\\(x\\)",
            "\\[x\\]",
            "\\begin{a}x\\end{a}",
            "a `b $x$",
            "`$$` x `$$`",
            "`\\begin{a}` x `\\end{a}`",
        ];
        for formula in formulas {
            let escaped = escape(formula);
            assert!(!outside_code(&escaped).contains(['$', '\\']), "{escaped}");
            for begin in FORMULAS {
                assert!(!escaped.contains(begin), "{escaped}");
            }
        }
    }

    #[test]
    fn a_cell_keeps_its_border_whatever_stands_in_it() {
        let row = vec!["`a|b`".to_owned(), "`c` | $".to_owned()];
        let columns = vec![Column::text("x"), Column::text("y")];
        let table = report_to_markdown(&Report::new().with_table("", columns, vec![row]));
        let expected = "| \\`a\\|b\\` | `c` \\| `$` |";
        assert_eq!(table.lines().next_back(), Some(expected));
    }

    #[test]
    fn the_beginning_of_a_paragraph_is_text() {
        let starts = [
            ("# a", "\\# a"),
            ("- a", "\\- a"),
            (": a", "\\: a"),
            ("2026. a", "2026\\. a"),
            ("1) a", "1\\) a"),
            ("3.", "3\\."),
            ("1.1.0 is live", "1.1.0 is live"),
            ("\u{7}  # a", "\\# a"),
        ];
        for (text, expected) in starts {
            assert_eq!(escape_start(text), expected);
        }
    }

    #[test]
    fn code_with_fences_stays_inside_its_fence() {
        let report = Report::new().with_code("", "text", "```\nx\n```");
        assert_eq!(report_to_markdown(&report), "````text\n```\nx\n```\n````");
    }

    #[test]
    fn plain_text_of_a_table_without_titles_has_no_head() {
        let columns = vec![Column::text(""), Column::text("")];
        let rows = vec![vec!["Took".to_owned(), "3 s".to_owned()]];
        let report = Report::new().with_table("", columns, rows);
        assert_eq!(report_to_text(&report), "  Took  3 s");
    }

    #[test]
    fn plain_text_wraps_the_last_column_between_words() {
        let long = format!("{} end", vec!["word"; 25].join(" "));
        let columns = vec![Column::text("name"), Column::text("why")];
        let report = Report::new().with_table("", columns, vec![vec!["a".to_owned(), long]]);
        let text = report_to_text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= TEXT_WIDTH));
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[3].starts_with("        word"), "{text}");
        assert!(lines[3].ends_with(" end"), "{text}");
    }

    #[test]
    fn plain_text_tables_are_aligned() {
        let report = Report::new().with_table(
            "",
            vec![Column::text("name"), Column::number("n")],
            vec![
                vec!["a".to_owned(), "10".to_owned()],
                vec!["long".to_owned(), "3".to_owned()],
            ],
        );
        let expected = "  name   n\n  ----  --\n  a     10\n  long   3";
        assert_eq!(report_to_text(&report), expected);
    }
}
