//! A run in words, for whoever looks at a seed.

use crate::run::Report;
use crate::world::{Entry, What};

/// Returns what went wrong on purpose at an entry of the log, if something did.
#[must_use]
pub fn fault(entry: &Entry) -> Option<String> {
    let who = entry
        .process
        .map_or_else(String::new, |process| format!("process {process}: "));
    let what = match &entry.what {
        What::Fault(text) => text.clone(),
        What::LeaseRanOut => "the lease ran out".to_owned(),
        What::Ended(how) => format!("ended {how}"),
        What::LockTaken(fencing) => format!("holds the lock under {fencing}"),
        _ => return None,
    };
    Some(format!("{:>9.3} s  {who}{what}", entry.at.as_secs_f64()))
}

/// Returns a report in words.
#[must_use]
pub fn report(report: &Report) -> String {
    let outcome = report
        .outcome
        .map_or("no outcome", |outcome| outcome.words());
    let mut text = format!(
        "seed {}: {outcome}, {} processes, {} events, {} points, {:.1} s simulated, journal {}\n",
        report.seed,
        report.processes,
        report.events,
        report.points,
        report.took.as_secs_f64(),
        report.digest.short(),
    );
    if !report.summary.is_empty() {
        text.push_str(&format!("  {}\n", report.summary));
    }
    for fault in &report.faults {
        text.push_str(&format!("  {fault}\n"));
    }
    for violation in &report.violations {
        text.push_str(&format!(
            "  NOT KEPT {:?}: {}\n",
            violation.invariant, violation.what
        ));
    }
    text
}
