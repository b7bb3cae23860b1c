//! How fast `verify` reads a record.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use code_deploy_record::{
    Digest, EventBody, Latency, Redactor, RunFolder, RunOutcome, RunStarted, RunsFolder, Sample,
    Severity, Source, SystemClock,
};

use crate::Error;

/// The goal, in megabytes a second.
const GOAL: f64 = 300.0;

/// One line of the journal for so many bytes of samples: what a day of fifty services gives.
const BYTES_AN_EVENT: u64 = 64 * 1024;

/// Makes a synthetic record of that size, with its end, and verifies it so many times with the program.
///
/// # Errors
/// [`Error::Answer`] when it cannot be made or does not verify.
pub fn verify(program: &Path, megabytes: u64, rounds: usize) -> Result<String, Error> {
    let folder = std::env::temp_dir().join(format!("code-deploy-verify-{}", std::process::id()));
    let measured = make(&folder, megabytes).and_then(|run| measure(program, &run, rounds));
    let removed = std::fs::remove_dir_all(&folder);
    let (bytes, mut seconds) = measured?;
    removed.map_err(|error| failed(&format!("{} stays: {error}", folder.display())))?;
    seconds.sort_by(f64::total_cmp);
    let [first, .., last] = seconds[..] else {
        return Err(failed("more than one round is needed"));
    };
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(last);
    let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;
    let reached = if speed(median) >= GOAL { "yes" } else { "NO" };
    Ok(format!(
        "verify of a synthetic record of {:.0} MB: median {:.0} MB/s ({:.0} to {:.0}, {} rounds, the \
         file cache warm); goal at least {GOAL:.0} MB/s, reached: {reached}",
        bytes as f64 / 1e6,
        speed(median),
        speed(last),
        speed(first),
        seconds.len()
    ))
}

fn failed(what: &str) -> Error {
    Error::Answer(format!("the record: {what}"))
}

fn measure(program: &Path, run: &RunFolder, rounds: usize) -> Result<(u64, Vec<f64>), Error> {
    let bytes = size(run.path()).map_err(|error| failed(&error.to_string()))?;
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let done = Command::new(program).arg("verify").arg(run.path()).output();
        let done = done.map_err(|error| failed(&format!("{}: {error}", program.display())))?;
        seconds.push(began.elapsed().as_secs_f64());
        if !done.status.success() {
            return Err(failed(&String::from_utf8_lossy(&done.stderr)));
        }
    }
    Ok((bytes, seconds))
}

fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

fn make(folder: &Path, megabytes: u64) -> Result<RunFolder, Error> {
    let wrong = |error: code_deploy_record::Error| failed(&error.to_string());
    let name = |text: &str| failed(&format!("{text} is no name"));
    let run = "synthetic".parse().map_err(|_| name("synthetic"))?;
    let place = RunsFolder::of_project(folder)
        .create_run(&run)
        .map_err(wrong)?;
    let mut writer = place
        .create_journal(Arc::new(SystemClock), Redactor::default())
        .map_err(wrong)?;
    let started = RunStarted {
        run,
        application: "synthetic".to_owned(),
        environment: "bench".to_owned(),
        target: "local".to_owned(),
        strategy: "canary".to_owned(),
        initial: true,
        from: None,
        to: "1.0.0".parse().map_err(|_| name("1.0.0"))?,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        host: "synthetic".to_owned(),
        user: "synthetic".to_owned(),
        deployment_file: Digest::ZERO,
        previous: None,
        planted_fault: None,
        reverts: None,
    };
    let mut append = |body| writer.append("engine", body).map(drop).map_err(wrong);
    append(EventBody::RunStarted(Box::new(started)))?;
    let mut events = 1;
    let files = megabytes.div_ceil(128);
    for number in 0..files {
        let file = format!("router-{number:03}.jsonl");
        let (bytes, digest, samples) = fill(&place.samples_path().join(&file), number)?;
        for event in 0..bytes / BYTES_AN_EVENT {
            let text = format!(
                "synthetic event {event} of file {number}: {}",
                "x".repeat(300)
            );
            append(EventBody::Noted {
                severity: Severity::Info,
                text,
            })?;
            events += 1;
        }
        append(EventBody::SamplesClosed {
            file,
            digest,
            samples,
        })?;
        events += 1;
    }
    let summary = "synthetic".to_owned();
    append(EventBody::RunFinished {
        outcome: RunOutcome::Succeeded,
        summary,
    })?;
    // No key seals it: one that is sealed has notebooks that were signed, and the tree is made over this one, too.
    writer
        .append("engine", EventBody::Sealed { events: events + 1 })
        .map_err(wrong)?;
    Ok(place)
}

/// Writes about 128 MB of samples; returns how many bytes they are, their digest and their number.
fn fill(path: &Path, number: u64) -> Result<(u64, Digest, u64), Error> {
    let wrong = |error: std::io::Error| failed(&format!("{}: {error}", path.display()));
    let mut latency = Latency::new();
    (0..2_000).for_each(|request| latency.count(900 + request * 7));
    let mut sample = Sample::empty(0, "catalog", "1.0.0", Source::Router);
    (sample.count, sample.latency) = (2_000, latency);
    let text = serde_json::to_string(&sample).map_err(|error| failed(&error.to_string()))?;
    let mut file = BufWriter::new(File::create(path).map_err(wrong)?);
    let (mut bytes, mut lines) = (0, 0);
    while bytes < 128_000_000 {
        let second = format!("\"second\":{}", number * 1_000_000 + lines);
        let line = text.replacen("\"second\":0", &second, 1) + "\n";
        file.write_all(line.as_bytes()).map_err(wrong)?;
        (bytes, lines) = (bytes + line.len() as u64, lines + 1);
    }
    file.flush().map_err(wrong)?;
    let mut written = File::open(path).map_err(wrong)?;
    let digest = Digest::of_reader(&mut written).map_err(wrong)?;
    Ok((bytes, digest, lines))
}
