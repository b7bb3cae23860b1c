//! Whether old and new release fit side by side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Verdict};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::phases::look::bytes;
use crate::phases::migrate::path_of;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::step::StepError;
use crate::target::{Capacity, Observed};
use crate::{Context, Step};

/// What a record and its logs may need beside backups.
const RECORD: u64 = 64 * 1024 * 1024;

/// How much is sent to measure the bandwidth.
const SENT: usize = 32 * 1024 * 1024;

/// Free processors below which nothing can be said, however little is needed.
const LEAST: f64 = 0.05;

/// How often free processor time is measured when there is none.
const LOOKS: u32 = 4;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "resources",
        title: "compare what both releases need with what is free",
        items: "1.5.1 1.5.2 1.5.3 1.5.4 1.5.6",
        undo: None,
        methods: (
            "the target measured again",
            "the kernel's own figures of memory and disk",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Resources)
}

struct Resources;

/// What the new release needs beside the old one.
struct Needs {
    /// Processors, and what that is counted from; nothing where nothing tells.
    processors: Option<(f64, &'static str)>,
    memory: u64,
    memory_from: &'static str,
    disk: u64,
}

#[async_trait]
impl Work for Resources {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let observed = context.target.observe().await?;
        let needs = needs(context, &observed).await?;
        let mut capacity = context.target.capacity().await?;
        let wanted = needs.processors.map_or(LEAST, |(most, _)| most.max(LEAST));
        for _ in 1..LOOKS {
            if free(&capacity) >= wanted {
                break;
            }
            capacity = context.target.capacity().await?;
        }
        let bandwidth = bandwidth().await;
        let event = section
            .report(
                "Resource availability",
                report(context, &needs, &capacity, bandwidth.as_ref().ok()),
            )
            .await?;
        settle(section, &needs, &capacity, bandwidth, event).await?;
        Ok(json!({ "memory": needs.memory, "disk": needs.disk }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let capacity = section.context.target.capacity().await?;
        let (memory, disk) = wanted(result);
        let passed = capacity.memory_free >= memory && capacity.disk_free >= disk;
        let detail = format!(
            "{} memory and {} disk are free",
            bytes(capacity.memory_free),
            bytes(capacity.disk_free)
        );
        Ok(Seen::new(passed, detail))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let capacity = section.context.target.capacity().await?;
        let (memory, disk) = wanted(result);
        match kernel_figures(&capacity).await? {
            Some((free, disk_free)) => {
                let detail = format!("MemAvailable {}, statvfs {}", bytes(free), bytes(disk_free));
                Ok(Seen::new(free >= memory && disk_free >= disk, detail))
            }
            None => Ok(Seen::new(false, "this machine gives no figures of its own")),
        }
    }
}

fn wanted(result: &Value) -> (u64, u64) {
    let figure = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX);
    (figure("memory"), figure("disk"))
}

fn free(capacity: &Capacity) -> f64 {
    capacity.processors_free * f64::from(capacity.processors)
}

/// Reads free memory and disk from the system, without asking the target.
async fn kernel_figures(capacity: &Capacity) -> Result<Option<(u64, u64)>, StepError> {
    let path = capacity.disk_path.clone();
    blocking("reading free memory and disk", move || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let free: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        let disk = nix::sys::statvfs::statvfs(&path).ok()?;
        let blocks: u64 = disk.blocks_available();
        Some((free * 1024, blocks * disk.fragment_size()))
    })
    .await
}

async fn needs(context: &Context, observed: &Observed) -> Result<Needs, StepError> {
    let services = &context.spec.services;
    let limits: Option<Vec<f64>> = services
        .iter()
        .map(|one| {
            one.processor_limit
                .map(|limit| limit * f64::from(one.replicas))
        })
        .collect();
    let pids: Vec<u32> = observed
        .instances
        .iter()
        .filter_map(|one| one.pid)
        .collect();
    let (resident, used) = blocking("reading memory and processor time", move || {
        let resident = pids.iter().filter_map(|pid| resident(*pid)).sum::<u64>();
        let used: Option<f64> = pids.iter().map(|pid| processors(*pid)).sum();
        (resident, used.filter(|_| !pids.is_empty()))
    })
    .await?;
    let declared: u64 = services
        .iter()
        .filter_map(|one| Some(one.memory_limit? * u64::from(one.replicas)))
        .sum();
    // The new release is expected to need what the old one needs, and half as much again.
    let (memory, memory_from) = if resident > 0 {
        (
            resident + resident / 2,
            "what the old release uses now, and half of it again",
        )
    } else {
        (declared, "the limits of the Compose file")
    };
    let mut stored = 0;
    for database in context.spec.file.databases.values() {
        let path = path_of(&context.spec, database);
        let size = path
            .and_then(|path| std::fs::metadata(path).ok())
            .map_or(0, |file| file.len());
        // A backup, a restored copy, and one to try the way back on.
        stored += size * 3;
    }
    Ok(Needs {
        processors: processors_needed(used, limits.map(|all| all.iter().sum())),
        memory,
        memory_from,
        disk: stored + RECORD,
    })
}

/// What the old release used on average, and half of it again; without an old release the limits of
/// the Compose file, which are more than it will need.
fn processors_needed(used: Option<f64>, limits: Option<f64>) -> Option<(f64, &'static str)> {
    let used = used.map(|used| {
        let from = "what the old release used on average since it started, and half of it again";
        (used * 1.5, from)
    });
    used.or_else(|| limits.map(|sum| (sum, "the limits of the Compose file")))
}

/// Returns how many processors a process used on average since it started.
fn processors(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    average(&stat, &uptime, ticks as f64)
}

/// The fields are those of proc_pid_stat(5); the second, a name in brackets, may hold spaces.
fn average(stat: &str, uptime: &str, ticks: f64) -> Option<f64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let used = (field(14)? + field(15)?) / ticks;
    let now: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let age = now - field(22)? / ticks;
    (age > 0.0).then(|| used / age)
}

fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Sends bytes to itself; returns megabits a second.
async fn bandwidth() -> Result<f64, String> {
    let failed = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let began = Instant::now();
    let send = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&vec![0x5a; SENT]).await?;
        stream.shutdown().await
    };
    let receive = async {
        let (mut stream, _) = listener.accept().await?;
        let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok::<_, std::io::Error>(total),
                read => total += read,
            }
        }
    };
    let both = tokio::time::timeout(
        Duration::from_secs(20),
        futures::future::try_join(send, receive),
    )
    .await;
    let ((), total) = both
        .map_err(|_| "not sent within 20 s".to_owned())?
        .map_err(failed)?;
    Ok(total as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64())
}

fn report(
    context: &Context,
    needs: &Needs,
    capacity: &Capacity,
    bandwidth: Option<&f64>,
) -> Report {
    let row = |what: &str, needed: String, free: String, from: &str| {
        vec![what.to_owned(), needed, free, from.to_owned()]
    };
    let (processors, processors_from) = needs.processors.map_or_else(
        || ("not known".to_owned(), "no old release, no limit declared"),
        |(most, from)| (format!("{most:.2}"), from),
    );
    let rate = context.spec.file.client.as_ref().map_or_else(
        || "no client declared".to_owned(),
        |client| format!("{} requests a second", client.rate),
    );
    let rows = vec![
        row(
            "Processors for the new release",
            processors,
            format!("{:.2} of {}", free(capacity), capacity.processors),
            processors_from,
        ),
        row(
            "Memory for the new release",
            bytes(needs.memory),
            bytes(capacity.memory_free),
            needs.memory_from,
        ),
        row(
            "Disk for backups and record",
            bytes(needs.disk),
            bytes(capacity.disk_free),
            "three copies of each database, 64 MiB of record",
        ),
        row(
            "Network",
            rate,
            bandwidth.map_or_else(
                || "not measured".to_owned(),
                |mbits| format!("{mbits:.0} Mbit/s"),
            ),
            "32 MiB sent to itself",
        ),
    ];
    let columns = ["Resource", "Needed", "Free", "Counted from"]
        .map(Column::text)
        .to_vec();
    Report::new().with_table("Resources for both releases side by side", columns, rows)
}

/// Processor time is free or not from one moment to the next: too little of it now is no failure
/// of the target, and no evidence that both releases fit.
async fn settle_processors(
    section: &Section<'_>,
    needs: &Needs,
    capacity: &Capacity,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let now = format!(
        "{:.2} of {} processors are free",
        free(capacity),
        capacity.processors
    );
    let (holds, text) = match needs.processors {
        None => (
            false,
            format!("{now}; what is needed is not known: no old release, no limit declared"),
        ),
        Some((most, from)) if most < LEAST => (
            free(capacity) >= LEAST,
            format!("{now}, {LEAST:.2} are asked for at least; {from} gives {most:.2}"),
        ),
        Some((most, from)) => (
            free(capacity) >= most,
            format!("{now}, {most:.2} needed ({from})"),
        ),
    };
    if holds {
        return section
            .judge("1.5.1", true, Basis::Observed, text, evidence)
            .await;
    }
    let text = format!(
        "{text}; that is of one moment, and neither shows that both releases fit nor that they do not"
    );
    section.settle("1.5.1", Verdict::Open, text, evidence).await
}

async fn settle(
    section: &Section<'_>,
    needs: &Needs,
    capacity: &Capacity,
    bandwidth: Result<f64, String>,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, seen) = ([event], Basis::Observed);
    settle_processors(section, needs, capacity, &evidence).await?;
    let fits = capacity.memory_free >= needs.memory;
    let text = format!(
        "{} free, {} needed ({})",
        bytes(capacity.memory_free),
        bytes(needs.memory),
        needs.memory_from
    );
    section.judge("1.5.2", fits, seen, text, &evidence).await?;
    let stores = capacity.disk_free >= needs.disk;
    let text = format!(
        "{} free, {} needed for backups and record",
        bytes(capacity.disk_free),
        bytes(needs.disk)
    );
    section
        .judge("1.5.3", stores, seen, text, &evidence)
        .await?;
    match bandwidth {
        Ok(mbits) => {
            let text = format!(
                "{mbits:.0} Mbit/s measured on loopback, which is all that a deployment to this machine uses"
            );
            if section.context.spec.on_this_machine() {
                section.judge("1.5.4", true, seen, text, &evidence).await?;
            } else {
                section
                    .open(
                        "1.5.4",
                        "the bandwidth between the target's machines is not measured",
                    )
                    .await?;
            }
        }
        Err(why) => {
            section
                .open("1.5.4", format!("it could not be measured: {why}"))
                .await?
        }
    }
    match kernel_figures(capacity).await? {
        Some((memory, disk)) if section.context.spec.on_this_machine() => {
            let text = format!(
                "by the target {} memory and {} disk are free, by the kernel {} and {}",
                bytes(capacity.memory_free),
                bytes(capacity.disk_free),
                bytes(memory),
                bytes(disk)
            );
            let agree = memory >= needs.memory && disk >= needs.disk && fits && stores;
            section.judge("1.5.6", agree, seen, text, &evidence).await
        }
        _ => {
            section
                .open("1.5.6", "there is no second source of the target's figures")
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn processors_used_are_processor_time_over_age() {
        let stat = "42 (a name) here) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 4 0 1000 1 1";
        assert_eq!(average(stat, "20.00 39.00\n", 100.0), Some(0.2));
        assert_eq!(average(stat, "10.00 39.00\n", 100.0), None);
        assert_eq!(average("", "20.00 39.00\n", 100.0), None);
    }

    #[test]
    fn what_the_old_release_used_counts_before_limits() {
        assert_eq!(processors_needed(Some(0.5), Some(3.0)).unwrap().0, 0.75);
        assert_eq!(processors_needed(None, Some(3.0)).unwrap().0, 3.0);
        assert_eq!(processors_needed(None, None), None);
    }
}
