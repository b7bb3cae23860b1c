//! One runner per application and environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Locked};
use crate::folder::create_private;
use crate::{Error, Result, RunId, RunsFolder};

/// The longest holder file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The run it is held for.
    pub run: RunId,
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// The system's user.
    pub user: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Grows by one with each holder, so that an earlier one can be told from the present one.
    pub fencing: u64,
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.since.format("%Y-%m-%d %H:%M:%S UTC");
        let Self {
            run,
            pid,
            host,
            user,
            ..
        } = self;
        write!(
            f,
            "{user} on {host} (process {pid}) for run {run} since {since}"
        )
    }
}

/// A holder with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Who holds the lock, or held it last.
    #[serde(flatten)]
    pub holder: LockHolder,
    /// How often the lease was renewed. Whoever waits for a holder that seems asleep watches this
    /// number by a clock that nobody sets.
    pub beat: u64,
    /// When it was renewed last, by the holder's clock.
    pub renewed: DateTime<Utc>,
}

impl Standing {
    /// Returns whether the lease looks as if it had run out. A clock that was set back or forward
    /// looks so, too; only a number of renewals that stands still for a whole lease shows it.
    #[must_use]
    pub fn seems_asleep(&self, now: DateTime<Utc>) -> bool {
        let age = (now - self.renewed).to_std();
        age.is_err() || age.is_ok_and(|age| age > RunLock::LEASE)
    }
}

/// The lock of one application and environment.
///
/// # Guarantees
/// - The operating system tells whether the holder lives: a dead one, however it ended, never
///   blocks anybody.
/// - A holder that lives and does not renew its lease, because it is suspended or cannot write,
///   can be taken over ([`take_from`](Self::take_from)). It finds itself fenced off
///   ([`Fence`]) when it wakes: the journal takes nothing more from it.
/// - The fencing number grows with each holder, also across crashes of the machine.
///
/// # Caveats
/// A process that is suspended in the microseconds in which it appends to the journal has to be
/// ended before anybody can take over.
#[derive(Debug)]
pub struct RunLock {
    _alive: Box<dyn Locked>,
    holder: LockHolder,
    files: Files,
}

/// Where the lock of one application and environment lies.
#[derive(Debug, Clone)]
struct Files {
    disk: Arc<dyn Disk>,
    /// Locked for as long as the holder lives.
    alive: PathBuf,
    /// Says who holds the lock; replaced as a whole.
    holder: PathBuf,
    /// Locked while the holder file is looked at and what follows from that is done.
    guard: PathBuf,
}

impl Files {
    fn of(runs: &RunsFolder, application: &str, environment: &str) -> Self {
        let folder = runs.path().join("locks");
        let path = |end: &str| folder.join(format!("{application}--{environment}.{end}"));
        Self {
            disk: Arc::clone(runs.disk()),
            alive: path("lock"),
            holder: path("holder"),
            guard: path("guard"),
        }
    }

    fn guard(&self) -> Result<Box<dyn Locked>> {
        let guard = self.disk.lock(&self.guard, true);
        let guard = guard.map_err(Error::io("lock", &self.guard))?;
        guard.ok_or_else(|| {
            let busy = std::io::Error::from(std::io::ErrorKind::WouldBlock);
            Error::io("lock", &self.guard)(busy)
        })
    }

    fn standing(&self) -> Result<Option<Standing>> {
        use std::io::Read as _;
        let mut text = Vec::new();
        let read = self.disk.read(&self.holder);
        match read.and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
            Ok(_) => {
                let standing = serde_json::from_slice(&text).map_err(std::io::Error::from);
                Ok(Some(standing.map_err(Error::io("read", &self.holder))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &self.holder)(error)),
        }
    }

    fn write(&self, standing: &Standing) -> Result<()> {
        let text = serde_json::to_vec(standing)?;
        let written = self.disk.replace(&self.holder, &mut text.as_slice());
        written.map_err(Error::io("write", &self.holder))
    }
}

impl RunLock {
    /// How long a holder may go without renewing its lease before somebody else may take over.
    pub const LEASE: Duration = Duration::from_secs(30);

    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process that lives holds it; [`Error::Io`].
    pub fn take(
        runs: &RunsFolder,
        application: &str,
        environment: &str,
        holder: LockHolder,
    ) -> Result<Self> {
        let files = Files::of(runs, application, environment);
        create_private(runs.disk().as_ref(), &runs.path().join("locks"))?;
        let _guard = files.guard()?;
        let before = files.standing()?;
        let alive = files.disk.lock(&files.alive, false);
        match alive.map_err(Error::io("lock", &files.alive))? {
            Some(alive) => Self::hold(files, alive, before, holder),
            None => Err(Error::Locked {
                application: application.to_owned(),
                environment: environment.to_owned(),
                holder: before.as_ref().map_or_else(
                    || "a process that has just taken it".to_owned(),
                    |before| before.holder.to_string(),
                ),
                standing: before.map(Box::new),
            }),
        }
    }

    /// Takes the lock from a holder that lives but was seen not to renew its lease for
    /// [`LEASE`](Self::LEASE).
    ///
    /// # Errors
    /// [`Error::Locked`] when it has renewed since, or somebody else has taken over;
    /// [`Error::Io`].
    pub fn take_from(
        asleep: &Standing,
        runs: &RunsFolder,
        application: &str,
        environment: &str,
        holder: LockHolder,
    ) -> Result<Self> {
        let files = Files::of(runs, application, environment);
        let guard = files.guard()?;
        let before = files.standing()?;
        if before.as_ref() != Some(asleep) {
            drop(guard);
            return Self::take(runs, application, environment, holder);
        }
        // The one that sleeps keeps its lock on a file that has no name any more.
        let removed = files.disk.remove(&files.alive);
        removed.map_err(Error::io("remove", &files.alive))?;
        let alive = files.disk.lock(&files.alive, false);
        let alive = alive.map_err(Error::io("lock", &files.alive))?;
        let Some(alive) = alive else {
            drop(guard);
            return Self::take(runs, application, environment, holder);
        };
        Self::hold(files, alive, before, holder)
    }

    fn hold(
        files: Files,
        alive: Box<dyn Locked>,
        before: Option<Standing>,
        mut holder: LockHolder,
    ) -> Result<Self> {
        holder.fencing = before.map_or(0, |before| before.holder.fencing) + 1;
        files.write(&Standing {
            holder: holder.clone(),
            beat: 0,
            renewed: holder.since,
        })?;
        Ok(Self {
            _alive: alive,
            holder,
            files,
        })
    }

    /// Returns who holds the lock of an application and environment now, if anybody does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holder_of(
        runs: &RunsFolder,
        application: &str,
        environment: &str,
    ) -> Result<Option<LockHolder>> {
        let files = Files::of(runs, application, environment);
        if !files.disk.is_file(&files.alive) {
            return Ok(None);
        }
        let _guard = files.guard()?;
        let free = files.disk.lock(&files.alive, false);
        match free.map_err(Error::io("lock", &files.alive))? {
            Some(_free) => Ok(None),
            None => Ok(files.standing()?.map(|standing| standing.holder)),
        }
    }

    /// Returns this holder.
    #[must_use]
    pub fn holder(&self) -> &LockHolder {
        &self.holder
    }

    /// Returns what holds this process off once another has taken the lock.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            files: self.files.clone(),
            fencing: self.holder.fencing,
        }
    }
}

/// Holds a process off once another has taken the lock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fence {
    files: Files,
    fencing: u64,
}

/// Nobody takes the lock until this is dropped.
#[derive(Debug)]
pub struct Held {
    _guard: Box<dyn Locked>,
}

impl Fence {
    /// Returns the number under which this process holds the lock.
    #[must_use]
    pub fn fencing(&self) -> u64 {
        self.fencing
    }

    /// Looks whether this process still holds the lock.
    ///
    /// # Errors
    /// [`Error::FencedOff`] when another has taken it; [`Error::Io`].
    pub fn check(&self) -> Result<()> {
        self.own().map(|_| ())
    }

    /// Looks whether this process still holds the lock, and keeps others from taking it until
    /// what is returned is dropped. For microseconds only.
    ///
    /// # Errors
    /// [`Error::FencedOff`] when another has taken it; [`Error::Io`].
    pub fn hold(&self) -> Result<Held> {
        let guard = self.files.guard()?;
        self.own()?;
        Ok(Held { _guard: guard })
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`Error::FencedOff`] when another has taken the lock; [`Error::Io`].
    pub fn renew(&self, now: DateTime<Utc>) -> Result<()> {
        let _guard = self.files.guard()?;
        let mut standing = self.own()?;
        standing.beat += 1;
        standing.renewed = now;
        self.files.write(&standing)
    }

    fn own(&self) -> Result<Standing> {
        let standing = self.files.standing()?;
        match standing {
            Some(standing) if standing.holder.fencing == self.fencing => Ok(standing),
            other => Err(Error::FencedOff {
                fencing: self.fencing,
                holder: other.map_or_else(
                    || "nobody: its file is gone".to_owned(),
                    |standing| standing.holder.to_string(),
                ),
            }),
        }
    }
}
