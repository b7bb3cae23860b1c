//! What may go wrong: what is there only once, what cannot be taken back, what changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, Report, RunsFolder};
use serde_json::{Value, json};

use super::changes::changes;
use crate::foresight::{self, Foreseen};
use crate::plan::Inputs;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::spec::DatabaseUrl;
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("plan", 1),
        section: "risks",
        title: "weigh what may go wrong and what changed since the last run",
        items: "",
        undo: None,
        methods: ("the risks weighed again", "the runs of the project listed"),
        expected: Duration::from_millis(300),
    };
    section_step(&outline, Risks(inputs.clone()))
}

/// When the comparison was made and what it knows: pages that are made later may have other records beside them.
const COMPARED: &str = "What changed was compared while the run planned, with the last finished run whose record lay in \
                        this project then. Where these pages are made later or elsewhere, that record need not lie beside \
                        them. Of endpoints and packages only what files declare is known at this point; where the \
                        files of neither run declare any, there is no row.";

struct Risks(Inputs);

/// A risk, how serious it is, and what is done about it.
struct Risk(&'static str, String, &'static str);

#[async_trait]
impl Work for Risks {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let risks = risks(context).await;
        let count = risks.len();
        let rows = risks
            .into_iter()
            .map(|Risk(level, what, cure)| vec![level.to_owned(), what, cure.to_owned()]);
        let columns = ["Level", "Risk", "What is done about it"]
            .map(Column::text)
            .to_vec();
        let changes = changes(context).await?;
        let report = foresight::tell(Report::new(), &self.foreseen(context).await?)
            .with_table("Risks", columns, rows.collect())
            .with_text(COMPARED)
            .with_table(
                "What changed since the last finished run",
                ["What", "Then", "Now"].map(Column::text).to_vec(),
                changes,
            );
        section.report("Risk assessment", report).await?;
        Ok(json!({ "risks": count }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let count = risks(section.context).await.len();
        Ok(Seen::new(
            json!({ "risks": count }) == *result,
            format!("{count} risks"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let project = section.context.spec.project.clone();
        let listed = blocking("listing runs", move || {
            RunsFolder::of_project(&project).list()
        })
        .await??;
        let started = section.context.state().started.clone();
        let known = started.is_some_and(|started| listed.contains(&started.run));
        Ok(Seen::new(
            known,
            format!("{} runs of the project, this one among them", listed.len()),
        ))
    }
}

impl Risks {
    /// Returns what the files alone tell of this run.
    async fn foreseen(&self, context: &Context) -> Result<Vec<Foreseen>, StepError> {
        let state = context.state();
        let steps = state.plan.as_ref().map(|plan| plan.steps.clone());
        let (inputs, program) = (self.0.clone(), context.program.clone());
        let today = context.clock.now().date_naive();
        let images = context.target.image_health_checks(&context.to).await?;
        let looked = blocking("looking at the files", move || {
            foresight::foreseen(
                &inputs,
                &steps.unwrap_or_default(),
                &program,
                &images,
                today,
            )
        });
        looked.await?.map_err(|error| {
            let problem = error.problem();
            StepError::permanent(&problem.code, problem.what, problem.next)
        })
    }
}

async fn risks(context: &Context) -> Vec<Risk> {
    let (spec, mut risks) = (&context.spec, Vec::new());
    for service in spec.services.iter().filter(|service| service.replicas < 2) {
        let what = format!(
            "{} has one instance: when it ends nobody answers",
            service.name
        );
        risks.push(Risk(
            "high",
            what,
            "It is started again; plan a second one.",
        ));
    }
    if spec.on_this_machine() {
        let what = "everything runs on one machine".to_owned();
        risks.push(Risk(
            "medium",
            what,
            "Accepted for a target that is this machine.",
        ));
    }
    for (name, database) in &spec.file.databases {
        if matches!(database.url, DatabaseUrl::Plain(_)) {
            let what = format!("database {name} is one file without a replica");
            risks.push(Risk(
                "medium",
                what,
                "A verified backup before the first migration.",
            ));
        }
        for file in without_way_back(context, database.migrations.as_deref()).await {
            let what = format!("database {name}: {file} has no way down");
            risks.push(Risk("high", what, "Only restoring the backup leads back."));
        }
    }
    if context.from.is_none() {
        let what = "a first deployment: no release to go back to".to_owned();
        risks.push(Risk(
            "low",
            what,
            "What was started is stopped; nobody uses it yet.",
        ));
    } else if !spec.strategy.rehearse_rollback {
        let what = "the rollback is not rehearsed".to_owned();
        risks.push(Risk("medium", what, "Set `rehearse_rollback: true`."));
    }
    if spec.journeys.iter().all(|journey| !journey.smoke) {
        let what = "no journey is marked as a critical path".to_owned();
        risks.push(Risk(
            "medium",
            what,
            "Each service's readiness is asked in its place.",
        ));
    }
    if spec.file.client.is_none() {
        let what = "no outside client: downtime would not be measured".to_owned();
        risks.push(Risk(
            "medium",
            what,
            "Declare `client` in the deployment file.",
        ));
    }
    risks
}

/// Returns the migrations with an `.up.sql` and no `.down.sql`, or with neither word.
async fn without_way_back(context: &Context, folder: Option<&std::path::Path>) -> Vec<String> {
    let Some(folder) = folder else {
        return Vec::new();
    };
    let Ok(mut entries) = tokio::fs::read_dir(context.spec.project.join(folder)).await else {
        return Vec::new();
    };
    let mut names = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let one_way = |name: &&String| match name.strip_suffix(".up.sql") {
        Some(stem) => !names.contains(&format!("{stem}.down.sql")),
        None => name.ends_with(".sql") && !name.ends_with(".down.sql"),
    };
    names.iter().filter(one_way).cloned().collect()
}
