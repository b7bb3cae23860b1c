//! What this process and its machine use: the answer to `usage_request`, with the names that ipykernel gives them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};

/// How many processes are looked at.
const PROCESSES_LIMIT: usize = 256;

/// Processor time up to a moment.
#[derive(Debug)]
struct Ticks {
    at: Instant,
    /// Of this process and of those it started, by their ids, in clock ticks.
    own: BTreeMap<u32, u64>,
    /// Of the machine: busy and all.
    machine: Option<(u64, u64)>,
}

/// Shares of processors are those since they were asked last.
#[derive(Debug)]
pub(crate) struct Usage {
    before: Ticks,
}

impl Usage {
    pub(crate) fn begin() -> Self {
        Self {
            before: ticks(&processes()),
        }
    }

    /// Returns what the machine says; what it does not say is absent.
    pub(crate) fn now(&mut self) -> Value {
        let processes = processes();
        let now = ticks(&processes);
        let memory: u64 = processes.iter().filter_map(|pid| resident(*pid)).sum();
        let mut usage = json!({
            "status": "ok", "pid": std::process::id(), "kernel_memory": memory,
        });
        if let Ok(name) = nix::unistd::gethostname() {
            usage["hostname"] = json!(name.to_string_lossy());
        }
        if let Ok(cores) = std::thread::available_parallelism() {
            usage["cpu_count"] = json!(cores.get());
        }
        if let Some(percent) = own_percent(&self.before, &now) {
            usage["kernel_cpu"] = json!(percent);
        }
        if let Some(percent) = machine_percent(&self.before, &now) {
            usage["host_cpu_percent"] = json!(percent);
        }
        let total = field_in_kib("/proc/meminfo", "MemTotal:");
        let available = field_in_kib("/proc/meminfo", "MemAvailable:");
        if let (Some(total), Some(available)) = (total, available) {
            let percent = 100.0 * (1.0 - available as f64 / total.max(1) as f64);
            usage["host_virtual_memory"] = json!({
                "total": total, "available": available, "percent": percent,
                "used": total.saturating_sub(available),
            });
        }
        self.before = now;
        usage
    }
}

/// Returns this process and what it started, down to the last one.
fn processes() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let room = PROCESSES_LIMIT.saturating_sub(found.len());
        found.extend(children(pid).into_iter().take(room));
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<u32> {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    };
    lists.flat_map(pids).collect()
}

fn resident(pid: u32) -> Option<u64> {
    field_in_kib(format!("/proc/{pid}/status"), "VmRSS:")
}

fn ticks(processes: &[u32]) -> Ticks {
    Ticks {
        at: Instant::now(),
        own: (processes.iter())
            .filter_map(|pid| Some((*pid, ticks_of(*pid)?)))
            .collect(),
        machine: ticks_of_machine(),
    }
}

/// Time in user and kernel mode: fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may hold anything.
fn ticks_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(2);
    Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// Busy ticks and all of them, of all processors: the first line of proc_stat(5). Waiting for disks is idling.
fn ticks_of_machine() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Some((all - idle, all))
}

fn own_percent(before: &Ticks, now: &Ticks) -> Option<f64> {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    // What a process used that has ended since is not known any more.
    let used = now.own.iter().map(|(pid, ticks)| {
        let before = before.own.get(pid).copied().unwrap_or_default();
        ticks.saturating_sub(before)
    });
    let used = used.sum::<u64>() as f64 / per_second;
    (seconds > 0.0).then_some(100.0 * used / seconds)
}

fn machine_percent(before: &Ticks, now: &Ticks) -> Option<f64> {
    let ((busy_before, before), (busy, all)) = (before.machine?, now.machine?);
    let passed = all.saturating_sub(before);
    let used = busy.saturating_sub(busy_before);
    // Nothing passes between two questions that follow each other closely.
    Some(if passed == 0 {
        0.0
    } else {
        100.0 * used as f64 / passed as f64
    })
}

/// Returns bytes from a file of the form `Name:  123 kB`.
fn field_in_kib(path: impl AsRef<Path>, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
