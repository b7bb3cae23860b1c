//! What the eighteen notebooks cost, beside the same number of charts made with papermill and with
//! matplotlib alone; and what those of a day of many services cost.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use code_deploy_record::{Latency, RunFolder, Sample, Source};
use code_deploy_synthetic::{Story, run_of, start};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use crate::Error;

const PEER: &str = include_str!("../peers/pages.py");

/// A day, in seconds.
const DAY: i64 = 86_400;

/// The services of the day, beside the three of every synthetic run.
const MORE_SERVICES: usize = 47;

/// The requests a second to each of them: with those of the three, 10^8 in a day.
const RATE: u64 = 20;

/// The longest that the notebooks of the day may take, in seconds, and the most memory, in bytes.
const DAY_GOAL: (f64, u64) = (20.0, 300_000_000);

/// How many times the requests of the hour the busier one has, and how many times its time it may take at most.
const BUSIER: (usize, f64) = (10, 1.5);

/// How many times the memory of the hour the busier one counts as the same: what the allocator keeps differs.
const SAME_MEMORY: f64 = 1.05;

/// The largest that a notebook may be, in bytes.
const LARGEST: u64 = 300_000;

/// What one way of making the notebooks took, and the size of the largest, where the program made them.
struct Cost {
    seconds: f64,
    bytes: u64,
    largest: u64,
}

/// Makes the notebooks of a synthetic hour by every way, one after the other, so many times.
///
/// # Errors
/// When the record cannot be made, or a way fails.
pub fn hour(program: &Path, python: Option<&Path>, rounds: usize) -> Result<String, Error> {
    let place = folder()?;
    let run = run_of(place.path(), "hour", Story::Succeeded, 3600.0, start());
    let other = folder()?;
    let busier = run_of(other.path(), "hour", Story::Succeeded, 3600.0, start());
    let requests = with_more_requests(&busier)?;
    let alone = make(program, place.path(), &run)?.bytes;
    // The most memory of all that ran: the busier hour's own, where it needs more.
    let of_busier = make(program, other.path(), &busier)?.bytes;
    let (mut ours, mut kernel, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut more = Vec::new();
    for _ in 0..rounds {
        let cost = make(program, place.path(), &run)?;
        ours.push(Cost {
            bytes: alone,
            ..cost
        });
        let cost = make(program, other.path(), &busier)?;
        more.push(Cost {
            bytes: of_busier,
            ..cost
        });
        if let Some(python) = python {
            kernel.push(peer(python, "kernel", &run, place.path())?);
            plain.push(peer(python, "plain", &run, place.path())?);
        }
    }
    let mut text =
        String::from("eighteen notebooks of an hour, three services (synthetic record)\n");
    let own = median(&ours);
    line(&mut text, "code-deploy", &own, None);
    busier_line(&mut text, requests, &median(&more), &own);
    if !kernel.is_empty() {
        line(
            &mut text,
            "papermill + matplotlib",
            &median(&kernel),
            Some((&own, 50.0, Some(4.0))),
        );
        line(
            &mut text,
            "nbformat + matplotlib",
            &median(&plain),
            Some((&own, 9.0, None)),
        );
    }
    Ok(text)
}

/// Makes the notebooks of a synthetic day of fifty services and 10^8 requests.
///
/// # Errors
/// When the record cannot be made, or the program fails.
pub fn day(program: &Path) -> Result<String, Error> {
    let place = folder()?;
    let run = run_of(place.path(), "day", Story::Succeeded, DAY as f64, start());
    let samples = more_services(&run)?;
    let cost = make(program, place.path(), &run)?;
    let within = cost.seconds <= DAY_GOAL.0 && cost.bytes <= DAY_GOAL.1;
    let mut text = format!(
        "eighteen notebooks of a day, {} services, {samples} samples of {MORE_SERVICES} of them \
         (synthetic record)\n",
        MORE_SERVICES + 3
    );
    line(&mut text, "code-deploy", &cost, None);
    let reached = if within { "yes" } else { "NO" };
    let (seconds, bytes) = (DAY_GOAL.0, DAY_GOAL.1 as f64 / 1e6);
    let _ = writeln!(text, "goal {seconds} s and {bytes} MB, reached: {reached}");
    Ok(text)
}

/// Returns a project of its own, which goes with the value.
fn folder() -> Result<tempfile::TempDir, Error> {
    let folder = tempfile::tempdir();
    let folder = folder.map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
    let path = folder.path().join("deploy.yaml");
    let file = "application: shop\nenvironments:\n  dev: {}\n";
    std::fs::write(&path, file).map_err(Error::io("write", &path))?;
    Ok(folder)
}

/// What a cost is held against: that of the program, with how many times its time and its memory it should be.
type Beside<'a> = (&'a Cost, f64, Option<f64>);

fn line(text: &mut String, who: &str, cost: &Cost, beside: Option<Beside<'_>>) {
    let (seconds, megabytes) = (cost.seconds, cost.bytes as f64 / 1e6);
    let _ = write!(text, "  {who:<24} {seconds:>7.2} s  {megabytes:>6.0} MB");
    if let Some((own, goal, goal_of_memory)) = beside {
        let (times, memory) = (seconds / own.seconds, cost.bytes as f64 / own.bytes as f64);
        let reached = |is: bool| if is { "yes" } else { "NO" };
        let _ = write!(
            text,
            "  {times:.1} times the time (goal {goal:.0}, reached: {}), {memory:.2} times the memory",
            reached(times >= goal)
        );
        if let Some(goal) = goal_of_memory {
            let reached = reached(memory >= goal);
            let _ = write!(text, " (goal {goal:.0}, reached: {reached})");
        }
    }
    text.push('\n');
}

fn busier_line(text: &mut String, requests: u64, cost: &Cost, own: &Cost) {
    line(text, "  ten times the requests", cost, None);
    let (times, memory) = (
        cost.seconds / own.seconds,
        cost.bytes as f64 / own.bytes as f64,
    );
    let is = times <= BUSIER.1 && memory <= SAME_MEMORY;
    let is = if is { "yes" } else { "NO" };
    let _ = writeln!(
        text,
        "    {requests} measured requests: {times:.2} times the time (goal {}), {memory:.2} times the memory (goal the \
         same), reached: {is}",
        BUSIER.1
    );
    let largest = own.largest.max(cost.largest);
    let is = if largest <= LARGEST { "yes" } else { "NO" };
    let (largest, goal) = (largest / 1000, LARGEST / 1000);
    let _ = writeln!(
        text,
        "    largest notebook {largest} kB (goal {goal}), reached: {is}"
    );
}

fn median(costs: &[Cost]) -> Cost {
    let mut seconds: Vec<_> = costs.iter().map(|cost| cost.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    Cost {
        seconds: seconds.get(seconds.len() / 2).copied().unwrap_or_default(),
        bytes: costs
            .iter()
            .map(|cost| cost.bytes)
            .max()
            .unwrap_or_default(),
        largest: costs
            .iter()
            .map(|cost| cost.largest)
            .max()
            .unwrap_or_default(),
    }
}

/// Has the program write the notebooks of a run, with the most memory that it had.
fn make(program: &Path, project: &Path, run: &RunFolder) -> Result<Cost, Error> {
    let name = run.path().file_name().unwrap_or_default();
    let program = program.canonicalize().map_err(Error::io("find", program))?;
    let mut command = Command::new(&program);
    command
        .current_dir(project)
        .args(["notebooks", "--out", "notebooks", "--run"])
        .arg(name);
    let began = Instant::now();
    let done = command.output().map_err(Error::io("run", &program))?;
    let seconds = began.elapsed().as_secs_f64();
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(Error::Answer(said));
    }
    let notebooks = project.join("notebooks");
    let largest = largest_in(&notebooks)?;
    clear(&notebooks)?;
    let bytes = most_memory_of_children()?;
    Ok(Cost {
        seconds,
        bytes,
        largest,
    })
}

/// Returns the size of the largest notebook of a folder.
fn largest_in(folder: &Path) -> Result<u64, Error> {
    let mut largest = 0;
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.extension().is_some_and(|end| end == "ipynb") {
            let found = path.metadata().map_err(Error::io("read", &path))?;
            largest = largest.max(found.len());
        }
    }
    Ok(largest)
}

/// Lets every second of a run have so many times its requests; returns how many there are then.
fn with_more_requests(run: &RunFolder) -> Result<u64, Error> {
    let folder = run.samples_path();
    let mut requests = 0;
    for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let path = entry.map_err(Error::io("read", &folder))?.path();
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let mut more = String::with_capacity(text.len() * 2);
        for line in text.lines() {
            let read = Sample::of_line(line.as_bytes());
            let read = read.map_err(|error| Error::Answer(format!("a sample: {error}")))?;
            let Some(mut sample) = read else { continue };
            // What has no latency counts instances, not requests.
            if !sample.latency.is_empty() {
                sample.count *= BUSIER.0 as u64;
                let one = sample.latency.clone();
                (1..BUSIER.0).for_each(|_| sample.latency.add(&one));
                requests += sample.count;
            }
            let line = serde_json::to_string(&sample)
                .map_err(|error| Error::Answer(format!("a sample: {error}")))?;
            let _ = writeln!(more, "{line}");
        }
        std::fs::write(&path, more).map_err(Error::io("write", &path))?;
    }
    Ok(requests)
}

/// Returns the most memory that any process had which was started and has ended. That of the program is
/// known as long as nobody else was started.
fn most_memory_of_children() -> Result<u64, Error> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_err(|error| Error::Answer(format!("the memory of a process: {error}")))?;
    Ok(u64::try_from(usage.max_rss()).unwrap_or_default() * 1024)
}

/// Writes samples of more services, a day long; returns how many. Each second has one of a thousand
/// histograms.
fn more_services(run: &RunFolder) -> Result<u64, Error> {
    let path = run.samples_path().join("router-more.jsonl");
    let failed = |error: std::io::Error| Error::io("write", &path)(error);
    let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
    let lines: Vec<String> = (0..1000).map(sample).collect();
    let mut written = 0;
    for second in 0..DAY {
        let unix = start().timestamp() + second;
        for service in 0..MORE_SERVICES {
            let line = &lines[(second as usize * 31 + service * 7) % lines.len()];
            let line = line.replacen("\"second\":0", &format!("\"second\":{unix}"), 1);
            let line = line.replacen("service-0", &format!("service-{service}"), 1);
            writeln!(file, "{line}").map_err(failed)?;
            written += 1;
        }
    }
    file.flush().map_err(failed)?;
    Ok(written)
}

/// Returns a second of one service as it stands in a samples file.
fn sample(number: u64) -> String {
    let mut latency = Latency::new();
    for request in 0..RATE {
        let seed = (number * 7919 + request * 104_729) % 1000;
        latency.count(2600 + seed * 3 + if seed > 985 { 30_000 } else { 0 });
    }
    let mut sample = Sample::empty(0, "service-0", "1.1.0", Source::Router);
    (sample.count, sample.latency) = (RATE, latency);
    let figures = [
        ("healthy_instances", 2.0),
        ("in_flight", 0.0),
        ("weight_percent", 100.0),
    ];
    let figures = figures.map(|(name, value)| (name.to_owned(), value));
    sample.figures.extend(figures);
    serde_json::to_string(&sample).unwrap_or_default()
}

fn clear(folder: &Path) -> Result<(), Error> {
    std::fs::remove_dir_all(folder).map_err(Error::io("remove", folder))
}

fn peer(python: &Path, way: &str, run: &RunFolder, place: &Path) -> Result<Cost, Error> {
    let out = place.join("peer");
    std::fs::create_dir(&out).map_err(Error::io("make", &out))?;
    let mut command = Command::new(python);
    command.args(["-c", PEER, way]).arg(run.path()).arg(&out);
    let done = command.output().map_err(Error::io("run", python))?;
    clear(&out)?;
    let said: Value = serde_json::from_slice(&done.stdout)
        .map_err(|_| Error::Answer(String::from_utf8_lossy(&done.stderr).into_owned()))?;
    if said["pictures"] != 54 {
        return Err(Error::Answer(format!(
            "{way}: {} pictures",
            said["pictures"]
        )));
    }
    let seconds = said["seconds"].as_f64().unwrap_or_default();
    let bytes = said["bytes"].as_u64().unwrap_or_default();
    Ok(Cost {
        seconds,
        bytes,
        largest: 0,
    })
}
