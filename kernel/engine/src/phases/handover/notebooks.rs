//! The section of notebooks: whether what is handed over stands in the notebook that hands it over.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report, RunFolder, StepName};
use serde_json::{Value, json};

use super::VERB;
use crate::phases::look::counted;
use crate::section::{Kept, Outline, Section, Seen, Work, blocking};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "notebooks",
    title: "Make the notebook of the handover from the record so far, and look for every document in it",
    items: "10.1.6",
    undo: None,
    methods: (
        "every line of every document stands in the kept notebook",
        "the same in a notebook that is made from the record anew",
    ),
    expected: Duration::from_secs(2),
};

/// The kept notebook's name.
const NOTEBOOK: &str = "notebook of the handover";

/// Makes the notebook that hands a run over from its record as it stands: JSON of nbformat 4.5. The error is
/// in words.
pub type MakeHandover = fn(&RunFolder) -> Result<String, String>;

pub(super) struct Notebooks;

/// A document with how many lines it has, and how many of them were found.
struct Document {
    name: String,
    lines: usize,
    found: usize,
}

#[async_trait]
impl Work for Notebooks {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let notebook = match made(section).await? {
            Ok(notebook) => notebook,
            Err(why) => {
                section
                    .report("Notebooks", Report::new().with_text(&why))
                    .await?;
                section.open("10.1.6", &why).await?;
                return Ok(json!({}));
            }
        };
        let documents = documents(section, &notebook).await?;
        let mut kept = Kept::default();
        let media_type = "application/json";
        let file = section
            .keep(&mut kept, NOTEBOOK, media_type, notebook)
            .await?;
        let event = section.report("Notebooks", report(&documents)).await?;
        let whole = !documents.is_empty() && missing(&documents).is_empty();
        section
            .judge(
                "10.1.6",
                whole,
                Basis::Performed,
                told(&documents),
                &[file, event],
            )
            .await?;
        Ok(kept.into_result(json!({})))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(NOTEBOOK) else {
            return Ok(Seen::new(
                true,
                "no notebook was made, and the item is open",
            ));
        };
        let notebook = section.read(digest).await?;
        let documents = documents(section, &String::from_utf8_lossy(&notebook)).await?;
        Ok(Seen::new(missing(&documents).is_empty(), told(&documents)))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        if Kept::of(result).digest(NOTEBOOK).is_none() {
            return Ok(Seen::new(
                true,
                "no notebook was made, and the item is open",
            ));
        }
        match made(section).await? {
            Ok(notebook) => {
                let documents = documents(section, &notebook).await?;
                Ok(Seen::new(missing(&documents).is_empty(), told(&documents)))
            }
            Err(why) => Ok(Seen::new(false, why)),
        }
    }
}

/// Makes the notebook; in words, why there is none.
async fn made(section: &Section<'_>) -> Result<Result<String, String>, StepError> {
    let Some(make) = section.context.make_handover else {
        return Ok(Err("nothing here makes notebooks of a record".to_owned()));
    };
    let run = section.context.run.clone();
    blocking("making the notebook of the handover", move || make(&run)).await
}

/// Looks for the lines of every document that the section of runbooks kept. In the text of a notebook a line
/// stands as JSON writes it.
async fn documents(section: &Section<'_>, notebook: &str) -> Result<Vec<Document>, StepError> {
    let state = section.context.state();
    let step: Result<StepName, _> = "handover.runbooks".parse();
    let step = step.ok().and_then(|step| state.steps.get(&step));
    let kept = step.map(|step| Kept::of(&step.result)).unwrap_or_default();
    let mut documents = Vec::new();
    for (name, _, digest) in kept.0 {
        let content = section.read(digest).await?;
        let text = String::from_utf8_lossy(&content).into_owned();
        let lines: Vec<_> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let written = lines.iter().map(|line| json!(line).to_string());
        let found = written.filter(|line| notebook.contains(line.trim_matches('"')));
        documents.push(Document {
            name,
            lines: lines.len(),
            found: found.count(),
        });
    }
    Ok(documents)
}

fn missing(documents: &[Document]) -> Vec<&str> {
    let short = documents.iter().filter(|one| one.found < one.lines);
    short.map(|one| one.name.as_str()).collect()
}

fn told(documents: &[Document]) -> String {
    let lines: usize = documents.iter().map(|one| one.lines).sum();
    let all = format!(
        "{} runbooks and guides with {}",
        documents.len(),
        counted(lines, "line")
    );
    match missing(documents)[..] {
        [] => format!("{all} stand whole in the notebook 09_Operational_Handover"),
        ref missing => format!(
            "of {all}, not whole in the notebook: {}",
            missing.join(", ")
        ),
    }
}

fn report(documents: &[Document]) -> Report {
    let rows = documents.iter().map(|one| {
        vec![
            one.name.clone(),
            one.lines.to_string(),
            one.found.to_string(),
        ]
    });
    let columns = vec![
        Column::text("document"),
        Column::number("lines"),
        Column::number("of these in the notebook"),
    ];
    Report::new().with_table(
        "Runbooks and guides in the notebook 09_Operational_Handover",
        columns,
        rows.collect(),
    )
}
