//! Where runs live on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, SystemDisk, is_refused};
use crate::{
    Checkpoint, Clock, Error, Event, EvidenceStore, JournalReader, JournalWriter, Recovered,
    Redactor, Result, RunId, RunState, SampleFollower, SampleReader, SampleWriter, SealFolder,
    Source,
};

/// The folder `.code-deploy` beside a deployment file.
#[derive(Debug, Clone)]
pub struct RunsFolder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl RunsFolder {
    /// The folder's name.
    pub const NAME: &'static str = ".code-deploy";

    /// Returns the folder that belongs to the project in `project`. It need not exist.
    #[must_use]
    pub fn of_project(project: &Path) -> Self {
        Self::on_disk(SystemDisk::shared(), project)
    }

    /// Returns the folder that belongs to the project in `project` on that disk.
    #[must_use]
    pub fn on_disk(disk: Arc<dyn Disk>, project: &Path) -> Self {
        Self {
            path: project.join(Self::NAME),
            disk,
        }
    }

    /// Returns the disk that it lies on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder in which a run of the project in `project` leaves its notebooks.
    #[must_use]
    pub fn notebooks_of(project: &Path, run: &RunId) -> PathBuf {
        project.join("deployments").join(run.as_str())
    }

    /// Returns the path of the folder that holds the runs.
    #[must_use]
    pub fn runs_path(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Returns a run that exists.
    ///
    /// # Errors
    /// [`Error::NoSuchRun`].
    pub fn run(&self, run: &RunId) -> Result<RunFolder> {
        let path = self.runs_path().join(run.as_str());
        if !self.disk.is_folder(&path) {
            return Err(Error::NoSuchRun {
                run: run.clone(),
                path: self.runs_path(),
            });
        }
        Ok(RunFolder {
            path,
            disk: Arc::clone(&self.disk),
        })
    }

    /// Creates the folder of a new run.
    ///
    /// # Errors
    /// [`Error::Io`], also when the run exists.
    pub fn create_run(&self, run: &RunId) -> Result<RunFolder> {
        let path = self.runs_path().join(run.as_str());
        let disk = self.disk.as_ref();
        create_private(disk, &self.runs_path())?;
        let created = disk.create_new_folder(&path);
        created.map_err(Error::io("create", &path))?;
        for part in ["samples", "evidence", "logs"] {
            create_private(disk, &path.join(part))?;
        }
        sync_folder_of(disk, &path)?;
        Ok(RunFolder {
            path,
            disk: Arc::clone(&self.disk),
        })
    }

    /// Returns the names of all runs, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`]. A folder that is not there holds no runs, which is no error.
    pub fn list(&self) -> Result<Vec<RunId>> {
        let path = self.runs_path();
        let mut runs = Vec::new();
        for entry in entries_or_none(self.disk.as_ref(), &path)? {
            let name = entry.file_name().and_then(|name| name.to_str());
            let run = name.and_then(|name| name.parse::<RunId>().ok());
            let journal = entry.join(RunFolder::JOURNAL);
            runs.extend(run.filter(|_| self.disk.is_file(&journal)));
        }
        runs.sort();
        Ok(runs)
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl RunFolder {
    /// The journal's file name.
    pub const JOURNAL: &'static str = "journal.jsonl";

    /// Returns the run whose folder is at `path`.
    ///
    /// # Errors
    /// [`Error::NotARecord`] when nothing in it has the journal's name.
    pub fn at(path: &Path) -> Result<Self> {
        let disk = SystemDisk::shared();
        // What stands there under its name is for whoever reads it to judge.
        if disk.kind(&path.join(Self::JOURNAL)).is_ok() {
            let path = path.to_owned();
            return Ok(Self { path, disk });
        }
        let what = format!("there is no `{}` in it", Self::JOURNAL);
        Err(Error::NotARecord {
            path: path.to_owned(),
            what,
        })
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the disk that it lies on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns the place of an event of the journal as everything that a person reads names it: by the number with which
    /// its line begins, counted from 0. A line that cannot be read stands where the event of that number belongs.
    #[must_use]
    pub fn place_of(event: u64) -> String {
        format!("{}, event {event}", Self::JOURNAL)
    }

    /// Returns the place of the events from the first to the last, which may be the same.
    #[must_use]
    pub fn place_of_all(first: u64, last: u64) -> String {
        match first < last {
            true => format!("{}, events {first} to {last}", Self::JOURNAL),
            false => Self::place_of(last),
        }
    }

    /// Returns the path of the journal.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path.join(Self::JOURNAL)
    }

    /// Returns the folder of the samples files.
    #[must_use]
    pub fn samples_path(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Returns the folder of the logs of what runs locally.
    #[must_use]
    pub fn logs_path(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Returns the evidence of the run.
    #[must_use]
    pub fn evidence(&self) -> EvidenceStore {
        EvidenceStore::new(Arc::clone(&self.disk), self.path.join("evidence"))
    }

    /// Opens a samples file of the run for appending, as [`SampleWriter::open`] does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sample_writer(&self, name: &str) -> Result<SampleWriter> {
        SampleWriter::on_disk(self.disk.as_ref(), &self.samples_path(), name)
    }

    /// Opens the samples files of the run whose names begin with `prefix`, as
    /// [`SampleReader::open_folder`] does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn samples(&self, prefix: &str) -> Result<SampleReader> {
        SampleReader::on_disk(Arc::clone(&self.disk), &self.samples_path(), prefix)
    }

    /// Returns a follower of the samples that a source writes, of that second (Unix time) and later.
    #[must_use]
    pub fn follow_samples(&self, source: Source, since: i64) -> SampleFollower {
        SampleFollower::on_disk(Arc::clone(&self.disk), self.samples_path(), source, since)
    }

    /// Returns the folder of what was signed.
    #[must_use]
    pub fn seal(&self) -> SealFolder {
        SealFolder::new(Arc::clone(&self.disk), &self.path)
    }

    /// Returns the largest checkpoint that is here and can be read, whether it holds or not; nothing
    /// where none is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(path) = self.seal().checkpoints()?.pop() else {
            return Ok(None);
        };
        match self.seal().read(&path) {
            Ok(note) => Ok(String::from_utf8_lossy(&note).parse().ok()),
            Err(Error::Io { source, .. }) if is_refused(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the last checkpoint covers all of the journal, or no key seals this record.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Io`].
    pub fn is_signed_to_its_end(&self) -> Result<bool> {
        let mut events = self.events()?;
        let mut is_named = false;
        while let Some(event) = events.next_event()? {
            is_named |= matches!(event.body, crate::EventBody::KeyNamed(_));
        }
        let last = self.last_checkpoint()?;
        Ok(!is_named || last.is_some_and(|last| last.head == events.tree()))
    }

    /// Starts the journal of a new run.
    ///
    /// # Errors
    /// [`Error::Io`], also when there is a journal.
    pub fn create_journal(
        &self,
        clock: Arc<dyn Clock>,
        redactor: Redactor,
    ) -> Result<JournalWriter> {
        JournalWriter::create(&self.disk, &self.journal_path(), clock, redactor)
    }

    /// Opens the journal to go on writing, and folds what stands in it.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Io`].
    pub fn open_journal(
        &self,
        clock: Arc<dyn Clock>,
        redactor: Redactor,
    ) -> Result<(JournalWriter, RunState, Recovered)> {
        let mut state = RunState::default();
        let mut illegal = None;
        let path = self.journal_path();
        let fold = |event: &Event| {
            if let Err(error) = state.apply(event) {
                illegal.get_or_insert((event.seq, error));
            }
        };
        let (writer, recovered) = JournalWriter::open(&self.disk, &path, clock, redactor, fold)?;
        if let Some((seq, what)) = illegal {
            return Err(Error::Broken {
                path: self.journal_path(),
                event: seq,
                what,
            });
        }
        Ok((writer, state, recovered))
    }

    /// Reads the journal and folds it.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Io`].
    pub fn state(&self) -> Result<RunState> {
        let mut state = RunState::default();
        let path = self.journal_path();
        for event in self.events()? {
            let event = event?;
            state.apply(&event).map_err(|what| Error::Broken {
                path: path.clone(),
                event: event.seq,
                what,
            })?;
        }
        Ok(state)
    }

    /// Streams the events.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn events(&self) -> Result<JournalReader> {
        JournalReader::open(self.disk.as_ref(), &self.journal_path())
    }

    /// Returns the first event's body: how the run began.
    ///
    /// # Errors
    /// [`Error::NotARecord`] when the journal does not begin as a journal does; [`Error::Broken`].
    pub fn started(&self) -> Result<crate::RunStarted> {
        let first: Option<Event> = self.events()?.next_event()?;
        match first.map(|event| event.body) {
            Some(crate::EventBody::RunStarted(started)) => Ok(*started),
            _ => {
                let what = "its journal does not begin with the start of a run".to_owned();
                Err(Error::NotARecord {
                    path: self.path.clone(),
                    what,
                })
            }
        }
    }
}

/// Creates a folder and the ones above it, private to the user.
pub(crate) fn create_private(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.create_folder(path).map_err(Error::io("create", path))
}

/// Returns what is in a folder; nothing when there is no folder.
pub(crate) fn entries_or_none(disk: &dyn Disk, path: &Path) -> Result<Vec<PathBuf>> {
    match disk.entries(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", path)),
    }
}

/// Makes sure that the entry of `path` in its folder is on disk.
pub(crate) fn sync_folder_of(disk: &dyn Disk, path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let synced = disk.sync_folder(folder);
    synced.map_err(Error::io("flush", folder))
}
