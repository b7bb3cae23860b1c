//! Words that are known in a project, for completion.

use std::collections::BTreeSet;

use code_deploy_engine::spec::DeployFile;
use code_deploy_record::StepStatus;

use crate::magic::Known;
use crate::pages;
use crate::project::{Project, TARGETS};

/// The words of a project, as they are now.
pub struct ProjectWords {
    project: Option<Project>,
}

impl ProjectWords {
    /// Returns the words of a project; without one only those that hold everywhere.
    pub fn new(project: Option<Project>) -> Self {
        Self { project }
    }

    fn file(&self) -> Option<DeployFile> {
        let file = &self.project.as_ref()?.file;
        DeployFile::read(file).ok()
    }
}

impl Known for ProjectWords {
    fn environments(&self) -> Vec<String> {
        let file = self.file();
        file.map(|file| file.environments.into_keys().collect())
            .unwrap_or_default()
    }

    fn targets(&self) -> Vec<String> {
        TARGETS.map(str::to_owned).to_vec()
    }

    fn sections(&self, verb: &str) -> Vec<String> {
        let run = self
            .project
            .as_ref()
            .and_then(|project| project.run(None).ok());
        let state = run.and_then(|run| run.state().ok());
        let Some(plan) = state.and_then(|state| state.plan) else {
            return code_deploy_notebook_gen::sections(verb);
        };
        let prefix = format!("{verb}.");
        let steps = plan.steps.iter();
        let sections = steps.filter_map(|step| step.step.as_str().strip_prefix(&prefix));
        let mut seen = BTreeSet::new();
        // In the plan's order; steps of one section need not stand together.
        sections
            .map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
            .filter(|section| seen.insert(section.clone()))
            .collect()
    }

    fn runs(&self) -> Vec<String> {
        let runs = self
            .project
            .as_ref()
            .and_then(|project| project.runs().list().ok());
        let runs = runs.unwrap_or_default();
        runs.iter().rev().map(ToString::to_string).collect()
    }

    fn notebooks(&self) -> Vec<String> {
        code_deploy_notebook_gen::names()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    fn steps(&self) -> Vec<String> {
        let run = self
            .project
            .as_ref()
            .and_then(|project| project.run(None).ok());
        let state = run.and_then(|run| run.state().ok());
        let steps = state.map(|state| state.steps).unwrap_or_default();
        let open = steps
            .into_iter()
            .filter(|(_, step)| matches!(step.status, StepStatus::Intended | StepStatus::Failed));
        open.map(|(name, _)| name.to_string()).collect()
    }

    fn releases(&self) -> Vec<String> {
        let mut releases = BTreeSet::new();
        if let Some(file) = self.file() {
            releases.extend(file.release);
            releases.extend(file.releases);
        }
        let runs = self.project.as_ref().map(Project::runs);
        let ids = runs.as_ref().and_then(|runs| runs.list().ok());
        let folders = ids.iter().flatten();
        let folders = folders.filter_map(|id| runs.as_ref()?.run(id).ok());
        for started in folders.filter_map(|folder| folder.started().ok()) {
            releases.insert(started.to.to_string());
            releases.extend(started.from.map(|from| from.to_string()));
        }
        releases.into_iter().collect()
    }

    fn views(&self) -> Vec<String> {
        code_deploy_notebook_gen::VIEWS
            .map(|(word, _)| word.to_owned())
            .to_vec()
    }

    fn charts(&self) -> Vec<String> {
        pages::chart_names()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }
}
