//! Notebooks and charts of a run, as files.

use std::path::{Path, PathBuf};

use code_deploy_engine::spec::Spec;
use code_deploy_notebook_gen::{self as notebook_gen, Chart, ChartKind, Page, ReadySettings, View};
use code_deploy_record::{Release, Report, RunFolder};

use crate::failure::Failure;
use crate::project::Project;

/// Returns the notebooks of a run, made from its record and, for what compares runs, from those
/// of the project's other runs.
///
/// # Errors
/// When a record cannot be read.
pub fn executed(project: Option<&Project>, run: &RunFolder) -> Result<Vec<Page>, Failure> {
    notebook_gen::executed(run, &earlier(project, run)?).map_err(failed)
}

/// Returns the project's runs that began before that one. Later ones do not count, so that the
/// notebooks of a run stay the same.
fn earlier(project: Option<&Project>, run: &RunFolder) -> Result<Vec<RunFolder>, Failure> {
    let Some(project) = project else {
        return Ok(Vec::new());
    };
    let began = run.started()?.run;
    let runs = project.runs();
    let before = runs.list()?.into_iter().filter(|id| *id < began);
    let folders = before.filter_map(|id| runs.run(&id).ok());
    // A record that cannot be read is not compared with; `verify` says why it cannot.
    Ok(folders.filter(|folder| folder.state().is_ok()).collect())
}

/// Returns a view of a run's record as it stands now.
///
/// # Errors
/// When there is no such view, or the record cannot be read.
pub fn view(project: Option<&Project>, run: &RunFolder, words: &str) -> Result<Report, Failure> {
    let view: View = words.parse().map_err(|error| {
        let what = code_deploy_engine::error::with_sources(&error);
        let next = "Kinds of entries are asked for with `--kind`.";
        Failure::usage(what, next)
    })?;
    notebook_gen::view(run, &earlier(project, run)?, view).map_err(failed)
}

/// Writes notebooks with their charts into a folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(pages: &[Page], out: &Path) -> Result<(), Failure> {
    notebook_gen::write(pages, out).map(drop).map_err(failed)
}

/// Returns the notebooks and pictures in a folder, as paths within it, that are not of `pages`.
///
/// # Errors
/// When the folder cannot be read.
pub fn others(pages: &[Page], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    notebook_gen::others(pages, folder).map_err(failed)
}

/// Writes notebooks that are ready to run; returns how many.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_ready(spec: &Spec, to: Option<Release>, out: &Path) -> Result<usize, Failure> {
    let settings = ReadySettings {
        application: spec.application.clone(),
        environment: spec.environment.clone(),
        target: spec.target.clone(),
        release: to.map(|to| to.to_string()).or_else(|| spec.release.clone()),
        services: spec
            .services
            .iter()
            .map(|service| service.name.clone())
            .collect(),
    };
    let pages = notebook_gen::ready(&settings).map_err(failed)?;
    let paths = pages
        .iter()
        .map(|page| out.join(format!("{}.ipynb", page.name)));
    if let Some(executed) = paths.into_iter().find(|path| has_outputs(path)) {
        let what = format!("{} was executed, and would be replaced", executed.display());
        let next = "Name another folder with `--out`, or move away what is there.";
        return Err(Failure::refused(crate::codes::CANNOT_WRITE, what, next));
    }
    write(&pages, out)?;
    Ok(pages.len())
}

/// Returns whether that is a notebook with a cell that has put something out.
fn has_outputs(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    let notebook: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let mut cells = notebook["cells"].as_array().into_iter().flatten();
    cells.any(|cell| {
        cell["outputs"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    })
}

/// Returns the names of the charts.
pub fn chart_names() -> Vec<&'static str> {
    ChartKind::ALL.map(ChartKind::name).to_vec()
}

/// Draws a chart of a run as its record stands now.
///
/// # Errors
/// When there is no such chart, or the record cannot be read.
pub fn chart(run: &RunFolder, name: &str) -> Result<Chart, Failure> {
    let kind: ChartKind = name.parse().map_err(|error| {
        let what = code_deploy_engine::error::with_sources(&error);
        Failure::usage(what, format!("Charts: {}.", chart_names().join(", ")))
    })?;
    notebook_gen::chart(run, kind).map_err(failed)
}

/// Writes a chart as SVG and PNG; returns the files.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_chart(chart: &Chart, out: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Some(picture) = &chart.picture else {
        return Ok(Vec::new());
    };
    let name = chart.kind.name();
    let files = [
        (out.join(format!("{name}.svg")), picture.svg.as_bytes()),
        (out.join(format!("{name}.png")), picture.png.as_slice()),
    ];
    let written = std::fs::create_dir_all(out).and_then(|()| {
        files
            .iter()
            .try_for_each(|(path, content)| std::fs::write(path, content))
    });
    written.map_err(|error| {
        let what = format!("{} cannot be written: {error}", out.display());
        Failure::refused(
            crate::codes::CANNOT_WRITE,
            what,
            "Name a folder that you may write.",
        )
    })?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Returns the failure that an error of the notebooks is.
pub fn failed(error: notebook_gen::Error) -> Failure {
    match error {
        notebook_gen::Error::Record(error) => Failure::from(error),
        error => {
            let what = code_deploy_engine::error::with_sources(&error);
            let next = "`code-deploy verify` shows whether the record is whole.";
            Failure::refused(crate::codes::NOTEBOOKS, what, next)
        }
    }
}
