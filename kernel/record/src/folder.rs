//! Where runs live on disk.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    Checkpoint, Clock, Error, Event, EvidenceStore, JournalReader, JournalWriter, Recovered,
    Redactor, Result, RunId, RunState, SealFolder,
};

/// The folder `.code-deploy` beside a deployment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunsFolder {
    path: PathBuf,
}

impl RunsFolder {
    /// The folder's name.
    pub const NAME: &'static str = ".code-deploy";

    /// Returns the folder that belongs to the project in `project`. It need not exist.
    #[must_use]
    pub fn of_project(project: &Path) -> Self {
        Self {
            path: project.join(Self::NAME),
        }
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
        if !path.is_dir() {
            return Err(Error::NoSuchRun {
                run: run.clone(),
                path: self.runs_path(),
            });
        }
        Ok(RunFolder { path })
    }

    /// Creates the folder of a new run.
    ///
    /// # Errors
    /// [`Error::Io`], also when the run exists.
    pub fn create_run(&self, run: &RunId) -> Result<RunFolder> {
        let path = self.runs_path().join(run.as_str());
        create_private(&self.runs_path())?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(Error::io("create", &path))?;
        for part in ["samples", "evidence", "logs"] {
            create_private(&path.join(part))?;
        }
        sync_folder_of(&path)?;
        Ok(RunFolder { path })
    }

    /// Returns the names of all runs, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`]. A folder that is not there holds no runs, which is no error.
    pub fn list(&self) -> Result<Vec<RunId>> {
        let path = self.runs_path();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &path))?;
            let name = entry.file_name();
            let run = name.to_str().and_then(|name| name.parse::<RunId>().ok());
            runs.extend(run.filter(|_| entry.path().join(RunFolder::JOURNAL).is_file()));
        }
        runs.sort();
        Ok(runs)
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The journal's file name.
    pub const JOURNAL: &'static str = "journal.jsonl";

    /// Returns the run whose folder is at `path`.
    ///
    /// # Errors
    /// [`Error::NotARecord`] when there is no journal in it.
    pub fn at(path: &Path) -> Result<Self> {
        if path.join(Self::JOURNAL).is_file() {
            return Ok(Self {
                path: path.to_owned(),
            });
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
        EvidenceStore::new(self.path.join("evidence"))
    }

    /// Returns the folder of what was signed.
    #[must_use]
    pub fn seal(&self) -> SealFolder {
        SealFolder::new(&self.path)
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
        let note = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Ok(note.parse().ok())
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
        JournalWriter::create(&self.journal_path(), clock, redactor)
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
        let (writer, recovered) =
            JournalWriter::open(&self.journal_path(), clock, redactor, |event| {
                if let Err(error) = state.apply(event) {
                    illegal.get_or_insert((event.seq, error));
                }
            })?;
        if let Some((seq, what)) = illegal {
            return Err(Error::Broken {
                path: self.journal_path(),
                line: seq + 1,
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
                line: event.seq + 1,
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
        JournalReader::open(&self.journal_path())
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
pub(crate) fn create_private(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(Error::io("create", path))
}

/// Makes sure that the entry of `path` in its folder is on disk.
pub(crate) fn sync_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.sync_all().map_err(Error::io("flush", folder))
}
