//! What of a Compose file the local target does not honour, and of a deployment file no target.

use std::collections::BTreeSet;

use code_deploy_record::{Finding, Severity};

use super::model::{DatabaseUrl, Service, Spec};
use super::not_honoured::{Limit, MEANT, NotHonoured};

/// Returns what of a deployment the local target, which runs processes of this machine, does not
/// honour: one limit each, with service and line. Critical ones refuse a run.
#[must_use]
pub fn local_limits(spec: &Spec) -> Vec<Limit> {
    let name = spec.compose.path.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let keys = spec.compose.features.iter().filter_map(|feature| {
        let severity = feature.local?;
        let key = NotHonoured {
            key: feature.key.clone(),
            service: feature.service.clone(),
            place: "by the local target".to_owned(),
            why: feature.why.clone(),
            meant: severity != Severity::Critical,
        };
        let rule = format!("compose/{}", feature.key);
        let place = format!("{name}:{} {}", feature.line, feature.service);
        let cure = cure(severity, &feature.key);
        Some(Limit::of_key(key, rule, severity, place, cure))
    });
    let mut limits: Vec<Limit> = keys.collect();
    for service in &spec.services {
        let findings = of_service(spec, service, &name);
        limits.extend(findings.into_iter().map(Limit::from));
    }
    limits
}

/// Returns what of a deployment this program does not honour on any target: one critical finding
/// for each database that it cannot migrate.
#[must_use]
pub fn database_limits(spec: &Spec) -> Vec<Finding> {
    let file = spec.path.file_name().unwrap_or_default().to_string_lossy();
    let databases = spec.file.databases.iter();
    let by_reference =
        databases.filter(|(_, one)| matches!(one.url, DatabaseUrl::Reference { .. }));
    let findings = by_reference.map(|(name, _)| Finding {
        rule: "database/by-reference".to_owned(),
        severity: Severity::Critical,
        place: format!("{file} databases.{name}"),
        message: "its address is a reference to a secret, and this version migrates SQLite files \
                  only"
            .to_owned(),
        cure: format!(
            "Take `{name}` out of `databases:` and migrate it by its own tool; what the program \
             cannot establish about it stays open."
        ),
    });
    findings.collect()
}

fn cure(severity: Severity, key: &str) -> String {
    if severity == Severity::Critical {
        format!(
            "Take `{key}` out of the Compose file: where there are no containers, nothing honours it."
        )
    } else {
        format!("{MEANT}; processes of the machine have no containers.")
    }
}

fn of_service(spec: &Spec, service: &Service, file: &str) -> Vec<Finding> {
    let line = spec
        .compose
        .services
        .get(&service.name)
        .map_or(0, |found| found.line);
    let place = format!("{file}:{line} {}", service.name);
    let Some(process) = &service.file.process else {
        return vec![Finding {
            rule: "local/no-process".to_owned(),
            severity: Severity::Critical,
            place,
            message: format!(
                "`{}` has no program that this machine could start",
                service.name
            ),
            cure: format!(
                "Write `services.{}.process.command` in the deployment file.",
                service.name
            ),
        }];
    };
    let port = service.published.filter(|_| service.file.routing.port == 0);
    let elsewhere = port.map(|port| Finding {
        rule: "local/port".to_owned(),
        severity: Severity::Low,
        place: place.clone(),
        message: format!(
            "`{}` is published at port {port} by the Compose file, and is reached at a free port here",
            service.name
        ),
        cure: format!(
            "Write `services.{}.routing.port: {port}` in the deployment file to have it there.",
            service.name
        ),
    });
    let given: BTreeSet<&str> = process.secrets.keys().map(String::as_str).collect();
    let secrets = spec.compose.services.get(&service.name);
    secrets
        .iter()
        .flat_map(|found| found.secret_variables.keys())
        .filter(|name| !given.contains(name.as_str()))
        .filter(|name| !given.contains(format!("{name}_FILE").as_str()))
        .map(|name| Finding {
            rule: "local/secret-variable".to_owned(),
            severity: Severity::Critical,
            place: place.clone(),
            message: format!(
                "`{name}` of `{}` is a secret, and processes get secrets as private files only",
                service.name
            ),
            cure: format!(
                "Write `services.{}.process.secrets.{name}_FILE: env:{name}`: the variable then \
                 holds the path of a private file with the value.",
                service.name
            ),
        })
        .chain(elsewhere)
        .collect()
}
