//! What was measured, for people and for programs.

use serde_json::{Value, json};

use crate::figure::{Figure, Goal};
use crate::measure::Measured;
use crate::peer::{OURS, REFERENCE, RUST_REFERENCE};

struct Row {
    figure: Figure,
    peer: String,
    samples: usize,
    median: f64,
    p99: f64,
    ratio: Option<f64>,
    reached: Option<bool>,
}

/// Returns a table with a line for each figure and kernel.
pub fn table(measured: &Measured) -> String {
    let mut text = format!(
        "{:<30} {:<17} {:>5} {:>10} {:>10} {:>4} {:>9}  {:<34} {}\n",
        "figure", "kernel", "n", "median", "p99", "unit", "ratio", "goal", "reached"
    );
    for row in rows(measured) {
        let ratio = row
            .ratio
            .map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let (goal, reached) = match row.reached {
            Some(true) => (goal_text(row.figure), "yes"),
            Some(false) => (goal_text(row.figure), "NO"),
            None => (String::new(), ""),
        };
        text.push_str(&format!(
            "{:<30} {:<17} {:>5} {:>10.2} {:>10.2} {:>4} {ratio:>9}  {goal:<34} {reached}\n",
            row.figure.title(),
            row.peer,
            row.samples,
            row.median,
            row.p99,
            row.figure.unit(),
        ));
    }
    text.push_str(&format!(
        "\nRatios are of medians: to {REFERENCE}; of Rust cells to {RUST_REFERENCE}. Below 1.5 between two kernels \
         nothing is a difference.\n"
    ));
    for (remark, times) in &measured.remarks {
        text.push_str(&format!("- {remark} ({times} x)\n"));
    }
    text
}

/// Returns the same as JSON.
pub fn json(measured: &Measured) -> String {
    let row = |row: Row| {
        let goal = row.figure.goal();
        json!({
            "figure": row.figure.title(), "kernel": row.peer, "samples": row.samples,
            "unit": row.figure.unit(), "median": row.median, "p99": row.p99, "ratio": row.ratio,
            "goal": {"median": goal.median, "p99": goal.p99, "ratio": goal.ratio},
            "reached": row.reached,
        })
    };
    let rows: Vec<Value> = rows(measured).into_iter().map(row).collect();
    json!({"figures": rows, "remarks": measured.remarks}).to_string()
}

fn rows(measured: &Measured) -> Vec<Row> {
    let mut rows = Vec::new();
    for figure in Figure::ALL {
        let rust = matches!(figure, Figure::RustFirst | Figure::RustLater);
        let reference = if rust { RUST_REFERENCE } else { REFERENCE };
        let samples = |peer: &str| measured.samples.get(&(figure, peer.to_owned()));
        let reference = samples(reference).map(|samples| quantile(samples, 0.5));
        for peer in &measured.peers {
            let Some(samples) = samples(peer) else {
                continue;
            };
            let (median, p99) = (quantile(samples, 0.5), quantile(samples, 0.99));
            let ratio = reference.map(|reference| median / reference);
            let ours = peer == OURS || peer.contains("echo");
            let reached = ours
                .then(|| reached(figure.goal(), median, p99, ratio))
                .flatten();
            rows.push(Row {
                figure,
                peer: peer.clone(),
                samples: samples.len(),
                median,
                p99,
                ratio,
                reached,
            });
        }
    }
    rows
}

/// Returns whether every part of a goal that could be looked at is reached; nothing when none could.
fn reached(goal: Goal, median: f64, p99: f64, ratio: Option<f64>) -> Option<bool> {
    let within = |value: Option<f64>, goal: Option<f64>| Some(value? <= goal?);
    let parts = [
        within(Some(median), goal.median),
        within(Some(p99), goal.p99),
        within(ratio, goal.ratio),
    ];
    let mut parts = parts.into_iter().flatten().peekable();
    parts.peek()?;
    Some(parts.all(|part| part))
}

fn goal_text(figure: Figure) -> String {
    let (goal, unit) = (figure.goal(), figure.unit());
    let parts = [
        goal.median.map(|goal| format!("<= {goal} {unit}")),
        goal.p99.map(|goal| format!("p99 <= {goal} {unit}")),
        goal.ratio.map(|goal| format!("ratio <= {goal:.3}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns the sample below which that share of all samples lies, by nearest rank.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert!((quantile(&samples, 0.5) - 100.0).abs() < f64::EPSILON);
        assert!((quantile(&samples, 0.99) - 198.0).abs() < f64::EPSILON);
        assert!((quantile(&[7.0], 0.99) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_goal_is_reached_when_each_of_its_parts_is() {
        let goal = Figure::Noop.goal();
        assert_eq!(reached(goal, 0.3, 1.0, Some(0.1)), Some(true));
        assert_eq!(reached(goal, 0.3, 2.0, Some(0.1)), Some(false));
        assert_eq!(reached(goal, 0.3, 1.0, None), Some(true));
        assert_eq!(reached(Figure::RustFirst.goal(), 1.0, 1.0, None), None);
    }
}
