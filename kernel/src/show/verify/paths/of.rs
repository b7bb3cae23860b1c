//! Which record notebooks are of.

use std::path::{Path, PathBuf};

use code_deploy_record::{EXPORTED_RECORD, RunFolder, RunId};

use super::{
    DEPLOYMENTS, Subjects, entries, is_notebook, is_same, kept_by, place, project_at, run_of,
    why_unread,
};
use crate::failure::Failure;
use crate::project::Project;
use crate::show::verify::notebooks::Notebooks;

/// Returns whether a path leads into a folder, or to it.
fn is_within(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(path).is_some_and(|path| real(folder).is_some_and(|folder| path.starts_with(folder)))
}

impl Notebooks {
    /// Returns the record that the notebooks are of: the one that was named with them, or that their project keeps
    /// where they lie in the run's own folder, or that lies beside them, or one of the records that are checked, or
    /// a run of the project. One that was named counts before the one beside, which came from where the notebooks
    /// came from; in the run's own folder one beside is of whoever put it there.
    pub(in crate::show::verify) fn record(
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
        if self.is_unrecorded {
            let mut all = subjects.named.iter().chain(records);
            return Ok(all.find(same).cloned());
        }
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
    pub(in crate::show::verify) fn own_record(&self) -> Option<RunFolder> {
        kept_by(&self.project_around()?, &self.called_after()?)
    }

    /// Returns the run after which the folder of a project is called in which these notebooks lie (`deployments/RUN`).
    pub(in crate::show::verify) fn called_after(&self) -> Option<RunId> {
        self.project_around()?;
        place(&self.folder)?.file_name()?.to_str()?.parse().ok()
    }

    /// Returns the project of whose folder for notebooks this one is.
    fn project_around(&self) -> Option<Project> {
        let path = place(&self.folder)?;
        let of_runs = path.parent()?;
        let is_of_runs = of_runs.file_name().is_some_and(|name| name == DEPLOYMENTS);
        is_of_runs.then(|| of_runs.parent().map(project_at))?
    }

    /// Returns the run that the notebooks say they are of, or that the folder is called after in which they were left.
    fn run(&self) -> Result<Option<String>, Failure> {
        if self.is_unrecorded {
            let name = self.folder.file_name();
            return Ok(name.map(|name| name.to_string_lossy().into_owned()));
        }
        Ok(self.said()?.map(|(_, run)| run))
    }

    /// Returns the first notebook that says of which run it is, with that run.
    pub(in crate::show::verify) fn said(&self) -> Result<Option<(PathBuf, String)>, Failure> {
        let files = match &self.only {
            Some(name) => vec![self.folder.join(name)],
            None => entries(&self.folder)?,
        };
        let mut notebooks = files.into_iter().filter(|path| is_notebook(path));
        Ok(notebooks.find_map(|path| run_of(&path).map(|run| (path, run))))
    }
}
