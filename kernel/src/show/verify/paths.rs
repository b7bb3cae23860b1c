//! What the paths that are given to `verify` are.

use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::Origin;
use code_deploy_record::{RunFolder, RunId};

use super::notebooks::Notebooks;
use crate::commands::VerifyArgs;
use crate::failure::Failure;
use crate::project::Project;

/// What is to be checked.
#[derive(Default)]
pub(super) struct Subjects {
    pub records: Vec<RunFolder>,
    pub notebooks: Vec<Notebooks>,
}

/// Finds out what each path is.
pub(super) fn read(project: Option<&Project>, arguments: &VerifyArgs) -> Result<Subjects, Failure> {
    let mut subjects = Subjects::default();
    if arguments.paths.is_empty() {
        let project = project.ok_or_else(|| {
            Failure::usage("there is no project here", "Name the folder of a run.")
        })?;
        subjects.records.push(project.run(None)?);
    }
    for path in &arguments.paths {
        subjects.add(project, path)?;
    }
    if let Some(folder) = &arguments.notebooks {
        if !folder.is_dir() {
            let what = format!("there is no folder {}", folder.display());
            return Err(Failure::usage(what, "Name the folder of the notebooks."));
        }
        let of = subjects.records.first().cloned();
        subjects.notebooks.push(Notebooks {
            of,
            ..Notebooks::whole(folder)
        });
    }
    Ok(subjects)
}

impl Subjects {
    fn add(&mut self, project: Option<&Project>, path: &Path) -> Result<(), Failure> {
        if path.is_file() {
            let folder = path.parent().unwrap_or(Path::new("."));
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            self.notebooks.push(Notebooks {
                only: Some(name),
                ..Notebooks::whole(folder)
            });
            return Ok(());
        }
        if !path.is_dir() {
            let project = project.ok_or_else(|| nothing(path))?;
            self.records.push(project.run(path.to_str())?);
            return Ok(());
        }
        let mut is_something = false;
        if path.join(RunFolder::JOURNAL).is_file() {
            self.records.push(RunFolder::at(path)?);
            is_something = true;
        }
        let entries = entries(path)?;
        for below in entries
            .iter()
            .filter(|entry| entry.join(RunFolder::JOURNAL).is_file())
        {
            self.records.push(RunFolder::at(below)?);
            is_something = true;
        }
        if entries.iter().any(|entry| is_notebook(entry)) {
            self.notebooks.push(Notebooks::whole(path));
            is_something = true;
        }
        if is_something {
            return Ok(());
        }
        Err(RunFolder::at(path)
            .err()
            .map_or_else(|| nothing(path), Failure::from))
    }
}

fn nothing(path: &Path) -> Failure {
    let what = format!("there is nothing to verify at {}", path.display());
    Failure::usage(
        what,
        "Name the folder of a record, a notebook, or a folder of both.",
    )
}

fn is_notebook(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "ipynb")
}

/// Returns what is in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| code_deploy_record::Error::io("read", folder)(error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    Ok(entries)
}

impl Notebooks {
    /// Returns the record that the notebooks are of: the one that was named with them, or one of the
    /// records that are checked, or a run of the project.
    pub(super) fn record(
        &self,
        project: Option<&Project>,
        records: &[RunFolder],
    ) -> Result<Option<RunFolder>, Failure> {
        if let Some(of) = &self.of {
            return Ok(Some(of.clone()));
        }
        let Some(run) = self.run()? else {
            return Ok(records.first().filter(|_| records.len() == 1).cloned());
        };
        let same = |record: &&RunFolder| record.started().is_ok_and(|s| s.run.as_str() == run);
        if let Some(record) = records.iter().find(same) {
            return Ok(Some(record.clone()));
        }
        let id: Option<RunId> = run.parse().ok();
        let of_project = id.and_then(|id| project?.runs().run(&id).ok());
        Ok(of_project.filter(|folder| folder.journal_path().is_file()))
    }

    /// Returns the run that the notebooks say they are of.
    fn run(&self) -> Result<Option<String>, Failure> {
        let files = match &self.only {
            Some(name) => vec![self.folder.join(name)],
            None => entries(&self.folder)?,
        };
        let mut notebooks = files.iter().filter(|path| is_notebook(path));
        Ok(notebooks.find_map(|path| Origin::of(&std::fs::read(path).ok()?)?.run))
    }
}
