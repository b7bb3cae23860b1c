//! What the paths that are given to `verify` are.

mod of;

use std::path::{Path, PathBuf};

use code_deploy_engine::spec;
use code_deploy_notebook_gen::Origin;
use code_deploy_record::disk::{NoFile, open_named, read_at_most};
use code_deploy_record::{EXPORTED_RECORD, RunFolder, RunId, RunsFolder};

use super::notebooks::{GONE, LARGEST, LINK, Notebooks};
use super::{Kind, unrecorded};
use crate::commands::VerifyArgs;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::publish;

/// What is to be checked.
#[derive(Default)]
pub(super) struct Subjects {
    pub records: Vec<RunFolder>,
    /// Those of them that were named themselves, and not found in a folder that was.
    named: Vec<RunFolder>,
    pub notebooks: Vec<Notebooks>,
}

/// Finds out what each path is.
pub(super) fn read(project: Option<&Project>, arguments: &VerifyArgs) -> Result<Subjects, Failure> {
    let mut subjects = Subjects::default();
    if arguments.paths.is_empty() {
        let project = project.ok_or_else(|| {
            Failure::usage("there is no project here", "Name the folder of a run.")
        })?;
        subjects.add_last(project, arguments)?;
    }
    for path in &arguments.paths {
        subjects.add(project, path, arguments)?;
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
    fn add(
        &mut self,
        project: Option<&Project>,
        path: &Path,
        arguments: &VerifyArgs,
    ) -> Result<(), Failure> {
        if path.is_file() {
            if !is_notebook(path) {
                return Err(no_notebook(path));
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            self.notebooks.push(Notebooks {
                only: Some(name),
                ..Notebooks::whole(folder)
            });
            return Ok(());
        }
        if !path.is_dir() {
            if std::fs::metadata(path).is_ok() {
                return Err(no_notebook(path));
            }
            let project = project.ok_or_else(|| nothing(path))?;
            let left = unrecorded::of_run(project, path)?;
            if let Some(left) = left.filter(|_| arguments.notebooks.is_none()) {
                self.notebooks.push(left);
                return Ok(());
            }
            let record = project.run(path.to_str())?;
            self.named.push(record.clone());
            self.records.push(record.clone());
            return self.add_left(project, &record, arguments);
        }
        let before = self.count();
        self.add_folder(path, true)?;
        let within = [RUNS, DEPLOYMENTS].map(|name| path.join(name));
        for folder in within
            .into_iter()
            .chain([Self::runs_of(path), path.to_owned()])
        {
            self.add_below(&folder)?;
        }
        if Self::runs_of(path).is_dir() {
            self.add_gone(path)?;
        }
        if let Some(project) = project_with(path) {
            self.add_unrecorded(&project)?;
        }
        if self.count() > before {
            return Ok(());
        }
        Err(holds_nothing(path))
    }

    /// Takes the last run of a project, and the notebooks of runs of which it keeps no record.
    fn add_last(&mut self, project: &Project, arguments: &VerifyArgs) -> Result<(), Failure> {
        if arguments.notebooks.is_none() {
            self.add_unrecorded(project)?;
        }
        let record = match last_of(project)? {
            Some(record) => record,
            None if !self.notebooks.is_empty() => return Ok(()),
            None => project.run(None)?,
        };
        self.records.push(record.clone());
        self.add_left(project, &record, arguments)
    }

    /// Takes the notebooks that runs have left in a project which keeps no record of them.
    fn add_unrecorded(&mut self, project: &Project) -> Result<(), Failure> {
        for left in unrecorded::all(project)? {
            let is_known = |known: &&mut Notebooks| is_same(&known.folder, &left.folder);
            match self.notebooks.iter_mut().find(is_known) {
                Some(known) => known.is_unrecorded = true,
                None => self.notebooks.push(left),
            }
        }
        Ok(())
    }

    /// Takes the notebooks that a run has left in its project, where nothing is named by a path.
    fn add_left(
        &mut self,
        project: &Project,
        record: &RunFolder,
        arguments: &VerifyArgs,
    ) -> Result<(), Failure> {
        let is_named =
            arguments.notebooks.is_some() || arguments.paths.iter().any(|path| path.exists());
        if !is_named {
            self.notebooks.extend(left_by(project, record)?);
        }
        Ok(())
    }

    /// Takes the notebooks of the runs of a project whose folders are not there any more.
    fn add_gone(&mut self, project: &Path) -> Result<(), Failure> {
        let runs = Self::runs_of(project);
        let is_of = |record: &&RunFolder| {
            record
                .path()
                .parent()
                .is_some_and(|one| is_same(one, &runs))
        };
        for record in self.records.iter().filter(is_of) {
            let left = left_by(&project_at(project), record)?;
            self.notebooks
                .extend(left.filter(|left| !left.folder.is_dir()));
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.records.len() + self.notebooks.len()
    }

    /// Returns where the runs of a project are.
    fn runs_of(project: &Path) -> PathBuf {
        RunsFolder::of_project(project).runs_path()
    }

    /// Takes a folder that holds a record or notebooks. Notebooks that nobody has run are meant only
    /// where their folder was named, and is not that of a project, in which they lie ready.
    fn add_folder(&mut self, path: &Path, is_named: bool) -> Result<(), Failure> {
        let own = Notebooks::whole(path).own_record();
        let mut exported = None;
        // Where a project keeps the record, what lies beside the notebooks is none.
        if own.is_none() {
            let beside = path.join(EXPORTED_RECORD);
            let is_exported = why_unread(&beside).is_none();
            let is_record = has_journal(path) && !(is_exported && is_for_notebooks(path)?);
            if is_record {
                self.add_record(path)?;
            }
            if is_exported {
                self.add_record(&beside)?;
                exported = Some(RunFolder::at(&beside)?);
            }
            if is_named && is_record {
                self.named.push(RunFolder::at(path)?);
            }
        }
        let all = is_named && !Self::runs_of(path).is_dir();
        let is_meant = |entry: &PathBuf| is_notebook(entry) && (all || run_of(entry).is_some());
        // All notebooks may have been taken away, or say of no run any more that they are of it.
        let is_left = own.or(exported).as_ref().is_some_and(is_sealed);
        if is_left || entries(path)?.iter().any(is_meant) {
            self.notebooks.push(Notebooks::whole(path));
        }
        Ok(())
    }

    fn add_record(&mut self, path: &Path) -> Result<(), Failure> {
        let same = |known: &RunFolder| is_same(known.path(), path);
        let is_known = self.records.iter().any(same);
        if !is_known && has_journal(path) {
            self.records.push(RunFolder::at(path)?);
        }
        Ok(())
    }

    /// Takes what lies in the folders of a folder, where that is there: records, and notebooks of runs.
    /// Hidden ones are left out: Jupyter keeps older states of notebooks in such.
    fn add_below(&mut self, folder: &Path) -> Result<(), Failure> {
        if !folder.is_dir() {
            return Ok(());
        }
        for below in entries(folder)?
            .iter()
            .filter(|entry| is_shown_folder(entry))
        {
            self.add_folder(below, false)?;
        }
        Ok(())
    }
}

/// The folder with the records of a project's runs, in that of the program.
const RUNS: &str = "runs";

/// The folder of a project in which each run has one for its notebooks.
pub(super) const DEPLOYMENTS: &str = "deployments";

/// Returns the project that a folder is, or in which it is the one for notebooks; nothing where it is neither.
fn project_with(folder: &Path) -> Option<Project> {
    let folder = place(folder)?;
    let is_of_runs = folder.file_name().is_some_and(|name| name == DEPLOYMENTS);
    let above = folder.parent().filter(|_| is_of_runs);
    let mut both = above.into_iter().chain([folder.as_path()]);
    let is_project =
        |one: &&Path| Subjects::runs_of(one).is_dir() || one.join(spec::FILE_NAME).is_file();
    both.find(is_project).map(project_at)
}

/// Returns the last run of a project that has a journal, whatever stands there under its name.
fn last_of(project: &Project) -> Result<Option<RunFolder>, Failure> {
    let runs = project.runs();
    let found = entries(&runs.runs_path())?;
    let with_journal = found.iter().rev().filter(|path| has_journal(path));
    let mut names =
        with_journal.filter_map(|path| path.file_name()?.to_str()?.parse::<RunId>().ok());
    let last = names.next();
    Ok(last.map(|run| runs.run(&run)).transpose()?)
}

/// Returns whether something in a folder has the name of a journal, whatever it is.
fn has_journal(record: &Path) -> bool {
    std::fs::symlink_metadata(record.join(RunFolder::JOURNAL)).is_ok()
}

/// Returns whether a folder holds notebooks, and nothing of a record but what may have been put beside them: a journal
/// without samples and evidence makes it none.
fn is_for_notebooks(folder: &Path) -> Result<bool, Failure> {
    let of_record = ["samples", "evidence"].map(|name| folder.join(name));
    let has_notebooks = entries(folder)?.iter().any(|entry| is_notebook(entry));
    Ok(has_notebooks && !of_record.iter().any(|part| part.is_dir()))
}

/// Returns the project in whose folder of runs a record lies; nothing where it lies elsewhere.
pub(super) fn project_of(record: &RunFolder) -> Option<Project> {
    let path = std::path::absolute(record.path()).ok()?;
    let runs = path.parent()?;
    let folder = runs.parent()?.parent()?;
    (Subjects::runs_of(folder) == runs).then(|| project_at(folder))
}

/// Returns the notebooks that a run has left in its project, where its record is sealed and their folder is there, or
/// what the record keeps says that they were signed. Those of a run that goes on may be of another moment.
fn left_by(project: &Project, record: &RunFolder) -> Result<Option<Notebooks>, Failure> {
    let name = record.path().file_name().and_then(|name| name.to_str());
    let Some(run) = name.and_then(|name| name.parse::<RunId>().ok()) else {
        return Ok(None);
    };
    let folder = project.notebooks_of(&run);
    let is_left = folder.is_dir() || publish::kept(record)?.is_some();
    if !is_left || !is_sealed(record) {
        return Ok(None);
    }
    let of = Some(record.clone());
    Ok(Some(Notebooks {
        of,
        is_left: true,
        ..Notebooks::whole(&folder)
    }))
}

/// Says why a folder beside notebooks is not read as their record: it is no folder, or its journal no file, of its own.
/// The second is the name of what is missing, in that folder.
pub(super) fn why_unread(record: &Path) -> Option<(Kind, &'static str, &'static str)> {
    if record.is_symlink() {
        return Some((Kind::NotHere, "", LINK));
    }
    let (kind, what) = journal_unread(record)?;
    Some((kind, RunFolder::JOURNAL, what))
}

/// Says why the journal of a record is not read; nothing where it is a file.
pub(super) fn journal_unread(record: &Path) -> Option<(Kind, &'static str)> {
    match std::fs::symlink_metadata(record.join(RunFolder::JOURNAL)) {
        Ok(found) if found.is_file() => None,
        Ok(_) => Some((Kind::Different, NoFile::WHAT)),
        Err(_) => Some((Kind::NotHere, GONE)),
    }
}

/// Returns the record that a project keeps of a run; nothing where nothing in its folder has the journal's name.
pub(super) fn kept_by(project: &Project, run: &RunId) -> Option<RunFolder> {
    let record = project.runs().run(run).ok()?;
    has_journal(record.path()).then_some(record)
}

/// Returns whether a record has its end, as far as it can be read.
fn is_sealed(record: &RunFolder) -> bool {
    record.state().is_ok_and(|state| state.sealed)
}

/// Returns the project in a folder, whatever its deployment file is called.
fn project_at(folder: &Path) -> Project {
    Project {
        file: folder.join("deploy.yaml"),
        folder: folder.to_owned(),
    }
}

fn holds_nothing(path: &Path) -> Failure {
    let what = format!(
        "{} holds neither a record (`{}`) nor notebooks",
        path.display(),
        RunFolder::JOURNAL
    );
    Failure::new(
        Exit::Refused,
        code_deploy_engine::code::NOT_A_RECORD,
        what,
        "Nothing was looked at, and nothing was changed.",
        "Name the folder of a record or of notebooks, a folder of such folders, a project, or a run: \
         `code-deploy runs` lists the runs.",
    )
}

fn nothing(path: &Path) -> Failure {
    let what = format!("there is nothing to verify at {}", path.display());
    Failure::usage(
        what,
        "Name the folder of a record, a notebook, or a folder of both.",
    )
}

/// Returns whether two paths lead to the same folder.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

/// Returns where a folder lies, whose name and parents are those of the path: links are followed only where
/// the path itself goes up.
pub(super) fn place(folder: &Path) -> Option<PathBuf> {
    let goes_up = folder
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    match goes_up {
        true => folder.canonicalize().ok(),
        false => std::path::absolute(folder).ok(),
    }
}

fn no_notebook(path: &Path) -> Failure {
    Failure::usage(
        format!("{} is no notebook", path.display()),
        "Name a notebook, or the folder that holds the file: it is checked with what it lies beside.",
    )
}

pub(super) fn is_shown_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Of an exported record it is said that it is a link, and that is all.
    let is_linked_record = name == EXPORTED_RECORD && path.is_symlink();
    !name.starts_with('.') && !is_linked_record && path.is_dir()
}

pub(super) fn is_notebook(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".ipynb") && !name.starts_with('.')
}

/// Returns the run that a notebook says it is of.
pub(super) fn run_of(notebook: &Path) -> Option<String> {
    let file = open_named(notebook).ok()?;
    Origin::of(&read_at_most(file, LARGEST).ok()?)?.run
}

/// Returns what is in a folder, in order; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| code_deploy_record::Error::io("read", folder)(error);
    let mut entries = Vec::new();
    let found = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(entries),
        found => found.map_err(failed)?,
    };
    for entry in found {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    Ok(entries)
}
