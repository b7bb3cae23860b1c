//! Names of files that somebody else gave, as a terminal may show them.

use async_trait::async_trait;
use code_deploy_engine::Notice;
use code_deploy_engine::context::Answer;
use code_deploy_notebook_gen::Chart;
use code_deploy_record::Report;

use crate::face::Face;

/// A face whose lines hold nothing that steers a terminal or looks like a line of their own. Machines get
/// values as they are.
pub(super) struct Plain<'a>(pub(super) &'a dyn Face);

/// Returns a text with each character that steers a terminal, or the direction of what is read, written out.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn steers(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control()
}

#[async_trait]
impl Face for Plain<'_> {
    fn report(&self, title: &str, report: &Report) {
        self.0.report(title, report);
    }

    fn chart(&self, chart: &Chart) {
        self.0.chart(chart);
    }

    fn text(&self, text: &str) {
        self.0.text(&plain(text));
    }

    fn width(&self) -> Option<usize> {
        self.0.width()
    }

    fn is_for_machines(&self) -> bool {
        self.0.is_for_machines()
    }

    fn value(&self, kind: &str, value: &serde_json::Value) -> bool {
        self.0.value(kind, value)
    }

    fn notice(&self, notice: &Notice) {
        self.0.notice(notice);
    }

    async fn ask(&self, summary: &str) -> Option<Answer> {
        self.0.ask(summary).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let hostile = "a\u{1b}[2Jb\nc\u{9b}\u{202e}\u{2066}ü";
        let written = "a\\u{1b}[2Jb\\nc\\u{9b}\\u{202e}\\u{2066}ü";
        assert_eq!(plain(hostile), written);
    }
}
