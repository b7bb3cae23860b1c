//! What the simulated router writes into the samples of a run.

use std::io::Result;
use std::sync::OnceLock;

use code_deploy_record::Disk;
use code_deploy_record::disk::Create;
use code_deploy_record::{Latency, Sample, Source};

use crate::disk::SimulatedDisk;
use crate::world::World;

/// Requests a second to each service.
const REQUESTS: u64 = 2_000;

/// Seconds at most that are caught up on at once: what is older nobody looks at.
const CAUGHT_UP: i64 = 8;

/// Writes a line for each second that has passed, each service and each release with a share.
pub fn write(world: &World, disk: &SimulatedDisk) -> Result<()> {
    let Some((folder, text)) = text(world) else {
        return Ok(());
    };
    let mut file = disk.append(&folder.join("router.jsonl"), Create::IfMissing)?;
    file.append(text.as_bytes())
}

fn text(world: &World) -> Option<(std::path::PathBuf, String)> {
    let mut world = world.look();
    let folder = world.samples.clone()?;
    let now = world.wall().timestamp();
    let first = (world.sampled + 1).max(now - CAUGHT_UP);
    let last = std::mem::replace(&mut world.sampled, now);
    if last == now {
        return None;
    }
    let mut text = String::new();
    for second in first.min(now)..=now {
        for (service, shares) in &world.traffic {
            for (release, share) in shares.iter().filter(|(_, share)| **share > 0) {
                let count = REQUESTS * u64::from(*share) / 100;
                let failed = if world.failing.contains(release) {
                    count / 5
                } else {
                    0
                };
                text.push_str(&line(second, service, release, count, failed));
            }
        }
    }
    (!text.is_empty()).then_some((folder, text))
}

fn line(second: i64, service: &str, release: &str, count: u64, failed: u64) -> String {
    static PACKED: OnceLock<String> = OnceLock::new();
    let latency = PACKED.get_or_init(|| {
        let mut sample = Sample::empty(0, "", "", Source::Router);
        let mut latency = Latency::new();
        (0..100).for_each(|_| latency.count(2_000));
        sample.latency = latency;
        let sample = serde_json::to_value(&sample).unwrap_or_default();
        sample["latency"].as_str().unwrap_or_default().to_owned()
    });
    let errors = match failed {
        0 => String::new(),
        failed => format!(r#""errors":{{"5xx":{failed}}},"#),
    };
    format!(
        r#"{{"second":{second},"service":"{service}","release":"{release}","source":"router","count":{count},{errors}"latency":"{latency}"}}"#
    ) + "\n"
}
