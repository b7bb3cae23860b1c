//! A notebook cell as a face: a live display of what the run does, reports and charts below it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use code_deploy_engine::Notice;
use code_deploy_engine::context::Answer;
use code_deploy_jupyter::{CellOutput, MimeBundle};
use code_deploy_notebook_gen::{Chart, report_to_markdown, report_to_text};
use code_deploy_record::Report;
use serde_json::json;
use tokio::sync::Notify;

use super::live::Live;
use super::look::Look;
use crate::face::Face;
use crate::magic::as_magics;
use crate::show::status;
use crate::terminal::{Asking, Heard, NEITHER};

/// A notebook cell as a face. Methods only take note; [`flush`](Self::flush) sends.
pub struct CellFace {
    user: String,
    out: CellOutput,
    noted: Mutex<Noted>,
    changed: Notify,
}

struct Noted {
    waiting: VecDeque<Piece>,
    live: Live,
    /// The last states of displays whose runs have ended, while the command goes on with another run.
    ended: Vec<MimeBundle>,
}

enum Piece {
    Text(String),
    Report(String, Report),
    Chart(Box<Chart>),
}

impl CellFace {
    /// Returns the face of a cell.
    pub fn new(user: String, out: CellOutput) -> Self {
        Self {
            user,
            out,
            noted: Mutex::new(Noted {
                waiting: VecDeque::new(),
                live: Live::new(),
                ended: Vec::new(),
            }),
            changed: Notify::new(),
        }
    }

    fn note(&self, take: impl FnOnce(&mut Noted)) {
        take(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to send. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the live display's content when it has changed since the last call.
    pub fn live(&self) -> Option<MimeBundle> {
        self.lock().live.take()
    }

    /// Returns the last states of displays that another one follows.
    pub fn ended(&self) -> Vec<MimeBundle> {
        std::mem::take(&mut self.lock().ended)
    }

    /// Says what is under way; nothing where that is not known.
    pub fn under_way(&self) -> Option<String> {
        self.lock().live.under_way()
    }

    /// Says first of all that the stop button was heard.
    pub fn stop(&self) {
        self.note(|noted| noted.live.stop());
    }

    /// Takes what the record says meanwhile.
    pub fn look(&self, look: Look) {
        self.note(|noted| noted.live.look(look));
    }

    /// Lets the time that is spent be shown as it is now.
    pub fn tick(&self) {
        self.note(|noted| noted.live.tick());
    }

    /// Sends what is waiting, in order.
    pub async fn flush(&self) {
        loop {
            let piece = self.lock().waiting.pop_front();
            match piece {
                None => return,
                Some(Piece::Text(text)) => self.out.stdout(format!("{text}\n")).await,
                Some(Piece::Report(title, report)) => {
                    self.out
                        .display(&report_bundle(&title, &report), json!({}))
                        .await;
                }
                Some(Piece::Chart(chart)) => self.send_chart(&chart).await,
            }
        }
    }

    async fn send_chart(&self, chart: &Chart) {
        if let Some((bundle, metadata)) = picture_bundle(chart) {
            self.out.display(&bundle, metadata).await;
        }
        let caption = MimeBundle::text(chart.caption_text());
        self.out
            .display(
                &caption.with("text/markdown", chart.caption_markdown()),
                json!({}),
            )
            .await;
    }

    async fn answer(&self, summary: &str) -> Option<Answer> {
        let mut prompt = format!("{summary}\nType `go REASON` or `no-go REASON`: ");
        let mut asking = Asking::default();
        loop {
            let line = self.out.ask(&prompt, false).await.ok()?;
            match asking.hear(Some(&line), &self.user) {
                Heard::End(answer) => return answer,
                Heard::Neither => prompt = format!("{NEITHER} "),
            }
        }
    }

    /// Takes the progress away: nothing is under way any more.
    pub fn settle(&self) {
        self.note(|noted| noted.live.settle());
    }
}

/// Returns a report as an output: Markdown where it is shown, text where it is not.
pub fn report_bundle(title: &str, report: &Report) -> MimeBundle {
    let (mut markdown, mut text) = (report_to_markdown(report), report_to_text(report));
    // What the record holds reads as in the notebooks that are made of it; where a run stands is told to whoever asks.
    if title == status::TITLE {
        (markdown, text) = (as_magics(&markdown), as_magics(&text));
    }
    MimeBundle::text(format!("{title}\n\n{text}"))
        .with("text/markdown", format!("### {title}\n\n{markdown}"))
}

/// Returns a chart's picture as an output with its metadata, when there is one.
pub fn picture_bundle(chart: &Chart) -> Option<(MimeBundle, serde_json::Value)> {
    let (picture, alt) = (chart.picture.as_ref()?, chart.alternative());
    let bundle = MimeBundle::text(alt.clone()).with("image/png", picture.png_base64());
    let shown = json!({ "width": picture.width, "height": picture.height, "alt": alt });
    Some((bundle, json!({ "image/png": shown })))
}

#[async_trait]
impl Face for CellFace {
    fn report(&self, title: &str, report: &Report) {
        self.note(|n| {
            n.waiting
                .push_back(Piece::Report(title.to_owned(), report.clone()))
        });
    }

    fn chart(&self, chart: &Chart) {
        self.note(|n| n.waiting.push_back(Piece::Chart(Box::new(chart.clone()))));
    }

    fn text(&self, text: &str) {
        self.note(|n| n.waiting.push_back(Piece::Text(as_magics(text))));
    }

    fn value(&self, _kind: &str, _value: &serde_json::Value) -> bool {
        false
    }

    fn notice(&self, notice: &Notice) {
        self.note(|noted| match notice {
            Notice::Event(event) => {
                if let Some(next) = noted.live.next_run(event) {
                    noted.live.settle();
                    noted.ended.extend(noted.live.take());
                    noted.live = next;
                }
                noted.live.event(event);
            }
            Notice::Progress(progress) => noted.live.progress(progress),
        });
    }

    async fn ask(&self, summary: &str) -> Option<Answer> {
        self.flush().await;
        self.note(|noted| noted.live.ask(true));
        let answer = self.answer(summary).await;
        self.note(|noted| noted.live.ask(false));
        answer
    }
}
