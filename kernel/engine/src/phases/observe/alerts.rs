//! The section of alerts: rules made from the objectives.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Verdict};
use serde_json::{Value, json};

use super::VERB;
use super::metrics::{Names, names};
use crate::phases::look::counted;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;
use crate::{Context, Spec};

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "alerts",
    title: "Make alert rules from the objectives",
    items: "8.1.4 8.1.5",
    undo: None,
    methods: (
        "kept rules parsed and held against the objectives",
        "metrics of the rules scraped",
    ),
    expected: Duration::from_secs(3),
};

const RULES: &str = "Prometheus alert rules";

/// The step's name, and where its result lists the alerts that have a rule.
const STEP: &str = "observe.alerts";
const NAMES: &str = "names";

/// The rate at which an error budget of 30 days is gone in two days, as multiwindow alerts use it.
const FAST_BURN: f64 = 14.4;

/// Something a person is told of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alert {
    /// Its name: `StorefrontSlow`.
    pub name: String,
    /// The service.
    pub service: String,
    /// What it means, with its threshold.
    pub meaning: String,
    /// The threshold.
    pub threshold: Threshold,
    /// The check of an objective that it watches (see [`Objective::check`]); nothing for one that
    /// tells of a service that does not answer.
    pub objective: Option<String>,
}

/// What an alert's value is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Threshold {
    /// The metrics endpoint does not answer.
    Down,
    /// The share of failed requests, from 0 to 1.
    Burn(f64),
    /// The quantile, from 0 to 1, and the latency in seconds.
    Slow(f64, f64),
}

/// Returns the alerts that follow from the deployment file: one for each service that ends to
/// answer, one for each objective of availability or latency.
pub(crate) fn alerts(spec: &Spec) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut add = |service: &str, kind: &str, meaning: String, threshold, objective| {
        let base = format!("{}{kind}", camel(service));
        let same = alerts
            .iter()
            .filter(|alert| alert.name.starts_with(&base))
            .count();
        let name = if same == 0 {
            base
        } else {
            format!("{base}{}", same + 1)
        };
        alerts.push(Alert {
            name,
            service: service.to_owned(),
            meaning,
            threshold,
            objective,
        });
    };
    for service in spec
        .services
        .iter()
        .filter(|service| service.file.metrics.is_some())
    {
        let meaning = "an instance has not answered for a minute".to_owned();
        add(&service.name, "Down", meaning, Threshold::Down, None);
    }
    for objective in &spec.file.objectives {
        if let Some(availability) = objective.availability {
            // Enough digits for any availability, and none that only the arithmetic gave.
            let share = (FAST_BURN * (100.0 - availability) * 1e7).round() / 1e9;
            let meaning = format!(
                "the objective `{}` will soon be missed: more than {:.2} % of all requests fail, those of probes and metrics \
                 among them, {FAST_BURN} times what {availability} % allows",
                objective.name,
                share * 100.0
            );
            add(
                &objective.service,
                "ErrorBudget",
                meaning,
                Threshold::Burn(share),
                Some(objective.check("availability")),
            );
        }
        if let Some(latency) = &objective.latency {
            let below = latency.below.get();
            let meaning = format!(
                "the objective `{}` is missed: p{} of all requests, those of probes and metrics among them, is above {below:?}",
                objective.name, latency.percent
            );
            let threshold = Threshold::Slow(latency.percent / 100.0, below.as_secs_f64());
            let check = objective.check(&format!("p{}", latency.percent));
            add(&objective.service, "Slow", meaning, threshold, Some(check));
        }
    }
    alerts
}

/// Returns the alerts that a rule was written for in this run. A run whose alerts were made by a
/// program that did not list them has all.
pub(crate) fn alerts_with_rules(context: &Context) -> Vec<Alert> {
    let state = context.state();
    let mut steps = state.steps.iter();
    let made = steps.find(|(step, _)| step.as_str() == STEP);
    let listed = made.and_then(|(_, step)| step.result.get(NAMES)?.as_array());
    with_rules(alerts(&context.spec), listed.map(Vec::as_slice))
}

fn with_rules(alerts: Vec<Alert>, listed: Option<&[Value]>) -> Vec<Alert> {
    let Some(listed) = listed else {
        return alerts;
    };
    let has_rule = |alert: &Alert| listed.iter().any(|name| *name == alert.name.as_str());
    alerts.into_iter().filter(has_rule).collect()
}

/// Says what is not watched where no rule can be made for an alert.
fn unwatched(alert: &Alert) -> String {
    match &alert.objective {
        Some(objective) => format!("{objective} of {}", alert.service),
        None => format!("whether {} answers", alert.service),
    }
}

fn camel(name: &str) -> String {
    let parts = name.split(['-', '_']).map(|part| {
        let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        format!("{}{rest}", first.to_uppercase())
    });
    parts.collect()
}

/// Returns the rule's expression, or nothing when the service gives no metric for it.
fn expression(alert: &Alert, names: &Names) -> Option<String> {
    let service = &alert.service;
    Some(match alert.threshold {
        Threshold::Down => format!("up{{job=\"{service}\"}} == 0"),
        Threshold::Burn(share) => {
            let (requests, status) = names.requests.as_ref()?;
            let burn = |window: &str| {
                format!(
                    "sum(rate({requests}{{job=\"{service}\",{status}=~\"5..\"}}[{window}])) / \
                     sum(rate({requests}{{job=\"{service}\"}}[{window}])) > {share}"
                )
            };
            format!("({}) and ({})", burn("1h"), burn("5m"))
        }
        Threshold::Slow(quantile, seconds) => {
            let duration = names.duration.as_ref()?;
            format!(
                "histogram_quantile({quantile}, \
                 sum by (le) (rate({duration}_bucket{{job=\"{service}\"}}[5m]))) > {seconds}"
            )
        }
    })
}

pub(super) struct Alerts;

#[async_trait]
impl Work for Alerts {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (mut kept, mut rules, mut rows, mut without) =
            (Kept::default(), Vec::new(), Vec::new(), Vec::new());
        let mut names_of_rules = Vec::new();
        for alert in alerts(&section.context.spec) {
            let expression = expression(&alert, &names(section, &alert.service).await?);
            let watched = alert.objective.clone().unwrap_or_else(|| "none".to_owned());
            // Without a metric there is no rule, and what no rule stands for is no alert.
            let Some(expression) = expression else {
                without.push(unwatched(&alert));
                continue;
            };
            rows.push(vec![
                alert.name.clone(),
                alert.meaning.clone(),
                expression.clone(),
                watched,
            ]);
            names_of_rules.push(alert.name.clone());
            let wait = if alert.threshold == Threshold::Down {
                "1m"
            } else {
                "2m"
            };
            rules.push(json!({ "alert": alert.name, "expr": expression, "for": wait,
                "labels": { "service": alert.service, "severity": "page" },
                "annotations": { "summary": alert.meaning, "runbook": format!("alert {}", alert.name) } }));
        }
        let count = rules.len();
        let group = json!({ "name": section.context.spec.application, "rules": rules });
        let file = format!("{:#}\n", json!({ "groups": [group] }));
        let file_kept = section
            .keep(&mut kept, RULES, "application/yaml", file.clone())
            .await?;
        let columns = vec![
            Column::text("alert"),
            Column::text("meaning"),
            Column::text("expression"),
            Column::text("objective"),
        ];
        let mut report = Report::new().with_table("Alerts", columns, rows);
        if !without.is_empty() {
            report = report.with_text(format!(
                "No alert watches these, because the service gives no metric for a rule: {}.",
                without.join("; ")
            ));
        }
        let report = report.with_code(RULES, "yaml", file);
        let event = section.report("Alert rules", report).await?;
        let reason = format!(
            "written for Prometheus to load: {}; this program runs no Prometheus, so nothing evaluates them after the run",
            counted(count, "rule")
        );
        section
            .settle("8.1.4", Verdict::Open, reason, &[file_kept, event])
            .await?;
        thresholds(section, &without, [file_kept, event]).await?;
        Ok(kept.into_result(json!({ "rules": count, NAMES: names_of_rules })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(RULES) else {
            return Ok(Seen::new(false, "no rules were kept"));
        };
        let text = String::from_utf8_lossy(&section.read(digest).await?).into_owned();
        let file: Value = serde_saphyr::from_str(&text).unwrap_or_default();
        let rules = file.pointer("/groups/0/rules").and_then(Value::as_array);
        let named = |alert: &Alert| {
            rules.is_some_and(|all| all.iter().any(|rule| rule["alert"] == alert.name.as_str()))
        };
        let alerts = alerts(&section.context.spec);
        let found = alerts.iter().filter(|alert| named(alert)).count() as u64;
        let wanted = result
            .get("rules")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        Ok(Seen::new(
            found == wanted,
            format!("{found} of {wanted} rules stand in the kept file"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let mut count = 0;
        for alert in alerts(&section.context.spec) {
            let names = names(section, &alert.service).await?;
            count += u64::from(expression(&alert, &names).is_some());
        }
        let wanted = result
            .get("rules")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let detail = format!("the services give the metrics of {count} of {wanted} rules");
        Ok(Seen::new(count == wanted, detail))
    }
}

async fn thresholds(
    section: &Section<'_>,
    without: &[String],
    evidence: [EvidenceRef; 2],
) -> Result<(), StepError> {
    let objectives = &section.context.spec.file.objectives;
    let asked = objectives
        .iter()
        .filter(|one| one.availability.is_some() || one.latency.is_some());
    let count = asked.count();
    if count == 0 {
        let reason = "the deployment file names no objective of availability or latency";
        return section.open("8.1.5", reason).await;
    }
    let reason = match without.is_empty() {
        true if count < objectives.len() => format!(
            "the rules hold the thresholds of {count} of {}; no rule watches throughput",
            counted(objectives.len(), "objective")
        ),
        true => format!(
            "the rules hold the thresholds of {}",
            counted(count, "objective")
        ),
        false => format!(
            "no rule watches {}: no metric is given for it",
            without.join("; ")
        ),
    };
    section
        .judge(
            "8.1.5",
            without.is_empty(),
            Basis::Performed,
            reason,
            &evidence,
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, threshold: Threshold) -> Alert {
        Alert {
            name: name.to_owned(),
            service: "back".to_owned(),
            meaning: String::new(),
            threshold,
            objective: None,
        }
    }

    #[test]
    fn an_alert_without_a_rule_is_none_to_answer() {
        let made = || {
            vec![
                alert("BackDown", Threshold::Down),
                alert("BackSlow", Threshold::Slow(0.95, 0.1)),
            ]
        };
        let listed = [json!("BackDown")];
        let left = with_rules(made(), Some(&listed));
        assert_eq!(left, [alert("BackDown", Threshold::Down)]);
        assert_eq!(with_rules(made(), None), made());
    }

    #[test]
    fn a_service_without_metrics_has_no_rule_for_an_objective() {
        let names = Names {
            answered: true,
            ..Names::default()
        };
        assert!(expression(&alert("BackDown", Threshold::Down), &names).is_some());
        assert!(expression(&alert("BackSlow", Threshold::Slow(0.95, 0.1)), &names).is_none());
        assert!(expression(&alert("BackErrorBudget", Threshold::Burn(0.1)), &names).is_none());
    }
}
