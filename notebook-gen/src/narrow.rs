//! Reports as plain text for a terminal that is as wide as it is.

use code_deploy_record::{Block, Column, Report};

use crate::markdown::{block_to_text, column_width};

/// The least width to which a column is wrapped, in characters.
const NARROWEST: usize = 16;

/// The least width of a terminal that is respected, in characters.
const LEAST: usize = 40;

/// How far the lines stand in that continue one, in characters.
const HANGING: usize = 4;

/// Returns a report as plain text, of which no line is longer than `width` characters where its
/// words allow that. Columns are wrapped; a table with more columns than there is room for becomes
/// a paragraph for each row.
#[must_use]
pub fn report_within(report: &Report, width: usize) -> String {
    let width = width.max(LEAST);
    let blocks = report.blocks.iter().map(|block| match block {
        Block::Text { text } => lines_within(text, width),
        Block::Table {
            caption,
            columns,
            rows,
        } if !rows.is_empty() => {
            let table = table_within(columns, rows, width);
            if caption.is_empty() {
                table
            } else {
                format!("{}\n{table}", lines_within(caption, width))
            }
        }
        other => block_to_text(other),
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// Returns text of which no line is longer than `width` characters where its words allow that. The
/// lines that continue one stand further in.
#[must_use]
pub fn lines_within(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let (first, next) = (" ".repeat(indent), " ".repeat(indent + HANGING));
        hang(line.trim_start_matches(' '), width, &first, &next)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Wraps a line between its words, which are never broken: one may be a path that somebody copies.
fn hang(text: &str, width: usize, first: &str, next: &str) -> String {
    if first.chars().count() + text.chars().count() <= width {
        return format!("{first}{text}");
    }
    textwrap::wrap(text, options(width, first, next)).join("\n")
}

fn options<'a>(width: usize, first: &'a str, next: &'a str) -> textwrap::Options<'a> {
    textwrap::Options::new(width)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .initial_indent(first)
        .subsequent_indent(next)
}

fn table_within(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    let clean = |entry: &String| entry.replace(['\n', '\r', '\t'], " ");
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(clean).collect())
        .collect();
    match widths_within(columns, &rows, width) {
        Some(widths) => aligned(columns, &rows, &widths),
        None => paragraphs(columns, &rows, width),
    }
}

/// Returns the widths at which all columns have room; nothing where they have none.
fn widths_within(columns: &[Column], rows: &[Vec<String>], width: usize) -> Option<Vec<usize>> {
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|index| column_width(columns, rows, index))
        .collect();
    let least: Vec<usize> = widths
        .iter()
        .enumerate()
        .map(|(index, widest)| (*widest).min(narrowest(columns, rows, index)))
        .collect();
    let room = width.checked_sub(columns.len() * 2)?;
    while widths.iter().sum::<usize>() > room {
        let reducible = (0..widths.len()).filter(|index| widths.get(*index) > least.get(*index));
        let widest = reducible.max_by_key(|index| widths.get(*index).copied())?;
        *widths.get_mut(widest)? -= 1;
    }
    Some(widths)
}

/// Returns the width below which a column's longest word would stand out.
fn narrowest(columns: &[Column], rows: &[Vec<String>], index: usize) -> usize {
    let entries = rows.iter().filter_map(|row| row.get(index));
    let words = entries.flat_map(|entry| entry.split(' '));
    let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
    let title = columns
        .get(index)
        .map_or(0, |one| one.title.chars().count());
    longest.max(title).max(NARROWEST)
}

fn aligned(columns: &[Column], rows: &[Vec<String>], widths: &[usize]) -> String {
    let mut lines = Vec::new();
    if columns.iter().any(|column| !column.title.is_empty()) {
        let titles: Vec<String> = columns.iter().map(|one| one.title.clone()).collect();
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        lines.extend(row_lines(columns, &titles, widths));
        lines.extend(row_lines(columns, &rules, widths));
    }
    for row in rows {
        lines.extend(row_lines(columns, row, widths));
    }
    lines.join("\n")
}

/// Returns the lines of a row whose entries are wrapped each in its column.
fn row_lines(columns: &[Column], row: &[String], widths: &[usize]) -> Vec<String> {
    let wrapped: Vec<Vec<_>> = row
        .iter()
        .zip(widths)
        .map(|(entry, width)| textwrap::wrap(entry, options((*width).max(1), "", "")))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let line = |number: usize| {
        let mut text = String::new();
        for ((parts, column), width) in wrapped.iter().zip(columns).zip(widths) {
            let part = parts.get(number).map_or("", |part| part.as_ref());
            text.push_str("  ");
            text.push_str(&if column.numeric {
                format!("{part:>width$}")
            } else {
                format!("{part:<width$}")
            });
        }
        text.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Returns a paragraph for each row: its first two entries, whose titles stand above all, and below them each other by
/// its title.
fn paragraphs(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    let mut lines = Vec::new();
    let titles: Vec<&str> = columns
        .iter()
        .take(2)
        .map(|one| one.title.as_str())
        .collect();
    let titles = titles.join("  ");
    if !titles.trim().is_empty() {
        lines.push(format!("  {titles}"));
        lines.push(format!("  {}", "-".repeat(titles.chars().count())));
    }
    for row in rows {
        let head: Vec<&str> = row.iter().take(2).map(String::as_str).collect();
        lines.push(hang(&head.join("  "), width, "  ", "      "));
        for (column, entry) in columns.iter().zip(row).skip(2) {
            if !entry.is_empty() {
                let text = format!("{}: {entry}", column.title);
                lines.push(hang(&text, width, "      ", "        "));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest(text: &str) -> usize {
        text.lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0)
    }

    fn texts(titles: &[&str]) -> Vec<Column> {
        titles.iter().copied().map(Column::text).collect()
    }

    #[test]
    fn a_table_that_has_room_is_as_it_is_anywhere() {
        let rows = vec![vec!["a".to_owned(), "10".to_owned()]];
        let report = Report::new().with_table("t", texts(&["name", "n"]), rows);
        assert_eq!(report_within(&report, 80), crate::report_to_text(&report));
    }

    #[test]
    fn long_entries_are_wrapped_each_in_its_column() {
        let long = ["word"; 30].join(" ");
        let rows = vec![vec!["01".to_owned(), long.clone(), long.clone()]];
        let report = Report::new().with_table("", texts(&["Phase", "What", "Cure"]), rows);
        let text = report_within(&report, 80);
        assert!(widest(&text) <= 80, "{text}");
        assert_eq!(text.matches("word").count(), 60, "{text}");
        assert!(
            text.lines()
                .nth(3)
                .is_some_and(|line| line.starts_with("         word"))
        );
    }

    #[test]
    fn a_table_of_more_columns_than_there_is_room_for_becomes_paragraphs() {
        let long = ["word"; 12].join(" ");
        let titles = ["Phase", "Step", "Does", "Undo", "Inside", "Outside"];
        let mut row = vec!["01".to_owned(), "plan.scope".to_owned()];
        row.extend(vec![long; 4]);
        let report = Report::new().with_table("Steps", texts(&titles), vec![row]);
        let text = report_within(&report, 80);
        assert!(widest(&text) <= 80, "{text}");
        assert!(
            text.contains("\n  01  plan.scope\n      Does: word word"),
            "{text}"
        );
    }

    #[test]
    fn lines_that_continue_one_stand_further_in_and_words_stay_whole() {
        let path = "/a/long/path/".repeat(5);
        let text = lines_within(&format!("  next: look at {path}\nend"), 40);
        assert_eq!(text, format!("  next: look at\n      {path}\nend"));
    }
}
