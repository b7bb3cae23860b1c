//! A folder with the shop, deployed by the built program as a person does it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use code_deploy_record::{RunFolder, RunState, RunsFolder};
use code_deploy_wire::{Interrupts, Spec};
use tokio::process::{Child, Command};

use crate::Error;

/// What of the shop's deployment file is other here: runs are short, and what only a machine at
/// leisure reaches is not asked for.
const EDITS: [(&str, &str); 12] = [
    ("{ percent: 5, soak: 6s }", "{ percent: 5, soak: 1s }"),
    ("{ percent: 25, soak: 4s }", "{ percent: 50, soak: 1s }"),
    ("        - { percent: 50, soak: 4s }\n", ""),
    ("{ percent: 100, soak: 3s }", "{ percent: 100, soak: 1s }"),
    ("latency_floor: 50ms", "latency_floor: 2s"),
    ("error_share_margin: 1.0", "error_share_margin: 50.0"),
    ("min_requests: 20", "min_requests: 1"),
    ("keep_old: 2s", "keep_old: 1s"),
    ("availability: 99.9", "availability: 10"),
    ("percent: 99, below: 500ms", "percent: 99, below: 50s"),
    ("throughput: 120", "throughput: 1"),
    ("  rate: 150\n  duration: 5s", "  rate: 20\n  duration: 1s"),
];

/// How long any command of the program may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

/// A folder of its own with the shop in it. What was deployed from it is not stopped when it goes:
/// see [`stop`](Self::stop).
#[derive(Debug)]
pub struct Place {
    folder: tempfile::TempDir,
    program: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none when it was ended by a signal.
    pub code: Option<i32>,
    /// What it wrote, to both streams.
    pub text: String,
}

impl Place {
    /// Lays the shop out.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(program: &Path) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(Error::file("make", Path::new("a folder")))?;
        for (name, content) in code_deploy_shop::FILES {
            let path = folder.path().join("shop").join(name);
            let content = if *name == "deploy.yaml" {
                short(content)
            } else {
                (*content).to_owned()
            };
            let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            written
                .and_then(|()| std::fs::write(&path, content))
                .map_err(Error::file("write", &path))?;
        }
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).map_err(Error::file("make", &temporary))?;
        let program = program
            .canonicalize()
            .map_err(Error::file("find", program))?;
        Ok(Self { folder, program })
    }

    /// Returns the folder of all.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the project's folder.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.path().join("shop")
    }

    /// Returns the folder for what is temporary.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// Returns the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the variables by which the program finds sockets and keys: those of the stage, not of
    /// the user. Who works on what runs here needs the same.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        let state = self.path().join("state");
        [
            ("XDG_RUNTIME_DIR", self.path().to_owned()),
            ("XDG_STATE_HOME", state),
        ]
    }

    /// Returns how the kernel of the program is started for what runs here.
    #[must_use]
    pub fn kernel(&self) -> Spec {
        let words = ["kernel", "launch"];
        let mut spec = Spec::program("code-deploy", &self.program, &words, Interrupts::Message);
        let variables = self.variables().into_iter();
        let variables =
            variables.map(|(name, value)| (name.to_owned(), value.display().to_string()));
        spec.env.extend(variables);
        spec
    }

    /// Starts a command of the program in the project's folder, with its output into a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &self,
        words: &[&str],
        variables: &[(&str, String)],
        output: &Path,
    ) -> Result<Child, Error> {
        let file = std::fs::File::create(output).map_err(Error::file("create", output))?;
        let errors = file.try_clone().map_err(Error::file("share", output))?;
        Command::new(&self.program)
            .args(words)
            .current_dir(self.project())
            .envs(self.variables())
            .env("TMPDIR", self.temporary())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::process("start"))
    }

    /// Runs a command of the program to its end.
    ///
    /// # Errors
    /// When it cannot be started, or hangs.
    pub async fn run(&self, words: &[&str]) -> Result<Said, Error> {
        let output = self.path().join("said");
        let mut child = self.start(words, &[], &output)?;
        let code = ended(&mut child, words).await?;
        let text = std::fs::read(&output).map_err(Error::file("read", &output))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Said { code, text })
    }

    /// Returns the runs, oldest first. One that was killed before its first event is none.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn runs(&self) -> Result<Vec<(RunFolder, RunState)>, Error> {
        self.runs_after(0)
    }

    /// Returns the runs but for the first, of which [`count`](Self::count) counted that many.
    pub(crate) fn runs_after(&self, before: usize) -> Result<Vec<(RunFolder, RunState)>, Error> {
        let runs = RunsFolder::of_project(&self.project());
        let mut found = Vec::new();
        for id in runs.list()?.into_iter().skip(before) {
            let folder = runs.run(&id)?;
            let state = folder.state()?;
            if state.started.is_some() {
                found.push((folder, state));
            }
        }
        Ok(found)
    }

    /// Returns how many lines the journal of the last run has, when there are more than `before`
    /// runs; the cheap way, without reading what they say.
    pub(crate) fn lines_of_run_after(&self, before: usize) -> usize {
        let runs = RunsFolder::of_project(&self.project());
        let Ok(ids) = runs.list() else { return 0 };
        let run = ids.get(before..).and_then(|new| new.last());
        let folder = run.and_then(|id| runs.run(id).ok());
        let text = folder.and_then(|folder| std::fs::read(folder.journal_path()).ok());
        let lines = text.unwrap_or_default();
        lines.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Returns how many runs there are, also such as were killed before their first event.
    pub(crate) fn count(&self) -> usize {
        let runs = RunsFolder::of_project(&self.project());
        runs.list().map_or(0, |ids| ids.len())
    }

    /// Stops everything that was deployed from here.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn stop(&self) -> Result<(), Error> {
        let words = ["dev", "local", "--stop"];
        let said = self.run(&words).await?;
        if said.code == Some(0) {
            return Ok(());
        }
        Err(Error::Command {
            command: words.join(" "),
            code: said.code,
            said: said.text,
        })
    }
}

/// Waits for a command's end; returns its exit code.
pub(crate) async fn ended(child: &mut Child, words: &[&str]) -> Result<Option<i32>, Error> {
    match tokio::time::timeout(COMMAND_LIMIT, child.wait()).await {
        Ok(status) => Ok(status.map_err(Error::process("wait for"))?.code()),
        Err(_) => Err(Error::TimedOut {
            what: format!("the end of `code-deploy {}`", words.join(" ")),
            limit: COMMAND_LIMIT,
        }),
    }
}

fn short(file: &str) -> String {
    EDITS
        .iter()
        .fold(file.to_owned(), |file, (from, to)| file.replace(from, to))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn every_edit_is_one_of_something_that_stands_in_the_file() {
        let mut files = code_deploy_shop::FILES.iter();
        let (_, file) = files.find(|(name, _)| *name == "deploy.yaml").unwrap();
        for (from, _) in EDITS {
            assert!(file.contains(from), "{from}");
        }
    }
}
