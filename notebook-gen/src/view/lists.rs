//! Lists of one kind of entry each.

use std::collections::BTreeSet;

use chrono::DateTime;
use code_deploy_record::{Column, Release, Report, Source, StepStatus};

use crate::facts::Facts;
use crate::format::{bytes, clock, count, duration, percent};
use crate::series::{Bins, Key, Point, Series};
use crate::view::steps::direction_word;
use crate::view::{columns, row};

/// Rows of a list that are shown; the caption says how many there are.
const MOST: usize = 300;

pub(super) fn table(
    caption: &str,
    titles: Vec<Column>,
    mut rows: Vec<Vec<String>>,
    none: &str,
) -> Report {
    if rows.is_empty() {
        return Report::new().with_text(none);
    }
    let all = rows.len();
    rows.truncate(MOST);
    let caption = if all > MOST {
        format!("{caption} (the first {MOST} of {all}; the record holds all)")
    } else {
        caption.to_owned()
    };
    Report::new().with_table(caption, titles, rows)
}

pub(super) fn findings(facts: &Facts) -> Report {
    let mut findings: Vec<_> = facts.findings.iter().collect();
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.what.severity), finding.seq));
    let rows = findings.iter().map(|finding| {
        let what = &finding.what;
        let severity = format!("{:?}", what.severity).to_lowercase();
        let seq = finding.seq.to_string();
        row([
            &severity,
            &what.rule,
            &what.place,
            &what.message,
            &what.cure,
            &seq,
        ])
    });
    let titles = columns(["Severity", "Rule", "Where", "What", "Cure", "Event"]);
    table("Findings", titles, rows.collect(), "Nothing was found.")
}

pub(super) fn traffic(facts: &Facts) -> Report {
    let rows = facts.shifts.iter().map(|shift| {
        let served = shift.what.served.iter();
        let served: Vec<String> = served.map(|(r, share)| format!("{r}: {share} %")).collect();
        let (time, seq) = (clock(shift.time), shift.seq.to_string());
        let stable = shift.what.stable.as_str();
        row([
            &time,
            &shift.what.service,
            &served.join(", "),
            stable,
            &shift.what.reason,
            &seq,
        ])
    });
    let titles = columns([
        "Time (UTC)",
        "Service",
        "Served, as read back",
        "Stable",
        "Why",
        "Event",
    ]);
    table(
        "Moves of traffic",
        titles,
        rows.collect(),
        "No traffic was moved.",
    )
}

/// Returns the step that stopped a service's instances of a release on purpose, if one did.
fn stopped_by(facts: &Facts, service: &str, release: &Release) -> Option<String> {
    let green = format!("release.green.{service}");
    let stops = |step: &str, status: StepStatus| match step {
        "finish.old-release" => {
            status == StepStatus::Done && facts.started.from.as_ref() == Some(release)
        }
        step => step == green && status == StepStatus::Undone && facts.started.to == *release,
    };
    let mut steps = facts.state.steps.iter();
    let found = steps.find(|(step, state)| stops(step.as_str(), state.status))?;
    Some(match found.1.status {
        StepStatus::Undone => format!("the undo of {}", found.0),
        _ => found.0.to_string(),
    })
}

pub(super) fn health(facts: &Facts) -> Report {
    let mut on_purpose: BTreeSet<String> = BTreeSet::new();
    let rows = facts
        .state
        .health
        .iter()
        .map(|((service, release, instance, probe), healthy)| {
            let last = facts.health.iter().rev().find(|note| {
                let what = &note.what;
                what.service == *service
                    && what.release == *release
                    && what.instance == *instance
                    && what.probe == *probe
                    && what.healthy == *healthy
            });
            let probe = format!("{probe:?}").to_lowercase();
            let since = last.map(|note| clock(note.time)).unwrap_or_default();
            let detail = last
                .map(|note| note.what.detail.as_str())
                .unwrap_or_default();
            let word = if *healthy { "passed" } else { "failed" };
            let stopped = stopped_by(facts, service, release);
            let word = match &stopped {
                Some(_) => format!("{word}, then stopped"),
                None => word.to_owned(),
            };
            let is_stopped = stopped.is_some();
            on_purpose.extend(stopped);
            let row = row([
                service,
                release.as_str(),
                instance,
                &probe,
                &word,
                &since,
                detail,
            ]);
            (is_stopped, row)
        });
    let mut rows: Vec<(bool, Vec<String>)> = rows.collect();
    // What was stopped is no answer to how things are now: it stands below.
    rows.sort_by_key(|(is_stopped, _)| *is_stopped);
    let titles = [
        "Service",
        "Release",
        "Instance",
        "Probe",
        "Last answer",
        "Since (UTC)",
        "Seen",
    ];
    let none = "No instance was probed.";
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    let report = table("Health when last seen", columns(titles), rows, none);
    if on_purpose.is_empty() {
        return report;
    }
    let steps: Vec<String> = on_purpose.into_iter().collect();
    report.with_text(format!(
        "What is marked as stopped was stopped on purpose, by {}: its last answers tell nothing of \
         what serves.",
        steps.join(", ")
    ))
}

/// The series of memory and processor time. What router and instances count is traffic, which other tables show.
fn resource_series(bins: &Bins) -> impl Iterator<Item = (&Key, &Series)> {
    bins.series
        .iter()
        .filter(|(key, _)| !matches!(key.source, Source::Router | Source::Instance))
}

/// Returns whether figures of memory or processor time were taken.
pub(crate) fn has_resources(bins: &Bins) -> bool {
    resource_series(bins).any(|(_, series)| !series.peaks.is_empty())
}

pub(super) fn resources(bins: &Bins) -> Report {
    let mut rows = Vec::new();
    for (key, series) in resource_series(bins) {
        for (figure, peak) in &series.peaks {
            let value = if figure.ends_with("bytes") {
                bytes(*peak)
            } else {
                format!("{peak:.1}")
            };
            let source = key.source.word();
            rows.push(row([&key.service, &key.release, figure, &value, source]));
        }
    }
    let titles = columns(["Service", "Release", "Figure", "Highest", "Measured by"]);
    let none = "No figures of memory or processor time were taken while the run went on; what the machine had \
                free before it is in 02_Pre_Deployment_Validation.";
    table("The highest of each figure in the run", titles, rows, none)
}

pub(super) fn client(facts: &Facts) -> Report {
    let mut rows = Vec::new();
    let mut releases = Vec::new();
    for client in facts.state.clients.values() {
        let causes = client.causes.iter().filter(|(_, number)| **number > 0);
        let causes: Vec<String> = causes.map(|(c, n)| format!("{} {c}", count(*n))).collect();
        let (first, last) = (clock(client.first), clock(client.last));
        let gap = duration(client.longest_gap_us);
        let (sent, failed) = (count(client.sent), count(client.failed));
        rows.push(row([
            &client.client,
            &first,
            &last,
            &sent,
            &failed,
            &causes.join(", "),
            &gap,
        ]));
        for (release, part) in client.by_release() {
            let share = percent(part.failed, part.answered);
            let (answered, failed) = (count(part.answered), count(part.failed));
            releases.push(row([&client.client, release, &answered, &failed, &share]));
        }
    }
    let titles = vec![
        Column::text("Client"),
        Column::text("First (UTC)"),
        Column::text("Last (UTC)"),
        Column::number("Sent"),
        Column::number("Failed"),
        Column::text("Causes"),
        Column::number("Longest gap"),
    ];
    let none = "No client outside measured this run.";
    let report = table("Clients outside", titles, rows, none);
    if releases.is_empty() {
        return report;
    }
    let titles = vec![
        Column::text("Client"),
        Column::text("Release"),
        Column::number("Answered"),
        Column::number("Failed"),
        Column::number("Failed share"),
    ];
    report.with_table("By release", titles, releases)
}

pub(super) fn load(facts: &Facts) -> Report {
    let rows = facts.loads.iter().map(|load| {
        let load_test = &load.what;
        let quantile = |share| {
            load_test
                .latency
                .quantile_us(share)
                .map(duration)
                .unwrap_or_default()
        };
        vec![
            load_test.name.clone(),
            load_test.release.to_string(),
            count(u64::from(load_test.rate)),
            duration(load_test.duration_us),
            count(load_test.sent),
            count(load_test.failed),
            format!("{:.1}", load_test.throughput),
            quantile(0.5),
            quantile(0.95),
            quantile(0.99),
            load_test.latency.max_us().map(duration).unwrap_or_default(),
        ]
    });
    let mut titles = columns(["Test", "Release"]);
    let numbers = [
        "Due (1/s)",
        "Lasted",
        "Sent",
        "Failed",
        "Good (1/s)",
        "p50",
        "p95",
        "p99",
        "Longest",
    ];
    titles.extend(numbers.into_iter().map(Column::number));
    table(
        "Load tests",
        titles,
        rows.collect(),
        "No load test ended in this run.",
    )
}

pub(super) fn comparison(facts: &Facts, bins: &Bins) -> Report {
    let mut rows = Vec::new();
    for source in [Source::Client, Source::Router, Source::Instance] {
        for (release, series) in bins.by_release(source) {
            let quantile = |pick: fn(&crate::Quantiles) -> u64| {
                series
                    .total
                    .as_ref()
                    .map(pick)
                    .map(duration)
                    .unwrap_or_default()
            };
            let at = |point: Option<&Point>| {
                let second = point.and_then(|point| DateTime::from_timestamp(point.second, 0));
                second.map(clock).unwrap_or_default()
            };
            rows.push(vec![
                source.word().to_owned(),
                release.to_owned(),
                at(series.points.first()),
                at(series.points.last()),
                count(series.count),
                count(series.failed()),
                percent(series.failed(), series.count),
                quantile(|q| q.p50),
                quantile(|q| q.p95),
                quantile(|q| q.p99),
                quantile(|q| q.max),
            ]);
        }
    }
    let mut titles = columns(["Measured by", "Release", "First (UTC)", "Last (UTC)"]);
    let numbers = [
        "Requests",
        "Failed",
        "Failed share",
        "p50",
        "p95",
        "p99",
        "Longest",
    ];
    titles.extend(numbers.into_iter().map(Column::number));
    let caption = match &facts.started.from {
        Some(from) => format!(
            "{} and {from} over the whole run, each while it answered",
            facts.started.to
        ),
        None => format!(
            "{}; there is no release before to compare with",
            facts.started.to
        ),
    };
    let none = "The record holds no samples of requests.";
    let empty = rows.is_empty();
    let report = table(&caption, titles, rows, none);
    let report = causes(bins, report);
    if empty || facts.started.from.is_none() {
        return report;
    }
    report.with_text(
        "The two did not answer over the same time, nor under the same load, so these figures are no \
         verdict: that is the baseline gate's, which compares the seconds that both served. The \
         router counts calls between services, too.",
    )
}

/// Adds where and why requests failed, as the samples tell it.
fn causes(bins: &Bins, mut report: Report) -> Report {
    let mut rows = Vec::new();
    let own = bins.series.iter();
    let own = own.filter(|(key, series)| !key.service.is_empty() && series.failed() > 0);
    for (key, series) in own {
        if !matches!(key.source, Source::Client | Source::Router) {
            continue;
        }
        let causes = series.errors.iter().filter(|(_, number)| **number > 0);
        let causes: Vec<String> = causes.map(|(c, n)| format!("{} {c}", count(*n))).collect();
        let failed: Vec<&Point> = series.points.iter().filter(|p| p.failed > 0).collect();
        let at = |point: Option<&&Point>| {
            let second = point.and_then(|point| DateTime::from_timestamp(point.second, 0));
            second.map(clock).unwrap_or_default()
        };
        let release = match key.release.as_str() {
            "" => "none answered",
            named => named,
        };
        let number = count(series.failed());
        let (first, last) = (at(failed.first()), at(failed.last()));
        let source = key.source.word();
        let causes = causes.join(", ");
        rows.push(row([
            source,
            &key.service,
            release,
            &number,
            &causes,
            &first,
            &last,
        ]));
    }
    if rows.is_empty() {
        return report;
    }
    let titles = columns([
        "Measured by",
        "Service",
        "Release",
        "Failed",
        "Causes",
        "First (UTC)",
        "Last (UTC)",
    ]);
    let failures = table("Failed requests by cause", titles, rows, "");
    report.blocks.extend(failures.blocks);
    report.with_text(
        "The outside client sees what a user would. The router counts each call that it passed on, \
         those between services among them, so one of its failures need not be one that a user saw. \
         The cause `reset` is a connection that ended before its whole answer.",
    )
}

pub(super) fn migrations(facts: &Facts) -> Report {
    let rows = facts.migrations.iter().map(|migration| {
        let what = &migration.what;
        vec![
            clock(migration.time),
            what.database.clone(),
            what.version.to_string(),
            what.description.clone(),
            direction_word(what.direction).to_owned(),
            duration(what.duration_us),
            count(what.rows),
            migration.seq.to_string(),
        ]
    });
    let mut titles = columns(["Time (UTC)", "Database", "Version", "What", "Direction"]);
    titles.extend(["Took", "Rows", "Event"].into_iter().map(Column::number));
    let none = "No migration was carried out in this run.";
    table("Migrations", titles, rows.collect(), none)
}

pub(super) fn evidence(facts: &Facts) -> Report {
    let rows = facts.evidence.iter().map(|kept| {
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let size = bytes(kept.what.bytes as f64);
        let digest = kept.what.digest.to_string();
        let seq = kept.seq.to_string();
        row([&kept.what.name, &kept.what.media_type, &size, &digest, &seq])
    });
    let titles = columns([
        "What",
        "Type",
        "Size",
        "SHA-256, which is its name in the record",
        "Event",
    ]);
    table(
        "Evidence",
        titles,
        rows.collect(),
        "No file was kept as evidence.",
    )
}
