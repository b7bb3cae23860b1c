//! Manifests that other programs make: of kustomizations and charts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_record::Digest;
use serde::Serialize;

use super::Reading;
use super::found::{Failed, Kind, Source};
use super::program::{self, Bounds};
use crate::spec::document;
use crate::spec::error::SpecError;

/// How far a program may go: long enough for one that fetches, and as much as is read of files.
const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(60),
    bytes: document::MAX_BYTES as usize,
};

/// The variables that these programs get, as they are here: to be found, for what a person has set for them, to reach
/// what a kustomization or a chart fetches. No secret of a deployment is among them.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What a program made of a kustomization or a chart.
#[derive(Debug, Clone, Serialize)]
pub struct Rendered {
    /// The file that says how, relative to the project: `k8s/kustomization.yaml`.
    pub source: PathBuf,
    /// The command line, in the folder of the deployment file.
    pub command: String,
    /// The digest of the text.
    pub digest: Digest,
    /// The text: manifests, as in a file of them.
    #[serde(skip)]
    pub text: Arc<str>,
}

/// A program with its arguments.
struct Line {
    program: &'static str,
    arguments: Vec<String>,
}

impl Line {
    fn shown(&self) -> String {
        let words = self.arguments.iter().map(|word| quoted(word));
        let words: Vec<String> = words.collect();
        format!("{} {}", self.program, words.join(" "))
    }
}

/// Has a program make manifests. `values` are the files with the values of a chart, relative to the project. Blocks.
pub(super) fn render(
    reading: &Reading<'_>,
    source: &Source,
    values: &[PathBuf],
    error: &Failed<'_>,
) -> Result<Rendered, Box<SpecError>> {
    let lines = lines(reading, source, values, error)?;
    let path = (reading.vars)("PATH").unwrap_or_default();
    let there = lines
        .iter()
        .find_map(|line| Some((program::find(line.program, &path)?, line)));
    let (program, line) = there.ok_or_else(|| missing(source, &lines, error))?;
    let shown = line.shown();
    let failed = |why: String| {
        let (kind, folder) = (source.kind.word(), source.folder.display());
        let what = format!("`{shown}` makes no manifests of the {kind} `{folder}`: {why}");
        let help = format!("Mend what it names; `{shown}`, in the folder of this file, says all.");
        error(what, help)
    };
    let mut command = Command::new(program);
    command.args(&line.arguments).current_dir(reading.project);
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = (reading.vars)(name) {
            command.env(name, value);
        }
    }
    // Nobody is there to answer when a repository asks who it is.
    command.env("GIT_TERMINAL_PROMPT", "0");
    let text = program::output(&mut command, &BOUNDS).map_err(failed)?;
    if text.trim().is_empty() {
        return Err(failed("it gives nothing".to_owned()));
    }
    Ok(Rendered {
        source: source.file.clone(),
        command: shown,
        digest: Digest::of(text.as_bytes()),
        text: Arc::from(text),
    })
}

/// Returns the command lines of which each makes the manifests, the preferred one first.
fn lines(
    reading: &Reading<'_>,
    source: &Source,
    values: &[PathBuf],
    error: &Failed<'_>,
) -> Result<Vec<Line>, Box<SpecError>> {
    let folder = argument(&source.folder);
    let line = |program, arguments: &[&str]| Line {
        program,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    };
    if source.kind == Kind::Kustomization {
        return Ok(vec![
            line("kubectl", &["kustomize", &folder]),
            line("kustomize", &["build", &folder]),
        ]);
    }
    let Some(namespace) = &reading.wanted.namespace else {
        let what = format!(
            "the chart `{}` is made for a namespace, and none is named",
            source.folder.display()
        );
        let help = "Write `namespace:` beside `manifests:`.";
        return Err(error(what, help.to_owned()));
    };
    let name = reading.application;
    let mut made = line(
        "helm",
        &["template", name, &folder, "--namespace", namespace],
    );
    // Tests of a chart are pods for `helm test`, and no part of what is deployed.
    made.arguments.push("--skip-tests".to_owned());
    for file in values {
        made.arguments
            .extend(["--values".to_owned(), argument(file)]);
    }
    Ok(vec![made])
}

/// Returns a path so that it is taken for one: not for an option, and not for something to be fetched.
fn argument(path: &Path) -> String {
    let path: PathBuf = Path::new(".").join(path).components().collect();
    path.display().to_string()
}

fn missing(source: &Source, lines: &[Line], error: &Failed<'_>) -> Box<SpecError> {
    let programs: Vec<String> = lines
        .iter()
        .map(|line| format!("`{}`", line.program))
        .collect();
    let programs = programs.join(" or ");
    let what = format!(
        "manifests of the {} `{}` are made by {programs}, which is not on the PATH",
        source.kind.word(),
        source.folder.display()
    );
    let by_hand = lines.first().map(Line::shown).unwrap_or_default();
    let help = format!(
        "Install {programs}; or make plain manifests where it is installed, and name their file: `{by_hand} > FILE`."
    );
    error(what, help)
}

/// Returns a word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./:=@%+,".contains(sign);
    match word.chars().all(is_plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
