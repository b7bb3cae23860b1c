//! `record`: entries of a run's record.

use std::collections::VecDeque;

use code_deploy_record::{Event, RunFolder};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::lines::line_of;
use crate::show::follow;

/// The most entries that `--last` keeps in memory.
const MOST: usize = 100_000;

/// Shows the entries of a record that are of one of the kinds; all when none is given.
pub async fn record(
    run: &RunFolder,
    kinds: &[String],
    last: Option<usize>,
    watch: bool,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let wanted = |event: &Event| kinds.is_empty() || kinds.contains(&kind_of(event));
    let mut kept = VecDeque::new();
    let mut next = 0;
    for event in run.events()? {
        let event = event?;
        next = event.seq + 1;
        if !wanted(&event) {
            continue;
        }
        match last {
            None => show(&event, face),
            Some(last) => {
                kept.push_back(event);
                if kept.len() > last.min(MOST) {
                    kept.pop_front();
                }
            }
        }
    }
    kept.iter().for_each(|event| show(event, face));
    if watch && run.state()?.finished.is_none() {
        let each = |event: Event| {
            if wanted(&event) {
                show(&event, face);
            }
        };
        follow::follow(run, next, each).await?;
    }
    Ok(Exit::Done)
}

fn kind_of(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_default();
    value
        .get("kind")
        .and_then(|kind| kind.as_str())
        .unwrap_or_default()
        .to_owned()
}

fn show(event: &Event, face: &dyn Face) {
    if let Ok(value) = serde_json::to_value(event) {
        face.value(&value);
    }
    let time = event.time.format("%H:%M:%S%.3f");
    let line = line_of(event).unwrap_or_else(|| kind_of(event));
    let (seq, actor) = (event.seq, &event.actor);
    face.text(&format!(
        "{seq:>5}  {time}  {actor:<8}  {}",
        line.trim_start()
    ));
}
