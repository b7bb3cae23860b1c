//! What the display of a command shows: where the run stands, each gate, shares of traffic, what
//! is under way, time spent and expected, a chart, and what happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::Progress;
use code_deploy_jupyter::MimeBundle;
use code_deploy_record::{
    Clock as _, Event, EventBody, GateEvaluated, RunId, Standstills, StepName, SystemClock,
};
use tokio::time::Instant;

use super::look::Look;
use crate::html;
use crate::lines::Teller;
use crate::magic::as_magics;

/// Lines of what happened that the display keeps; the record has all.
const LINES: usize = 40;
/// Answers of gates that the display keeps: more than a release asks.
const GATES: usize = 24;

/// What stands first once the stop button was heard.
const STOPPING: &str = "stops at its next safe point; the stop button once more ends it now";

/// What the display of a command shows.
pub struct Live {
    began: Instant,
    ended: Option<(Instant, DateTime<Utc>)>,
    /// Those since it began.
    standstills: Standstills,
    lines: VecDeque<String>,
    teller: Teller,
    left_out: usize,
    gates: Vec<[String; 4]>,
    traffic: BTreeMap<String, String>,
    step: Option<StepName>,
    progress: Option<Progress>,
    look: Option<Look>,
    /// A run that is over and shown elsewhere: a look at it may still be on its way.
    not_of: Option<RunId>,
    /// Whether the run that is shown has ended.
    is_run_over: bool,
    /// That run, as far as a look told which one it is.
    over: Option<RunId>,
    /// Whether a person is asked something.
    is_asking: bool,
    /// Whether somebody wants it to stop.
    is_stopping: bool,
    moved: bool,
}

impl Live {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            ended: None,
            standstills: Standstills::default(),
            lines: VecDeque::new(),
            teller: Teller::default(),
            left_out: 0,
            gates: Vec::new(),
            traffic: BTreeMap::new(),
            step: None,
            progress: None,
            look: None,
            not_of: None,
            is_run_over: false,
            over: None,
            is_asking: false,
            is_stopping: false,
            moved: false,
        }
    }

    pub fn event(&mut self, event: &Event) {
        self.standstills.note(event);
        match &event.body {
            EventBody::TrafficShifted {
                service, served, ..
            } => {
                let shares: Vec<_> = served
                    .iter()
                    .map(|(r, share)| format!("{r} {share} %"))
                    .collect();
                self.traffic.insert(service.clone(), shares.join(", "));
            }
            EventBody::GateEvaluated(gate) => self.gate(gate),
            EventBody::RunFinished { outcome, summary } => {
                self.is_run_over = true;
                self.over = self.look.as_ref().map(|look| look.run.clone());
                if let Some(look) = &mut self.look {
                    look.stands = as_magics(&format!("{}: {summary}", outcome.words()));
                }
            }
            EventBody::StepIntended { step, .. } => self.step = Some(step.clone()),
            EventBody::StepFinished { .. } => {
                self.step = None;
                self.progress = None;
            }
            _ => {}
        }
        let Some(line) = self.teller.tell(event) else {
            return;
        };
        self.lines.push_back(format!(
            "{}  {}",
            event.time.format("%H:%M:%S"),
            as_magics(&line)
        ));
        if self.lines.len() > LINES {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.moved = true;
    }

    /// Returns what shows the run that begins with this event, where another run has ended in what is shown here.
    pub fn next_run(&self, event: &Event) -> Option<Self> {
        let begins = matches!(&event.body, EventBody::PhaseStarted { phase } if phase.get() == 1);
        (begins && self.is_run_over).then(|| Self {
            not_of: self.over.clone(),
            is_stopping: self.is_stopping,
            ..Self::new()
        })
    }

    fn gate(&mut self, gate: &GateEvaluated) {
        let (name, subject) = (gate.gate.word().to_owned(), gate.subject.clone());
        self.gates
            .retain(|known| known[0] != name || known[1] != subject);
        if self.gates.len() == GATES {
            self.gates.remove(0);
        }
        self.gates
            .push([name, subject, gate.word().to_owned(), gate.reason.clone()]);
    }

    pub fn progress(&mut self, progress: &Progress) {
        self.progress = Some(progress.clone());
        self.moved = true;
    }

    /// Says first of all that the stop button was heard.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.tick();
    }

    /// Says whether a person is asked something.
    pub fn ask(&mut self, is_asking: bool) {
        self.is_asking = is_asking;
        self.tick();
    }

    /// Takes what the record says meanwhile.
    pub fn look(&mut self, look: Look) {
        // The next run is in the record before its first phase begins, and is not what is shown here.
        let is_of_next = match &self.over {
            Some(over) => *over != look.run,
            // No event tells which run ends: what goes on is not known to be that one.
            None => self.is_run_over && !look.is_ended,
        };
        if is_of_next || self.not_of.as_ref() == Some(&look.run) {
            return;
        }
        if self.is_run_over {
            self.over = Some(look.run.clone());
        }
        if look.nothing_serves {
            self.traffic.clear();
        }
        self.look = Some(look);
        self.tick();
    }

    /// Lets the time that is spent be shown as it is now, where something is shown at all.
    pub fn tick(&mut self) {
        self.moved |= self.shows();
    }

    fn shows(&self) -> bool {
        !self.lines.is_empty() || self.progress.is_some()
    }

    /// Takes the progress away: nothing is under way any more, and what is shown stays.
    pub fn settle(&mut self) {
        self.progress = None;
        self.step = None;
        self.is_stopping = false;
        self.ended = Some((Instant::now(), SystemClock.now()));
        self.moved = self.shows();
    }

    /// Says what is under way; nothing where that is not known.
    pub fn under_way(&self) -> Option<String> {
        if self.is_asking {
            return Some("the answer to its question".to_owned());
        }
        let progress = self.progress.as_ref().map(progress_line);
        progress.or_else(|| self.step.as_ref().map(|step| format!("step {step}")))
    }

    /// Returns what is to be shown when it has changed since the last call.
    pub fn take(&mut self) -> Option<MimeBundle> {
        std::mem::take(&mut self.moved)
            .then(|| MimeBundle::text(self.text()).with("text/html", self.html()))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if self.is_stopping {
            text.push_str(&format!("{STOPPING}\n"));
        }
        if self.left_out > 0 {
            text.push_str(&self.earlier());
            text.push('\n');
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(look) = &self.look {
            text.push_str(&format!("stands  {}: {}\n", look.what, look.stands));
        }
        for (service, shares) in &self.traffic {
            text.push_str(&format!("{}  {service}: {shares}\n", self.traffic_word()));
        }
        if let Some(what) = self.under_way() {
            text.push_str(&format!("now  {what}\n"));
        }
        text.push_str(&self.time());
        text
    }

    fn html(&self) -> String {
        let mut parts = vec![self.heading()];
        if !self.gates.is_empty() {
            let rows: Vec<_> = self.gates.iter().map(|gate| gate.to_vec()).collect();
            parts.push(html::table(&["Gate", "Of", "Answer", "Why"], &rows));
        }
        if !self.traffic.is_empty() {
            let rows: Vec<_> = self
                .traffic
                .iter()
                .map(|(service, shares)| vec![service.clone(), shares.clone()])
                .collect();
            parts.push(html::table(&[self.traffic_word(), "Served"], &rows));
        }
        if let Some(chart) = self.look.as_ref().and_then(|look| look.chart.as_ref()) {
            parts.push(chart.html());
        }
        if !self.lines.is_empty() {
            let mut lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
            let earlier = self.earlier();
            if self.left_out > 0 {
                lines.insert(0, &earlier);
            }
            parts.push(format!("<pre>{}</pre>", html::escape(&lines.join("\n"))));
        }
        format!("<div>{}</div>", parts.concat())
    }

    fn heading(&self) -> String {
        let stands = self.look.as_ref();
        let stands = stands.map(|look| format!("{}: {}", look.what, look.stands));
        let now = self.under_way().map(|what| format!("now {what}"));
        let stopping = self.is_stopping.then(|| STOPPING.to_owned());
        let parts: Vec<String> = [stopping, stands, now, Some(self.time())]
            .into_iter()
            .flatten()
            .map(|part| html::sentence(&part))
            .collect();
        format!("<p>{}</p>", parts.join("<br>"))
    }

    /// What stays in the notebook does not call the past now.
    fn traffic_word(&self) -> &'static str {
        match self.ended {
            Some(_) => "Traffic when this ended",
            None => "Traffic now",
        }
    }

    fn earlier(&self) -> String {
        format!("({} earlier lines are in the record)", self.left_out)
    }

    fn time(&self) -> String {
        let now = || (Instant::now(), SystemClock.now());
        let (until, moment) = self.ended.unwrap_or_else(now);
        let passed = self.standstills.until(moment);
        let stood = passed.stood_still().to_std().unwrap_or_default();
        let spent = until.saturating_duration_since(self.began);
        let spent = spent.saturating_sub(stood);
        let word = if self.ended.is_some() {
            "took"
        } else {
            "spent"
        };
        let expected = self.look.as_ref().and_then(|look| look.expected);
        let expected = expected.map_or(String::new(), |expected| {
            format!(", planned for {}", seconds(expected))
        });
        let stood = passed.stood_in_words();
        format!("time {word} {}{expected}{stood}", seconds(spent))
    }
}

fn progress_line(progress: &Progress) -> String {
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

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use code_deploy_record::{Direction, Outcome, PhaseNumber, RunOutcome};

    use super::*;
    use crate::fixtures;

    fn event(body: EventBody) -> Event {
        fixtures::event(0, body)
    }

    const ONE: &str = "20261130T143333676Z-dev-local-d92c";
    const TWO: &str = "20261130T143433676Z-dev-local-d92d";

    fn look(run: &str) -> Look {
        Look {
            run: run.parse().unwrap(),
            is_ended: false,
            what: "1.0.0 to dev on local".to_owned(),
            stands: "in handover (09)".to_owned(),
            nothing_serves: false,
            expected: None,
            chart: None,
        }
    }

    fn begins() -> Event {
        let phase = PhaseNumber::new(1).unwrap();
        event(EventBody::PhaseStarted { phase })
    }

    fn finished() -> Event {
        event(EventBody::RunFinished {
            outcome: RunOutcome::Succeeded,
            summary: "all services run 1.0.0".to_owned(),
        })
    }

    #[test]
    fn a_run_that_ended_before_anybody_looked_is_not_taken_for_the_one_after_it() {
        let mut live = Live::new();
        live.event(&begins());
        live.event(&finished());
        let of_two = || Look {
            what: "2.0.0 to dev on local".to_owned(),
            ..look(TWO)
        };
        live.look(of_two());
        assert!(!shown(&mut live).contains("2.0.0 to dev"));
        let mut next = live.next_run(&begins()).unwrap();
        next.event(&begins());
        next.look(of_two());
        assert!(shown(&mut next).contains("2.0.0 to dev"));
        // A later look at the one that ended is still shown with it.
        live.look(Look {
            is_ended: true,
            ..look(ONE)
        });
        live.look(of_two());
        let text = shown(&mut live);
        assert!(
            text.contains("1.0.0 to dev") && !text.contains("2.0.0 to dev"),
            "{text}"
        );
    }

    #[test]
    fn a_run_after_another_one_is_shown_by_itself_and_the_first_one_as_ended() {
        let (one, two, begins) = (ONE, TWO, begins());
        let mut live = Live::new();
        assert!(live.next_run(&begins).is_none());
        live.event(&begins);
        assert!(live.next_run(&begins).is_none());
        live.look(look(one));
        live.event(&finished());
        // The run after it is in the record already, and has not begun its first phase.
        live.look(Look {
            stands: "0 of 9 phases done".to_owned(),
            ..look(two)
        });
        let mut next = live.next_run(&begins).unwrap();
        live.settle();
        let text = shown(&mut live);
        let ended = "1.0.0 to dev on local: succeeded: all services run 1.0.0";
        assert!(text.contains(ended), "{text}");
        next.look(look(one));
        assert_eq!(shown(&mut next), "");
        next.event(&begins);
        next.look(look(two));
        assert!(shown(&mut next).contains("in handover (09)"));
    }

    #[test]
    fn a_pause_is_told_apart_from_the_time_that_is_spent() {
        let mut live = Live::new();
        live.event(&fixtures::event(100, fixtures::paused()));
        live.event(&fixtures::event(130, fixtures::resumed()));
        let text = shown(&mut live);
        assert!(text.contains("time spent 0 s; paused for 30 s"), "{text}");
    }

    fn shown(live: &mut Live) -> String {
        let bundle = live.take().map(|bundle| format!("{bundle:?}"));
        bundle.unwrap_or_default()
    }

    #[test]
    fn what_is_under_way_goes_with_its_step_and_a_stop_that_was_heard_stands_first() {
        let mut live = Live::new();
        let progress = Progress {
            what: "smoke: buy".to_owned(),
            elapsed: Duration::ZERO,
            limit: None,
            share: None,
        };
        live.progress(&progress);
        live.stop();
        let text = shown(&mut live);
        assert!(
            text.contains("smoke: buy") && text.contains(STOPPING),
            "{text}"
        );
        assert_eq!(live.under_way().as_deref(), Some("smoke: buy (0 s)"));
        live.event(&event(EventBody::StepFinished {
            step: "release.smoke".parse().unwrap(),
            direction: Direction::Apply,
            outcome: Outcome::Done,
            duration_us: 1,
            problem: None,
        }));
        assert_eq!(live.under_way(), None);
        live.settle();
        assert!(!shown(&mut live).contains(STOPPING));
    }
}
