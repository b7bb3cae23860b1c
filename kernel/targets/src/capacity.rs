//! What this machine has, as `/proc` and `/sys` tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use code_deploy_engine::target::{Capacity, TargetError};

use crate::failure::{code, failed};

/// How long processor time is watched to tell how much of it is free.
const WATCH: Duration = Duration::from_millis(250);

/// Measures what this machine has. `disk` is the folder whose file system is measured, or one of
/// those above it when it does not exist yet.
///
/// # Errors
/// When `/proc` cannot be read or the file system does not answer.
pub async fn measure(disk: &Path) -> Result<Capacity, TargetError> {
    look(disk).await.map_err(|error| {
        let what = format!("cannot measure this machine: {error}");
        let next = "Make /proc and the project's disk readable for this user.";
        failed(code::CAPACITY, None, what, next)
    })
}

async fn look(disk: &Path) -> std::io::Result<Capacity> {
    let before = processor_times()?;
    tokio::time::sleep(WATCH).await;
    let after = processor_times()?;
    let (total, idle) = (
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1),
    );
    let memory = memory()?;
    let disk_path = existing(disk);
    let statvfs = rustix::fs::statvfs(&disk_path)?;
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Ok(Capacity {
        host: word(system.nodename()),
        system: format!("{} {}", word(system.sysname()), word(system.release())),
        processors: u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX),
        processors_free: if total == 0 {
            1.0
        } else {
            idle as f64 / total as f64
        },
        memory: memory.0,
        memory_free: memory.1,
        disk_free: statvfs.f_bavail.saturating_mul(statvfs.f_frsize),
        disk_path,
        network: network(),
    })
}

fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Returns all and idle processor time since the start of the machine, in ticks.
fn processor_times() -> std::io::Result<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|time| time.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest times are part of user already.
    let all = times.iter().take(8).sum();
    let idle = times.iter().skip(3).take(2).sum();
    Ok((all, idle))
}

/// Returns all and available memory in bytes.
fn memory() -> std::io::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kilobytes = |name: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_ascii_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    Ok((
        kilobytes("MemTotal:") * 1024,
        kilobytes("MemAvailable:") * 1024,
    ))
}

/// Returns the network interfaces with their speed in megabits a second, where it is known.
fn network() -> BTreeMap<String, Option<u64>> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else {
        return BTreeMap::new();
    };
    let mut interfaces = BTreeMap::new();
    for entry in entries.flatten() {
        let speed = std::fs::read_to_string(entry.path().join("speed")).ok();
        let speed = speed.and_then(|speed| speed.trim().parse::<u64>().ok());
        interfaces.insert(entry.file_name().to_string_lossy().into_owned(), speed);
    }
    interfaces
}
