//! Templates: Markdown with minijinja expressions and fenced cells, readable as it is.
//!
//! A fence that begins with ```` ```cell ```` holds a cell's source; the text between fences
//! becomes Markdown cells. Values that expressions insert are escaped, so that nothing from a
//! record can become markup or a cell.

use code_deploy_record::Digest;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior};

use crate::{Error, Result};

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/notebooks/", $name, ".md")))),*]
    };
}

/// The notebooks' names with their templates, in the order in which they are read.
pub(crate) const TEMPLATES: &[(&str, &str)] = templates![
    "01_Deployment_Plan",
    "02_Pre_Deployment_Validation",
    "03_Build_Process",
    "04_Infrastructure_Setup",
    "05_Database_Migration",
    "06_Application_Deployment",
    "07_Monitoring_Setup",
    "08_Validation_Results",
    "09_Operational_Handover",
    "Deployment_Execution_Log",
    "System_Health_Dashboard",
    "Performance_Validation",
    "Security_Audit_Report",
    "Monitoring_Configuration",
    "Operational_Runbooks",
    "Rollback_Procedures",
    "Post_Deployment_Report",
    "Lessons_Learned",
];

/// Texts that templates include.
const PARTS: &[(&str, &str)] = &[
    (
        "top",
        include_str!("../../templates/notebooks/parts/top.md"),
    ),
    (
        "verify",
        include_str!("../../templates/notebooks/parts/verify.md"),
    ),
    (
        "items",
        include_str!("../../templates/notebooks/parts/items.md"),
    ),
    (
        "documents",
        include_str!("../../templates/notebooks/parts/documents.md"),
    ),
    (
        "prometheus",
        include_str!("../../templates/notebooks/parts/prometheus.md"),
    ),
];

/// The line that is replaced by links to the notebook's sections.
const CONTENTS: &str = "[[contents]]";

/// Returns whether a notebook that is ready to run has a cell with that command.
#[must_use]
pub fn has_cell(verb: &str, section: &str) -> bool {
    sections(verb).iter().any(|known| known == section)
}

/// Returns the sections of a verb for which notebooks that are ready to run have cells, in their order.
#[must_use]
pub fn sections(verb: &str) -> Vec<String> {
    let command = format!("%{verb} ");
    let lines = TEMPLATES.iter().flat_map(|(_, text)| text.lines());
    let sections = lines.filter_map(|line| line.trim().strip_prefix(&command));
    sections.map(str::to_owned).collect()
}

/// Returns the digest of all texts that notebooks are made from, the catalogue included.
pub(crate) fn digest() -> Digest {
    const CATALOG: &str = include_str!("../../templates/catalog.yaml");
    let texts = TEMPLATES.iter().chain(PARTS).chain(&[("catalog", CATALOG)]);
    let all: Vec<String> = texts
        .map(|(name, text)| format!("{name} {}\n{text}", text.len()))
        .collect();
    Digest::of(all.concat().as_bytes())
}

/// A part of a rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text.
    Text(String),
    /// A cell's source.
    Cell(String),
}

/// Makes the engine with all templates.
pub(crate) fn engine() -> Result<Environment<'static>> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    let syntax = syntax.map_err(|source| Error::Template {
        template: "syntax".to_owned(),
        source,
    })?;
    engine.set_syntax(syntax);
    engine.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    engine.set_formatter(write_escaped);
    engine.add_filter("word", word);
    engine.add_filter("to_option", to_option);
    engine.add_filter("run_option", run_option);
    for (name, text) in TEMPLATES.iter().chain(PARTS) {
        engine
            .add_template(name, text)
            .map_err(|source| Error::Template {
                template: (*name).to_owned(),
                source,
            })?;
    }
    Ok(engine)
}

fn write_escaped(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.is_undefined() {
        return Err(minijinja::ErrorKind::UndefinedError.into());
    }
    let written = match value.as_str() {
        Some(text) if !value.is_safe() => out.write_str(&crate::markdown::escape(text)),
        _ => write!(out, "{value}"),
    };
    written.map_err(minijinja::Error::from)
}

/// Makes a name fit for a command: what is not a letter, a digit or one of `.`, `-`, `_`, `+` goes.
fn word(value: &str) -> Value {
    Value::from_safe_string(fit(value))
}

fn fit(value: &str) -> String {
    let kept = value
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-_+".contains(*c));
    kept.collect()
}

/// Makes the option that names a release; nothing without a release.
fn to_option(release: &str) -> Value {
    option("to", release)
}

/// Makes the option that names the run of an executed notebook; nothing in one that is ready to run.
fn run_option(run: &str) -> Value {
    option("run", run)
}

/// Makes an option with the blank before it; nothing without a value.
fn option(name: &str, value: &str) -> Value {
    let value = fit(value);
    Value::from_safe_string(if value.is_empty() {
        String::new()
    } else {
        format!(" --{name} {value}")
    })
}

/// Renders a template and parts it into text and cells.
pub(crate) fn render(
    engine: &Environment<'static>,
    name: &str,
    context: &Value,
) -> Result<Vec<Part>> {
    let failed = |source| Error::Template {
        template: name.to_owned(),
        source,
    };
    let template = engine.get_template(name).map_err(failed)?;
    let text = template.render(context).map_err(failed)?;
    parts(name, &text)
}

fn parts(name: &str, text: &str) -> Result<Vec<Part>> {
    let contents = contents(text);
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut in_cell = false;
    for line in text.lines() {
        match (in_cell, line.trim_end()) {
            (false, "```cell") => {
                push(&mut parts, Part::Text(std::mem::take(&mut part)));
                in_cell = true;
            }
            (true, "```") => {
                push(&mut parts, Part::Cell(std::mem::take(&mut part)));
                in_cell = false;
            }
            (false, CONTENTS) => {
                part.push_str(&contents);
                part.push('\n');
            }
            (_, line) => {
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    if in_cell {
        return Err(Error::Form {
            template: name.to_owned(),
            what: "a cell's fence is not closed".to_owned(),
        });
    }
    push(&mut parts, Part::Text(part));
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, part: Part) {
    let (Part::Text(text) | Part::Cell(text)) = &part;
    let trimmed = squeeze(text);
    if trimmed.is_empty() {
        return;
    }
    parts.push(match part {
        Part::Text(_) => Part::Text(trimmed),
        Part::Cell(_) => Part::Cell(trimmed),
    });
}

/// Removes blank lines at both ends, and all but one in a row.
fn squeeze(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in text.trim().lines() {
        if line.is_empty() && kept.last().is_some_and(|last| last.is_empty()) {
            continue;
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// Returns links to the sections, as JupyterLab and nbconvert name their anchors.
fn contents(text: &str) -> String {
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let links: Vec<String> = headings
        .map(|heading| format!("[{heading}](#{})", heading.trim().replace(' ', "-")))
        .collect();
    format!("Sections: {}", links.join(" · "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_and_cells_are_told_apart() {
        let text = "# A\n\n[[contents]]\n\n## One two\n```cell\n%plan\n```\nend\n";
        let found = parts("x", text).unwrap();
        let expected = vec![
            Part::Text("# A\n\nSections: [One two](#One-two)\n\n## One two".to_owned()),
            Part::Cell("%plan".to_owned()),
            Part::Text("end".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_fence_that_is_not_closed_is_refused() {
        assert!(parts("x", "```cell\n%plan\n").is_err());
    }
}
