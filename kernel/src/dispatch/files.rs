//! Commands that write files for a person: notebooks, charts, an archive, a deployment file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use code_deploy_record::{Redactor, RunFolder, SealKey};

use super::{Dispatcher, wish};
use crate::commands::{ChartArgs, InitArgs, NotebooksArgs, RecordArgs, ShowArgs};
use crate::failure::{Exit, Failure};
use crate::project::{Project, To};
use crate::{pages, publish, run, seal_key, show};

impl Dispatcher {
    /// Writes a record with its notebooks into one file.
    pub(super) async fn export(
        &self,
        run: &RunFolder,
        arguments: &RecordArgs,
    ) -> Result<Exit, Failure> {
        let project = self.project().ok();
        let name = run.started()?.run;
        let out = arguments.out.as_deref().map_or_else(
            || self.machine.folder.join(format!("{name}.tar")),
            Path::to_owned,
        );
        let signing = project.as_ref().filter(|_| !arguments.unsigned);
        let key = self.key_or_told(signing, run).await?;
        publish::export(project.as_ref(), run, key.as_deref(), &out)?;
        self.face.text(&format!(
            "the record of {name} with its notebooks: {}",
            out.display()
        ));
        Ok(Exit::Done)
    }

    /// Shows a chart of a run, and writes it where a folder is named.
    pub(super) fn chart(&self, arguments: &ChartArgs) -> Result<Exit, Failure> {
        let Some(name) = &arguments.name else {
            self.face
                .text(&format!("Charts: {}", pages::chart_names().join(", ")));
            return Ok(Exit::Done);
        };
        let run = self.which(arguments.which.run.as_deref())?;
        let chart = pages::chart(&run, name)?;
        self.face.chart(&chart);
        if let Some(out) = &arguments.out {
            for path in pages::write_chart(&chart, out)? {
                self.face.text(&path.display().to_string());
            }
        } else if self.opened.is_none() {
            self.face
                .text("`--out FOLDER` writes the chart as SVG and PNG.");
        }
        Ok(Exit::Done)
    }

    /// Writes notebooks: of a run, or ready to run.
    pub(super) async fn notebooks(&self, arguments: &NotebooksArgs) -> Result<Exit, Failure> {
        if arguments.ready {
            let session = self.session(To::LookAt).await?;
            let out = run::ready_folder(&session, arguments.out.as_deref());
            let wish = wish(arguments.to.as_deref(), false)?;
            let count = pages::write_ready(&session.spec, wish.to, &out)?;
            self.face
                .text(&format!("{count} notebooks in {}", out.display()));
            return Ok(Exit::Done);
        }
        let run = self.which(arguments.which.run.as_deref())?;
        let project = self.project().ok();
        let id = run.started()?.run;
        let out = arguments
            .out
            .clone()
            .or_else(|| project.as_ref().map(|p| p.notebooks_of(&id)));
        let out = out.unwrap_or_else(|| self.machine.folder.join(id.as_str()));
        if arguments.unsigned && arguments.out.is_none() {
            publish::refuse_to_lose(&out)?;
        }
        let signing = project.as_ref().filter(|_| !arguments.unsigned);
        let key = self.key_or_told(signing, &run).await?;
        let made = publish::write(project.as_ref(), &run, key.as_deref(), &out)?;
        self.face
            .text(&format!("{made} notebooks in {}", out.display()));
        Ok(Exit::Done)
    }

    /// Shows notebooks as text; without one, which there are.
    pub(super) fn show_notebooks(&self, arguments: &ShowArgs) -> Result<Exit, Failure> {
        let of_run = || {
            let run = self.which(arguments.which.run.as_deref())?;
            Ok::<_, Failure>(self.project()?.notebooks_of(&run.started()?.run))
        };
        // The folder of a run's notebooks, which may be a copy without a project, is the one that is meant; what lies in
        // a project ready to be run is not.
        let here = &self.machine.folder;
        let is_of_run = here.join("seal").is_dir() && show::notebook::listed(here).is_ok();
        let of_run = || match arguments.which.run {
            None if is_of_run => Ok(here.clone()),
            _ => of_run(),
        };
        if arguments.notebooks.is_empty() {
            self.face.text(&show::notebook::listed(&of_run()?)?);
            return Ok(Exit::Done);
        }
        for wanted in &arguments.notebooks {
            let path = self.machine.folder.join(wanted);
            let path = if path.is_file() {
                path
            } else {
                let name = show::notebook::named(wanted)?;
                of_run()?.join(format!("{name}.ipynb"))
            };
            show::notebook::show(&path, &*self.face)?;
        }
        Ok(Exit::Done)
    }

    /// Returns the key with which a run's notebooks can be signed, where it is at hand. Notebooks are
    /// written without it, too; why it cannot be had is told where a key seals the record.
    async fn key_or_told(
        &self,
        project: Option<&Project>,
        run: &RunFolder,
    ) -> Result<Option<Arc<SealKey>>, Failure> {
        let Some(project) = project else {
            return Ok(None);
        };
        match self.key_of(project, run).await {
            Ok(key) => Ok(key),
            Err(failure) => {
                if run.state()?.key.is_some() {
                    let problem = failure.problem;
                    self.face.text(&format!(
                        "The notebooks are not signed anew. {}: {}. {}",
                        problem.code, problem.what, problem.next
                    ));
                }
                Ok(None)
            }
        }
    }

    async fn key_of(
        &self,
        project: &Project,
        run: &RunFolder,
    ) -> Result<Option<Arc<SealKey>>, Failure> {
        let started = run.started()?;
        let (environment, target) = (&started.environment, &started.target);
        let spec = project.spec(&self.machine, environment, target).await?;
        seal_key::seal_key(&self.machine, &spec, &Redactor::default())
    }

    /// Writes a deployment file from what is found in a folder.
    pub(super) fn init(&self, arguments: &InitArgs) -> Result<Exit, Failure> {
        let folder = self.machine.folder.join(&arguments.folder);
        let lookup = |name: &str| self.machine.variable(name);
        let folder: PathBuf = folder.components().collect();
        let text = code_deploy_engine::init::init(&folder, &lookup)?;
        if arguments.print {
            self.face.text(text.trim_end());
            return Ok(Exit::Done);
        }
        let path = folder.join("deploy.yaml");
        write_new(&path, &text)?;
        let file = if folder == self.machine.folder {
            String::new()
        } else {
            format!(" --file {}", path.display())
        };
        self.face.text(&format!(
            "Wrote {}. Read it and say how each service is started (`process`), then try \
             `code-deploy plan --environment dev --target local{file}`.",
            path.display()
        ));
        Ok(Exit::Done)
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|error| {
        let what = format!("{} cannot be written: {error}", path.display());
        Failure::refused(
            crate::codes::CANNOT_WRITE,
            what,
            "Remove or rename what is there, or use --print.",
        )
    })
}
