//! The source policy as the phases show it, and secrets in the configuration.

use std::sync::Arc;

use code_deploy_record::{Column, Report};

use crate::section::blocking;
use crate::source::{self, Found};
use crate::step::StepError;
use crate::{Context, Spec};

/// Checks the source that is deployed.
pub(crate) async fn check(context: &Context) -> Result<source::Report, StepError> {
    let spec = Arc::clone(&context.spec);
    let checked = blocking("checking the source", move || {
        let security = &spec.file.security;
        let folder = security
            .source
            .as_ref()
            .map_or_else(|| spec.project.clone(), |below| spec.project.join(below));
        source::check(
            &folder,
            security.development_branch.as_deref(),
            &security.rules_off,
        )
    });
    checked.await?.map_err(|what| {
        StepError::permanent(
            "CD0701",
            what,
            "Set `security.source` to the folder of the source.",
        )
    })
}

/// Returns the rules with how each ended, and every breach.
pub(crate) fn report(source: &source::Report) -> Report {
    let columns = ["Rule", "Asks", "Result", "Seen"]
        .map(Column::text)
        .to_vec();
    let rows = source.outcomes.iter().map(|outcome| {
        let seen = match &outcome.found {
            Found::Holds(what) | Found::NotAsked(what) => what.clone(),
            Found::Broken(breaches) => format!("{} breaches", breaches.len()),
            Found::Off => "`security.rules_off` of the deployment file".to_owned(),
        };
        vec![
            outcome.rule.name.to_owned(),
            outcome.rule.asks.to_owned(),
            outcome.found.word().to_owned(),
            seen,
        ]
    });
    let mut report = Report::new().with_table("Source policy", columns, rows.collect());
    let columns = ["Rule", "Severity", "Place", "Found"]
        .map(Column::text)
        .to_vec();
    let rows: Vec<_> = source
        .breaches()
        .map(|(rule, breach)| {
            let severity = format!("{:?}", rule.severity).to_lowercase();
            vec![
                rule.name.to_owned(),
                severity,
                breach.place.clone(),
                breach.message.clone(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        report = report.with_table("Findings in the source", columns, rows);
    }
    for name in &source.unknown_off {
        report = report.with_text(format!(
            "`security.rules_off` names `{name}`, which is no rule."
        ));
    }
    report
}

/// Returns where a value of the configuration looks like a secret, and like which.
pub(crate) fn configured_secrets(spec: &Spec) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for service in &spec.services {
        let process = service
            .file
            .process
            .iter()
            .flat_map(|process| &process.environment);
        for (name, value) in service.environment.iter().chain(process) {
            if let Some(kind) = source::secret_in(&format!("{name}=\"{value}\"")) {
                found.push((format!("{} {name}", service.name), kind.to_owned()));
            }
        }
    }
    found
}
