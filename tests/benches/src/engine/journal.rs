//! The journal.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use code_deploy_benches::Error;
use code_deploy_record::disk::{AppendFile, Create, Disk, EntryKind, Locked, ReadFile};
use code_deploy_record::{
    Digest, Direction, EventBody, LockHolder, Probe, Redactor, RunLock, RunStarted, RunsFolder,
    Severity, SystemClock, SystemDisk,
};

use crate::report::quantile;

/// Lines of one round.
const LINES: usize = 2_000;

/// Rounds; the two take turns in each.
const ROUNDS: usize = 5;

/// Events of the large record.
const EVENTS: u64 = 1_000_000;

/// Appends to a journal as a runner does, fence and all, and in turn writes and flushes lines of
/// the same length without anything else.
pub fn beside_the_disk(folder: &Path) -> Result<String, Error> {
    let runs = RunsFolder::of_project(folder);
    let run = runs.create_run(&name("journal")?)?;
    let lock = RunLock::take(&runs, "bench", "bench", holder()?)?;
    let mut writer = run.create_journal(Arc::new(SystemClock), Redactor::default())?;
    writer.fence_with(lock.fence());
    let length = writer.append("engine", started()?).map(|_| 0_usize)?;
    let line = vec![b'x'; line_length()?.max(length)];
    let bare = folder.join("bare");
    let mut file = std::fs::File::create(&bare).map_err(Error::io("create", &bare))?;
    let (mut ours, mut disks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..LINES {
            file.write_all(&line).map_err(Error::io("write", &bare))?;
            file.sync_data().map_err(Error::io("flush", &bare))?;
        }
        disks.push(LINES as f64 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        for number in 0..LINES as u64 {
            writer.append("engine", noted(number))?;
        }
        ours.push(LINES as f64 / began.elapsed().as_secs_f64());
    }
    let (ours, disk) = (quantile(&ours, 0.5), quantile(&disks, 0.5));
    let ratio = ours / disk;
    Ok(format!(
        "journal: {ours:.0} events a second, one flush each; write and fdatasync alone: {disk:.0}; \
         ratio {ratio:.3} (goal: 2000 a second, or 0.9): {}\n",
        reached(ours >= 2_000.0 || ratio >= 0.9)
    ))
}

/// Opens and folds a record of a million events.
pub fn of_a_million(folder: &Path) -> Result<String, Error> {
    let runs = RunsFolder::on_disk(Arc::new(Unflushed(SystemDisk)), &folder.join("million"));
    let run = runs.create_run(&name("million")?)?;
    let mut writer = run.create_journal(Arc::new(SystemClock), Redactor::default())?;
    writer.append("engine", started()?)?;
    // From the intent of a step on, which comes first in each turn of four.
    for number in 4..EVENTS + 3 {
        writer.append("engine", event(number)?)?;
    }
    drop(writer);
    let bytes = std::fs::metadata(run.journal_path());
    let bytes = bytes.map_err(Error::io("read", &run.journal_path()))?.len();
    let before = resident()?;
    let began = Instant::now();
    let clock = Arc::new(SystemClock);
    let (_writer, state, _) = run.open_journal(clock, Redactor::default())?;
    let seconds = began.elapsed().as_secs_f64();
    let grown = resident()?.saturating_sub(before);
    Ok(format!(
        "record: {} events of {} MB opened and folded in {seconds:.2} s (goal: under 2 s), memory grew \
         by {grown} kB: {}\n",
        state.events,
        bytes / 1_000_000,
        reached(seconds < 2.0 && grown < 64 * 1024)
    ))
}

/// Returns whether a goal is reached, in a word.
pub fn reached(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT reached" }
}

fn noted(number: u64) -> EventBody {
    EventBody::Noted {
        severity: Severity::Low,
        text: format!("{number:09}: an event of about the length that most events have"),
    }
}

/// Events as a run writes them, in turn.
fn event(number: u64) -> Result<EventBody, Error> {
    let step = || format!("release.green.service-{}", number / 4 % 50).parse();
    let step = || step().map_err(|_| Error::Answer("a step has no name".to_owned()));
    Ok(match number % 4 {
        0 => EventBody::StepIntended {
            step: step()?,
            direction: Direction::Apply,
            attempt: 1,
            intent: serde_json::json!({ "service": "catalog", "replicas": 2 }),
            limits: None,
        },
        1 => EventBody::StepApplied {
            step: format!("release.green.service-{}", (number - 1) / 4 % 50)
                .parse()
                .map_err(|_| Error::Answer("a step has no name".to_owned()))?,
            direction: Direction::Apply,
            result: serde_json::json!({ "addresses": ["127.0.0.1:4000", "127.0.0.1:4001"] }),
        },
        2 => EventBody::HealthChanged {
            service: "catalog".to_owned(),
            release: release("1.1.0")?,
            instance: format!("catalog-1.1.0-{}", number / 4 % 8),
            probe: Probe::Readiness,
            healthy: number % 8 == 2,
            detail: "/ready answered 200".to_owned(),
        },
        _ => noted(number),
    })
}

fn release(text: &str) -> Result<code_deploy_record::Release, Error> {
    text.parse()
        .map_err(|_| Error::Answer("a release has no name".to_owned()))
}

fn name(text: &str) -> Result<code_deploy_record::RunId, Error> {
    text.parse()
        .map_err(|_| Error::Answer("a run has no name".to_owned()))
}

fn line_length() -> Result<usize, Error> {
    let event = code_deploy_record::Event {
        seq: 1_000,
        time: code_deploy_record::Clock::now(&SystemClock),
        actor: "engine".to_owned(),
        prev: Digest::of(b"line"),
        body: noted(1),
    };
    let line = serde_json::to_string(&event).map_err(code_deploy_record::Error::from)?;
    Ok(line.len() + 1)
}

fn holder() -> Result<LockHolder, Error> {
    Ok(LockHolder {
        run: name("journal")?,
        pid: std::process::id(),
        host: "here".to_owned(),
        user: "bench".to_owned(),
        since: code_deploy_record::Clock::now(&SystemClock),
        fencing: 0,
    })
}

fn started() -> Result<EventBody, Error> {
    Ok(EventBody::RunStarted(Box::new(RunStarted {
        run: name("journal")?,
        application: "bench".to_owned(),
        environment: "bench".to_owned(),
        target: "none".to_owned(),
        strategy: "canary".to_owned(),
        initial: false,
        from: Some(release("1.0.0")?),
        to: release("1.1.0")?,
        program: "0.1.0".to_owned(),
        host: "here".to_owned(),
        user: "bench".to_owned(),
        deployment_file: Digest::of(b"file"),
        previous: None,
        planted_fault: None,
        reverts: None,
    })))
}

/// Returns the most memory that this process has held, in kB.
fn resident() -> Result<u64, Error> {
    let path = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::Answer("the system does not tell this process's memory".to_owned()))
}

/// The disk of this machine without flushes, to write a large record in a short time.
#[derive(Debug)]
struct Unflushed(SystemDisk);

#[derive(Debug)]
struct UnflushedFile(Box<dyn AppendFile>);

impl AppendFile for UnflushedFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.append(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.0.cut(length)
    }
}

impl Disk for Unflushed {
    fn may_block(&self) -> bool {
        true
    }

    fn create_folder(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_folder(path)
    }

    fn create_new_folder(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_new_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        self.0.sync_folder(path)
    }

    fn entries(&self, path: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        self.0.entries(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.is_file(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.is_folder(path)
    }

    fn kind(&self, path: &Path) -> std::io::Result<EntryKind> {
        self.0.kind(path)
    }

    fn read(&self, path: &Path) -> std::io::Result<Box<dyn ReadFile>> {
        self.0.read(path)
    }

    fn append(&self, path: &Path, create: Create) -> std::io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(UnflushedFile(self.0.append(path, create)?)))
    }

    fn replace(&self, path: &Path, content: &mut dyn std::io::Read) -> std::io::Result<()> {
        self.0.replace(path, content)
    }

    fn lock(&self, path: &Path, wait: bool) -> std::io::Result<Option<Box<dyn Locked>>> {
        self.0.lock(path, wait)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove(path)
    }
}
