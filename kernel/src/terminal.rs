//! The terminal as a face: lines and bars, or JSON lines.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::context::Answer;
use code_deploy_engine::{Notice, Progress};
use code_deploy_notebook_gen::{Chart, lines_within, report_to_text, report_within};
use code_deploy_record::{Event, EventBody, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::face::Face;
use crate::failure::Failure;
use crate::lines::Teller;

/// The terminal as a face. Quiet bars when it is not a terminal; nothing but JSON lines when that
/// is asked for.
pub struct Terminal {
    json: bool,
    bar: Option<ProgressBar>,
    /// Whether a person reads the lines, so that they are wrapped to the terminal's width.
    wraps: bool,
    user: String,
    teller: Mutex<Teller>,
    /// Lines are written whole also when several tasks write.
    out: Mutex<std::io::Stdout>,
}

impl Terminal {
    /// Returns the face for this process's terminal.
    pub fn new(json: bool, user: String) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            json,
            bar,
            wraps: !json && std::io::stdout().is_terminal(),
            user,
            teller: Mutex::default(),
            out: Mutex::new(std::io::stdout()),
        }
    }

    /// Returns how wide the terminal is now; nothing where lines are for a program.
    fn wraps_at(&self) -> Option<usize> {
        let size = console::Term::stdout()
            .size_checked()
            .filter(|_| self.wraps);
        size.map(|(_, columns)| usize::from(columns))
    }

    /// Writes text, wrapped to the terminal's width.
    fn line(&self, text: &str) {
        match self.wraps_at() {
            Some(width) => self.raw(&lines_within(text, width)),
            None => self.raw(text),
        }
    }

    fn raw(&self, text: &str) {
        let write = || {
            let mut out = self
                .out
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // A reader that went away (a pipe into `head`) is no reason to stop a deployment.
            drop(writeln!(out, "{text}").and_then(|()| out.flush()));
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn json(&self, kind: &str, value: &impl serde::Serialize) {
        if let Ok(value) = serde_json::to_value(value) {
            self.raw(&serde_json::json!({ kind: value }).to_string());
        }
    }

    fn event(&self, event: &Event) {
        if self.json {
            return self.json("event", event);
        }
        self.step(event);
        let told = self
            .teller
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .tell(event);
        if let Some(line) = told {
            self.line(&format!("{}  {line}", event.time.format("%H:%M:%S")));
        }
    }

    /// Says which step works, until it tells more of itself.
    fn step(&self, event: &Event) {
        let Some(bar) = &self.bar else { return };
        match &event.body {
            EventBody::StepIntended { step, .. } => bar.set_message(format!("step {step}")),
            EventBody::StepFinished { .. } => bar.set_message(""),
            _ => {}
        }
    }

    fn progress(&self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        let elapsed = progress.elapsed.as_secs_f64();
        let limit = progress
            .limit
            .map(|limit| format!(" of at most {:.0} s", limit.as_secs_f64()));
        bar.set_message(format!(
            "{} ({elapsed:.0} s{})",
            progress.what,
            limit.unwrap_or_default()
        ));
    }

    /// Shows why a command did not do what was asked, or stopped on the way.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            return self.json(failure.word(), &failure.problem);
        }
        self.finish();
        let text = failure.lines().join("\n");
        let text = match console::Term::stderr().size_checked() {
            Some((_, width)) => lines_within(&text, usize::from(width)),
            None => text,
        };
        drop(writeln!(std::io::stderr(), "{text}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[async_trait]
impl Face for Terminal {
    fn report(&self, title: &str, report: &Report) {
        if self.json {
            return self.json(
                "report",
                &serde_json::json!({ "title": title, "report": report }),
            );
        }
        self.raw(&format!("\n{title}\n{}", "-".repeat(title.chars().count())));
        let text = match self.wraps_at() {
            Some(width) => report_within(report, width),
            None => report_to_text(report),
        };
        self.raw(text.trim_end());
    }

    fn chart(&self, chart: &Chart) {
        if self.json {
            let value = serde_json::json!({ "name": chart.kind.name(), "figures": chart.sentence });
            return self.json("chart", &value);
        }
        self.line(&chart.caption_text());
    }

    fn text(&self, text: &str) {
        if self.json {
            return self.json("text", &text);
        }
        self.line(text);
    }

    fn width(&self) -> Option<usize> {
        // Behind a pipe into a pager the terminal still is where errors go.
        let beside = || console::Term::stderr().size_checked();
        let beside = beside().map(|(_, columns)| usize::from(columns));
        self.wraps_at().or(beside.filter(|_| !self.json))
    }

    fn is_for_machines(&self) -> bool {
        self.json
    }

    fn value(&self, kind: &str, value: &serde_json::Value) -> bool {
        if self.json {
            self.json(kind, value);
        }
        self.json
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Event(event) => self.event(event),
            Notice::Progress(progress) => self.progress(progress),
        }
    }

    async fn ask(&self, summary: &str) -> Option<Answer> {
        if self.json || !std::io::stdin().is_terminal() {
            return None;
        }
        self.finish();
        self.line(summary);
        self.line("Type `go REASON` or `no-go REASON` and press Enter.");
        let mut asking = Asking::default();
        loop {
            // Reading a line from a person blocks a thread of its own, not the runtime.
            let asked = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map(|_| line)
            });
            let line = asked.await.ok()?.ok()?;
            let typed = Some(line.as_str()).filter(|line| !line.is_empty());
            match asking.hear(typed, &self.user) {
                Heard::End(answer) => return answer,
                Heard::Neither => self.line(NEITHER),
            }
        }
    }
}

/// How often a person is asked who gives answers that are none; after that `approve` answers.
const TRIES: usize = 5;

/// A question for go or no-go, which is asked again after an answer that is none.
#[derive(Debug, Default)]
pub struct Asking {
    heard: usize,
}

/// What comes of a line that a person typed.
#[derive(Debug)]
pub enum Heard {
    /// The answer, or nothing where it is no use to ask again.
    End(Option<Answer>),
    /// No answer: the question is to be asked again.
    Neither,
}

impl Asking {
    /// Takes the next line; nothing is the end of all that a person types.
    pub fn hear(&mut self, line: Option<&str>, by: &str) -> Heard {
        self.heard += 1;
        let answer = line.and_then(|line| parse_answer(line, by.to_owned()));
        if answer.is_some() || line.is_none() || self.heard >= TRIES {
            return Heard::End(answer);
        }
        Heard::Neither
    }
}

/// What is said to an answer that is none.
pub const NEITHER: &str =
    "That is neither `go` nor `no-go` with a reason. Type `go REASON` or `no-go REASON`.";

/// Reads a person's answer: `go REASON` or `no-go REASON`. Anything else is no answer.
fn parse_answer(line: &str, by: String) -> Option<Answer> {
    let line = line.trim();
    let (word, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let go = match word.to_ascii_lowercase().as_str() {
        "go" => true,
        "no-go" | "nogo" => false,
        _ => return None,
    };
    let reason = reason.trim();
    // Auditors read why.
    (!reason.is_empty()).then(|| Answer {
        by,
        go,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn a_person_who_gives_no_answer_is_asked_again_a_few_times() {
        let mut asking = Asking::default();
        for line in ["maybe", "go", "\n"] {
            let heard = asking.hear(Some(line), "ann");
            assert!(matches!(heard, Heard::Neither), "{line:?}: {heard:?}");
        }
        let Heard::End(Some(answer)) = asking.hear(Some("no-go the disk is full"), "ann") else {
            panic!("an answer is one");
        };
        assert_eq!((answer.go, answer.by.as_str()), (false, "ann"));

        let mut asking = Asking::default();
        assert!(matches!(asking.hear(None, "ann"), Heard::End(None)));
        let mut asking = Asking::default();
        let asked_again =
            (0..99).take_while(|_| matches!(asking.hear(Some("?"), "ann"), Heard::Neither));
        assert_eq!(asked_again.count(), TRIES - 1);
    }

    #[test]
    fn an_answer_says_go_or_no_go_and_why() {
        let read = |line: &str| parse_answer(line, "ann".to_owned());
        let answer = read(" Go  all is quiet\n").unwrap();
        assert_eq!((answer.go, answer.reason.as_str()), (true, "all is quiet"));
        assert!(!read("no-go the disk is full").unwrap().go);
        for line in ["", "go", "no-go \n", "what?", "yes please"] {
            assert!(read(line).is_none(), "{line:?}");
        }
    }
}
