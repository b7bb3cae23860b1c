//! Markdown as text of a terminal.

use code_deploy_record::{Column, Report};
use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::clean;
use crate::narrow::{lines_within, report_within};

/// How far a list stands in within another, in characters.
const INDENT: usize = 2;

/// Returns Markdown as text of which no line is longer than `width` characters where its words allow that.
pub(super) fn markdown_to_text(source: &str, width: usize) -> String {
    let mut writer = Writer {
        width,
        ..Writer::default()
    };
    for event in Parser::new_ext(source, Options::ENABLE_TABLES) {
        writer.take(event);
    }
    writer.flush();
    writer.blocks.join("\n\n")
}

#[derive(Default)]
struct Writer {
    width: usize,
    blocks: Vec<String>,
    /// What is written of the present block.
    text: String,
    /// The lists around it: the number of the next item, where they are numbered.
    lists: Vec<Option<u64>>,
    /// The lines of the outermost list.
    items: Vec<String>,
    /// What stands before the item that is written.
    mark: Option<String>,
    table: Option<Table>,
    /// Where the link that is written leads, with where its text begins.
    link: Option<(String, usize)>,
    is_code: bool,
}

#[derive(Default)]
struct Table {
    columns: Vec<Column>,
    titles: bool,
    rows: Vec<Vec<String>>,
    row: Vec<String>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            // Pages part code spans with a space of no width.
            Event::Text(text) | Event::InlineHtml(text) | Event::Html(text) => {
                self.text.push_str(&clean(&text).replace('\u{200b}', ""));
            }
            // Pages write these as code only so that no formula begins.
            Event::Code(text) if text.chars().all(|one| matches!(one, '$' | '\\')) => {
                self.text.push_str(&text);
            }
            Event::Code(text) => self.text.push_str(&format!("`{}`", clean(&text))),
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => {
                self.flush();
                self.put(&"-".repeat(self.room().min(40)));
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                let within = " ".repeat(INDENT * self.lists.len().saturating_sub(1));
                self.mark = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{within}{}. ", *number - 1)
                    }
                    _ => format!("{within}- "),
                });
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.is_code = true;
            }
            Tag::Table(alignments) => {
                self.flush();
                let numeric = |one: Alignment| one == Alignment::Right;
                let columns = alignments.into_iter().map(|one| match numeric(one) {
                    true => Column::number(""),
                    false => Column::text(""),
                });
                self.table = Some(Table {
                    columns: columns.collect(),
                    ..Table::default()
                });
            }
            Tag::TableHead => {
                if let Some(table) = &mut self.table {
                    table.titles = true;
                }
            }
            Tag::Link { dest_url, .. } => {
                self.link = Some((clean(&dest_url), self.text.len()));
            }
            Tag::Image { .. } => self.text.push_str("(picture) "),
            Tag::Paragraph | Tag::Heading { .. } | Tag::HtmlBlock | Tag::BlockQuote(_) => {
                self.flush();
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph | TagEnd::Item | TagEnd::HtmlBlock => self.flush(),
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
                if self.lists.is_empty() && !self.items.is_empty() {
                    let items = std::mem::take(&mut self.items);
                    self.blocks.push(items.join("\n"));
                }
            }
            TagEnd::CodeBlock => {
                let text = std::mem::take(&mut self.text);
                let lines = text.trim_end().lines().map(|line| format!("    {line}"));
                self.put(&lines.collect::<Vec<_>>().join("\n"));
                self.is_code = false;
            }
            TagEnd::TableCell => {
                let entry = std::mem::take(&mut self.text);
                if let Some(table) = &mut self.table {
                    table.row.push(entry);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    let report = Report::new().with_table("", table.columns, table.rows);
                    self.put(&report_within(&report, self.room()));
                }
            }
            TagEnd::Link => self.end_link(),
            _ => {}
        }
    }

    /// A link to another place is named behind its text; one within the notebook leads nowhere here.
    fn end_link(&mut self) {
        let Some((to, from)) = self.link.take() else {
            return;
        };
        let is_named = self.text.get(from..) == Some(to.as_str());
        if !is_named && !to.starts_with('#') {
            self.text.push_str(&format!(" ({to})"));
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let text = std::mem::take(&mut self.text);
        let room = self.room();
        let shown = lines_within(text.trim(), room);
        let line = match level {
            HeadingLevel::H1 => "=",
            HeadingLevel::H2 => "-",
            _ => return self.put(&shown),
        };
        let lengths = shown.lines().map(|line| line.chars().count());
        let rule = line.repeat(lengths.max().unwrap_or(0).min(room));
        self.put(&format!("{shown}\n{rule}"));
    }

    /// Returns how far in the text of the present item stands.
    fn indent(&self) -> usize {
        INDENT * self.lists.len()
    }

    /// Returns how wide a block may be where it stands.
    fn room(&self) -> usize {
        self.width.saturating_sub(self.indent())
    }

    /// Puts a block where it stands: among the lines of the list that is open, or on its own.
    fn put(&mut self, block: &str) {
        if self.lists.is_empty() {
            self.blocks.push(block.to_owned());
            return;
        }
        let mark = self.mark.take();
        self.items
            .extend(mark.map(|mark| mark.trim_end().to_owned()));
        let within = " ".repeat(self.indent());
        let lines = block.lines().map(|line| format!("{within}{line}"));
        self.items.extend(lines);
    }

    /// Ends the paragraph or the item that is written.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() || self.is_code {
            return;
        }
        if self.lists.is_empty() {
            self.blocks.push(lines_within(text.trim(), self.width));
            return;
        }
        let mark = self.mark.take();
        let within = " ".repeat(self.indent());
        let mark = mark.unwrap_or(within);
        self.items
            .push(lines_within(&format!("{mark}{}", text.trim()), self.width));
    }
}

impl Table {
    fn end_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if !std::mem::take(&mut self.titles) {
            self.rows.push(row);
            return;
        }
        for (column, title) in self.columns.iter_mut().zip(row) {
            column.title = title;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::markdown_to_text;

    #[test]
    fn headings_lists_tables_and_links_are_read_as_text() {
        let source = "# One\n\nA **bold** [place](04_x.ipynb) and [below](#There), `code`.\n\n## There\n\n- a\n- b\n  \
                      1. c\n\n| Name | Count |\n|:---|---:|\n| x \\| y | 10 |\n\n```text\nline\n```\n";
        let expected = "One\n===\n\nA bold place (04_x.ipynb) and below, `code`.\n\nThere\n-----\n\n- a\n- b\n  1. c\n\n  \
                        Name   Count\n  -----  -----\n  x | y     10\n\n    line";
        assert_eq!(markdown_to_text(source, 80), expected);
    }

    #[test]
    fn what_stands_in_a_list_stays_in_its_place() {
        let code = markdown_to_text("- a\n\n  ```\n  code\n  ```\n- b", 80);
        assert_eq!(code, "- a\n      code\n- b");
        let heading = markdown_to_text("- a\n  # h\n- b", 80);
        assert_eq!(heading, "- a\n  h\n  =\n- b");
        let first = markdown_to_text("- ```\n  code\n  ```\n- b", 80);
        assert_eq!(first, "-\n      code\n- b");
        let table = markdown_to_text("- a\n\n  | n |\n  |---|\n  | 1 |\n\n- b", 80);
        assert_eq!(table, "- a\n    n\n    -\n    1\n- b");
    }

    #[test]
    fn headings_are_wrapped_and_their_rule_is_no_longer_than_the_width() {
        let text = markdown_to_text(&format!("# {}", ["word"; 20].join(" ")), 40);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 40), "{text}");
        assert_eq!(text.matches("word").count(), 20);
        let rule = text.lines().next_back();
        assert!(rule.is_some_and(|rule| rule.starts_with("==")), "{text}");
    }

    #[test]
    fn signs_that_pages_write_as_code_are_read_as_themselves() {
        let text = markdown_to_text(&crate::markdown::escape("$$5 and C:\\x, `y`"), 80);
        assert_eq!(text, "$$5 and C:\\x, `y`");
    }

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let text = markdown_to_text(&["word"; 40].join(" "), 40);
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert_eq!(text.matches("word").count(), 40);
    }
}
