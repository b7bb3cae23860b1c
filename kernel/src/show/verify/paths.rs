//! What the paths that are given to `verify` are.

use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::Origin;
use code_deploy_record::{EXPORTED_RECORD, RunFolder, RunId, RunsFolder};

use super::Kind;
use super::notebooks::{GONE, LINK, NO_FILE, Notebooks};
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
        let record = project.run(None)?;
        subjects.records.push(record.clone());
        subjects.add_left(project, &record, arguments)?;
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
            let project = project.ok_or_else(|| nothing(path))?;
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
        if self.count() > before {
            return Ok(());
        }
        Err(holds_nothing(path))
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
            self.add_record(path)?;
            let beside = path.join(EXPORTED_RECORD);
            if why_unread(&beside).is_none() {
                self.add_record(&beside)?;
                exported = Some(RunFolder::at(&beside)?);
            }
            if is_named && path.join(RunFolder::JOURNAL).is_file() {
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
        if !is_known && path.join(RunFolder::JOURNAL).is_file() {
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
const DEPLOYMENTS: &str = "deployments";

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
        Ok(found) if found.is_symlink() => Some((Kind::NotHere, LINK)),
        Ok(_) => Some((Kind::Different, NO_FILE)),
        Err(_) => Some((Kind::NotHere, GONE)),
    }
}

/// Returns the record that a project keeps of a run; nothing where its folder holds no journal.
fn kept_by(project: &Project, run: &RunId) -> Option<RunFolder> {
    let record = project.runs().run(run).ok()?;
    record.journal_path().is_file().then_some(record)
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

/// Returns whether a path leads into a folder, or to it.
fn is_within(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(path).is_some_and(|path| real(folder).is_some_and(|folder| path.starts_with(folder)))
}

/// Returns where a folder lies, whose name and parents are those of the path: links are followed only where
/// the path itself goes up.
fn place(folder: &Path) -> Option<PathBuf> {
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

fn is_shown_folder(path: &Path) -> bool {
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
fn run_of(notebook: &Path) -> Option<String> {
    // A device that is called so has no end.
    let content = notebook.is_file().then(|| std::fs::read(notebook).ok())??;
    Origin::of(&content)?.run
}

/// Returns what is in a folder, in order; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
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

impl Notebooks {
    /// Returns the record that the notebooks are of: the one that was named with them, or that their project keeps
    /// where they lie in the run's own folder, or that lies beside them, or one of the records that are checked, or
    /// a run of the project. One that was named counts before the one beside, which came from where the notebooks
    /// came from; in the run's own folder one beside is of whoever put it there.
    pub(super) fn record(
        &self,
        project: Option<&Project>,
        subjects: &Subjects,
    ) -> Result<Option<RunFolder>, Failure> {
        if let Some(of) = &self.of {
            return Ok(Some(of.clone()));
        }
        let records = subjects.records.as_slice();
        let run = self.run()?;
        let same = |record: &&RunFolder| {
            let started = record.started();
            started.is_ok_and(|started| run.as_deref() == Some(started.run.as_str()))
        };
        let own = self.own_record();
        let is_beside = |record: &RunFolder| is_within(record.path(), &self.folder);
        let mut named = subjects.named.iter();
        if let Some(named) = named.find(|one| same(one) && (own.is_none() || !is_beside(one))) {
            return Ok(Some(named.clone()));
        }
        if own.is_some() {
            return Ok(own);
        }
        let beside = self.folder.join(EXPORTED_RECORD);
        if why_unread(&beside).is_none() {
            let known = records.iter().find(|known| is_same(known.path(), &beside));
            return match known {
                Some(known) => Ok(Some(known.clone())),
                None => Ok(Some(RunFolder::at(&beside)?)),
            };
        }
        let Some(run) = &run else {
            return Ok(records.first().filter(|_| records.len() == 1).cloned());
        };
        if let Some(record) = records.iter().find(same) {
            return Ok(Some(record.clone()));
        }
        // A record that does not even say of which run it is.
        if let [only] = records
            && only.started().is_err()
        {
            return Ok(Some(only.clone()));
        }
        let id: Option<RunId> = run.parse().ok();
        let of_project = |project: &Project| kept_by(project, id.as_ref()?);
        let around = self.project_around();
        let found = project.and_then(of_project);
        Ok(found.or_else(|| of_project(around.as_ref()?)))
    }

    /// Returns the record that a project keeps of the run in whose own folder these notebooks lie
    /// (`deployments/RUN`). What was put into that folder has no say in it.
    pub(super) fn own_record(&self) -> Option<RunFolder> {
        let name = place(&self.folder)?.file_name()?.to_str()?.to_owned();
        let id: RunId = name.parse().ok()?;
        kept_by(&self.project_around()?, &id)
    }

    /// Returns the project of whose folder for notebooks this one is.
    fn project_around(&self) -> Option<Project> {
        let path = place(&self.folder)?;
        let of_runs = path.parent()?;
        let is_of_runs = of_runs.file_name().is_some_and(|name| name == DEPLOYMENTS);
        is_of_runs.then(|| of_runs.parent().map(project_at))?
    }

    /// Returns the run that the notebooks say they are of.
    fn run(&self) -> Result<Option<String>, Failure> {
        let files = match &self.only {
            Some(name) => vec![self.folder.join(name)],
            None => entries(&self.folder)?,
        };
        let mut notebooks = files.iter().filter(|path| is_notebook(path));
        Ok(notebooks.find_map(|path| run_of(path)))
    }
}
