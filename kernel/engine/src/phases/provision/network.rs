//! Names and walls, and TLS where there is any.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report};
use serde_json::{Value, json};

use crate::phases::look::{self, LIMIT, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step of names and walls.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "network",
        title: "resolve every name and look at what listens beyond this machine",
        items: "3.3.2 3.3.5 3.4.2",
        undo: None,
        methods: (
            "the listening addresses as the target lists them",
            "a connection to every address",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Network)
}

/// Returns the step of TLS.
pub(super) fn tls_step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "tls",
        title: "look which addresses speak TLS",
        items: "3.3.3 3.4.3 7.3.2",
        undo: None,
        methods: (
            "the addresses as the target lists them",
            "a plain HTTP request to each",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Tls)
}

struct Network;

#[async_trait]
impl Work for Network {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (inventory, observed) = look::inventory(section.context).await?;
        let mut rows = Vec::new();
        let mut lost = Vec::new();
        for name in &inventory.names {
            let found =
                tokio::time::timeout(LIMIT, tokio::net::lookup_host((name.name.as_str(), 443)))
                    .await;
            let text = match found {
                Ok(Ok(addresses)) => list(addresses.map(|address| address.ip())),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
            };
            let resolved = text
                .split(", ")
                .next()
                .is_some_and(|first| first.parse::<std::net::IpAddr>().is_ok());
            if !resolved {
                lost.push(name.name.clone());
            }
            rows.push(vec![name.name.clone(), text]);
        }
        let beyond = beyond(section.context).await?;
        let listening = observed.listening.iter().map(|address| {
            vec![
                address.to_string(),
                if address.ip().is_loopback() {
                    "this machine only"
                } else {
                    "everybody"
                }
                .to_owned(),
            ]
        });
        let report = Report::new()
            .with_table(
                "Names outside",
                ["Name", "Resolves to"].map(Column::text).to_vec(),
                rows,
            )
            .with_table(
                "What listens",
                ["Address", "Reached by"].map(Column::text).to_vec(),
                listening.collect(),
            );
        let evidence = [section.report("Network configuration", report).await?];
        if inventory.names.is_empty() {
            let fact =
                "no name of a host outside in the inventory; services are reached by address";
            section.none("3.3.2", fact).await?;
            section.none("3.4.2", fact).await?;
        } else {
            let text = format!(
                "{} names; not resolved: {}",
                inventory.names.len(),
                list(&lost)
            );
            section
                .judge(
                    "3.3.2",
                    lost.is_empty(),
                    Basis::Observed,
                    text.clone(),
                    &evidence,
                )
                .await?;
            section
                .judge("3.4.2", lost.is_empty(), Basis::Observed, text, &evidence)
                .await?;
        }
        if section.context.spec.on_this_machine() {
            let text = format!(
                "balancer and instances are reached at loopback; {} addresses listen, beyond it: {}",
                observed.listening.len(),
                list(&beyond)
            );
            section
                .judge(
                    "3.3.5",
                    beyond.is_empty(),
                    Basis::Performed,
                    text,
                    &evidence,
                )
                .await?;
        } else {
            section
                .open(
                    "3.3.5",
                    "this program configures no firewall on this target",
                )
                .await?;
        }
        Ok(json!({ "names": inventory.names.len() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let beyond = beyond(section.context).await?;
        let local = section.context.spec.on_this_machine();
        Ok(Seen::new(
            beyond.is_empty() || !local,
            format!("beyond loopback: {}", list(&beyond)),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let reached = look::reach_all(section.context, &observed).await;
        Ok(Seen::new(reached.failed.is_none(), reached.text()))
    }
}

async fn beyond(context: &Context) -> Result<Vec<String>, StepError> {
    let observed = context.target.observe().await?;
    let beyond = observed
        .listening
        .iter()
        .filter(|address| !address.ip().is_loopback());
    Ok(beyond.map(ToString::to_string).collect())
}

struct Tls;

#[async_trait]
impl Work for Tls {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (inventory, observed) = look::inventory(section.context).await?;
        let outside: Vec<_> = observed
            .addresses
            .iter()
            .filter(|place| !place.address.ip().is_loopback())
            .collect();
        let text = format!(
            "{} addresses, {} beyond this machine; {} certificates in the project. Requests between \
             parts of one machine do not leave it and go without TLS.",
            observed.addresses.len(),
            outside.len(),
            inventory.certificates.len()
        );
        section.report("TLS", Report::new().with_text(text)).await?;
        let fact =
            "every address of the application is loopback, and the inventory holds no certificate";
        for item in ["3.3.3", "3.4.3", "7.3.2"] {
            if outside.is_empty() && inventory.certificates.is_empty() {
                section.none(item, fact).await?;
            } else {
                section
                    .open(
                        item,
                        "this program does not configure or check TLS on this target",
                    )
                    .await?;
            }
        }
        Ok(json!({ "addresses": observed.addresses.len() }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let count = observed.addresses.len();
        Ok(Seen::new(
            json!({ "addresses": count }) == *result,
            format!("{count} addresses"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let client = crate::http::HttpClient::new();
        let mut plain = 0;
        let balancing = section.context.target.balancing();
        let (unserved, served): (Vec<_>, Vec<_>) = observed
            .addresses
            .iter()
            .partition(|place| look::is_unserved(&observed, balancing, &place.service));
        for place in served {
            let answer = client
                .get(&format!("http://{}/", place.address), LIMIT)
                .await;
            if let Err(error) = answer {
                return Ok(Seen::new(false, error.to_string()));
            }
            plain += 1;
        }
        let mut text = format!("{plain} addresses answer plain HTTP");
        if !unserved.is_empty() {
            text.push_str(&format!(", {} lead to nobody yet", unserved.len()));
        }
        Ok(Seen::new(true, text))
    }
}
