//! A notebook cell as a face: a live display of what the run does, reports and charts below it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::context::Answer;
use code_deploy_engine::{Notice, Progress};
use code_deploy_jupyter::{CellOutput, MimeBundle};
use code_deploy_notebook_gen::{Chart, report_to_markdown, report_to_text};
use code_deploy_record::{Event, EventBody, Report};
use serde_json::json;
use tokio::sync::Notify;

use crate::face::Face;
use crate::lines::Teller;
use crate::terminal::parse_answer;

/// Lines of what happened that the live display keeps; the record has all.
const LINES: usize = 40;

/// A notebook cell as a face. Methods only take note; [`flush`](Self::flush) sends.
pub struct CellFace {
    user: String,
    out: CellOutput,
    noted: Mutex<Noted>,
    changed: Notify,
}

#[derive(Default)]
struct Noted {
    waiting: VecDeque<Piece>,
    lines: VecDeque<String>,
    teller: Teller,
    left_out: usize,
    traffic: BTreeMap<String, String>,
    progress: Option<Progress>,
    moved: bool,
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
            noted: Mutex::default(),
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
        let mut noted = self.lock();
        std::mem::take(&mut noted.moved).then(|| noted.render())
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

    /// Takes the progress away: nothing is under way any more.
    pub fn settle(&self) {
        self.note(|noted| {
            noted.progress = None;
            noted.moved = !noted.lines.is_empty();
        });
    }
}

impl Noted {
    fn event(&mut self, event: &Event) {
        if let EventBody::TrafficShifted {
            service, served, ..
        } = &event.body
        {
            let shares: Vec<_> = served
                .iter()
                .map(|(r, share)| format!("{r} {share} %"))
                .collect();
            self.traffic.insert(service.clone(), shares.join(", "));
        }
        let Some(line) = self.teller.tell(event) else {
            return;
        };
        self.lines
            .push_back(format!("{}  {line}", event.time.format("%H:%M:%S")));
        if self.lines.len() > LINES {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.moved = true;
    }

    fn render(&self) -> MimeBundle {
        let mut text = String::new();
        if self.left_out > 0 {
            text.push_str(&format!(
                "({} earlier lines are in the record)\n",
                self.left_out
            ));
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        for (service, shares) in &self.traffic {
            text.push_str(&format!("traffic now  {service}: {shares}\n"));
        }
        if let Some(progress) = &self.progress {
            text.push_str(&format!("now  {}\n", progress_line(progress)));
        }
        MimeBundle::text(text.trim_end())
    }
}

fn progress_line(progress: &Progress) -> String {
    let seconds = |duration: Duration| format!("{:.0} s", duration.as_secs_f64());
    let limit = progress
        .limit
        .map(|limit| format!(" of at most {}", seconds(limit)));
    format!(
        "{} ({}{})",
        progress.what,
        seconds(progress.elapsed),
        limit.unwrap_or_default()
    )
}

/// Returns a report as an output: Markdown where it is shown, text where it is not.
pub fn report_bundle(title: &str, report: &Report) -> MimeBundle {
    let markdown = format!("### {title}\n\n{}", report_to_markdown(report));
    MimeBundle::text(format!("{title}\n\n{}", report_to_text(report)))
        .with("text/markdown", markdown)
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
        self.note(|n| n.waiting.push_back(Piece::Text(text.to_owned())));
    }

    fn value(&self, _kind: &str, _value: &serde_json::Value) -> bool {
        false
    }

    fn notice(&self, notice: &Notice) {
        self.note(|noted| match notice {
            Notice::Event(event) => noted.event(event),
            Notice::Progress(progress) => {
                noted.progress = Some(progress.clone());
                noted.moved = true;
            }
        });
    }

    async fn ask(&self, summary: &str) -> Option<Answer> {
        self.flush().await;
        let prompt = format!("{summary}\nType `go REASON` or `no-go REASON`: ");
        let line = self.out.ask(&prompt, false).await.ok()?;
        parse_answer(&line, self.user.clone())
    }
}
