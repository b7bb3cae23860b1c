//! What is said of the user's own manifests before a run, each with file and line.

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{Service, UserManifest};
use code_deploy_record::{Finding, Release, Severity};
use serde_json::Value;

use super::budgets::{self, Budget};
use super::manifest::{Given, Wish};
use super::meaning::{self, Meaning};
use super::names::{Labels, Names, Part};
use super::{overlay, pod};

/// Stands for the release where none is named: what is judged does not depend on it.
const ANY: &str = "0.0.0";

/// Returns what is said of the manifests. Critical findings refuse a run.
pub fn findings(spec: &Spec) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut applied = false;
    for manifest in &spec.manifests {
        match meaning::of(spec, manifest) {
            Meaning::LaidOver => findings.extend(of_overlay(spec, manifest)),
            Meaning::Applied => {
                applied = true;
                findings.push(of_applied(spec, manifest));
                findings.extend(of_budget(spec, manifest));
                findings.extend(of_claim(spec, manifest));
            }
            Meaning::Refused(refusal) => findings.push(Finding {
                rule: RULE.to_owned(),
                severity: Severity::Critical,
                place: manifest.place_of(refusal.path),
                message: format!("{} is refused: {}", manifest.title(), refusal.why),
                cure: refusal.cure.to_owned(),
            }),
        }
    }
    if applied {
        findings.push(of_going_back(spec));
    }
    findings
}

const RULE: &str = "kubernetes/manifest";
const NOTHING: &str = "Nothing, if that is meant.";

fn of_going_back(spec: &Spec) -> Finding {
    let file = spec.path.file_name().unwrap_or_default().to_string_lossy();
    Finding {
        rule: "kubernetes/manifests-stay".to_owned(),
        severity: Severity::Low,
        place: format!("{file} environments.{}.kubernetes.manifests", spec.environment),
        message: "what manifests bring is one for all releases: it is changed where it is, also for pods that run, and \
                  a run that goes back leaves it as the files say"
            .to_owned(),
        cure: "What belongs to one release goes into the Compose file (`configs`, `secrets`, `environment`), or \
               into an object of another name."
            .to_owned(),
    }
}

fn of_applied(spec: &Spec, manifest: &UserManifest) -> Finding {
    let ours = Names::of(spec).brought_labels();
    let given = manifest.value.pointer("/metadata/labels");
    let given = given.and_then(Value::as_object).into_iter().flatten();
    let replaced = given.filter(|(key, value)| ours.get(*key).is_some_and(|own| *value != own));
    let replaced: Vec<String> = replaced.map(|(key, _)| format!("`{key}`")).collect();
    let mut message = format!(
        "{} is applied before the first release starts",
        manifest.title()
    );
    if !replaced.is_empty() {
        message.push_str(&format!(
            ", with labels of this program in place of {}",
            replaced.join(", ")
        ));
    }
    Finding {
        rule: RULE.to_owned(),
        severity: Severity::Info,
        place: manifest.place(),
        message,
        cure: NOTHING.to_owned(),
    }
}

fn of_overlay(spec: &Spec, manifest: &UserManifest) -> Vec<Finding> {
    let Some(service) = spec.service(&manifest.name) else {
        return Vec::new();
    };
    let refused = refused(spec, service, manifest).unwrap_or_default();
    if refused.is_empty() {
        let mut findings = vec![Finding {
            rule: RULE.to_owned(),
            severity: Severity::Info,
            place: manifest.place(),
            message: format!(
                "{} is laid over each release of the service",
                manifest.title()
            ),
            cure: NOTHING.to_owned(),
        }];
        findings.extend(of_strategy(manifest));
        return findings;
    }
    let findings = refused.into_iter().map(|one| Finding {
        rule: RULE.to_owned(),
        severity: Severity::Critical,
        place: one.place,
        message: one.what,
        cure: "Take it out of the manifest.".to_owned(),
    });
    findings.collect()
}

/// How a cluster replaces pods of one Deployment never comes to it: no run changes the pods of a release.
fn of_strategy(manifest: &UserManifest) -> Option<Finding> {
    let said = manifest.value.pointer("/spec/strategy")?;
    (!said.is_null()).then(|| Finding {
        rule: "kubernetes/strategy".to_owned(),
        severity: Severity::Low,
        place: manifest.place_of(&["spec", "strategy"]),
        message: format!(
            "`strategy` of {} does not act in a run: it says how pods of one Deployment are replaced, and each release has \
             a Deployment of its own",
            manifest.title()
        ),
        cure: "Say as `strategy` of the deployment file how releases change.".to_owned(),
    })
}

/// Returns what of a manifest cannot be laid over a service; nothing where the service itself cannot be made.
fn refused(
    spec: &Spec,
    service: &Service,
    manifest: &UserManifest,
) -> Option<Vec<overlay::Refused>> {
    let release = spec.release.as_deref().unwrap_or(ANY);
    let release: Release = release.parse().ok()?;
    let names = Names::of(spec);
    let given = Given {
        names: &names,
        spec,
        service,
        compose: spec.compose.services.get(&service.name)?,
        release: &release,
    };
    // An older cluster knows no pause, and leaves that to the manifest.
    let wish = Wish {
        run: &"before-the-run".parse().ok()?,
        replicas: service.replicas,
        limit: spec.strategy.health.deadline.get(),
        aliases: std::collections::BTreeMap::new(),
        knows_pause: false,
    };
    let made = given.made(&wish).ok()?;
    overlay::laid_over(service, &made, manifest).err()
}

/// A budget that selects no pods keeps none, and one that lets none go stops an update.
fn of_budget(spec: &Spec, manifest: &UserManifest) -> Option<Finding> {
    if manifest.kind != budgets::KIND {
        return None;
    }
    let budget = Budget::brought(manifest);
    let services = spec.services.iter();
    let mut labels = services.filter_map(|service| labels_of(spec, &service.name));
    if labels.any(|labels| budget.selects(&labels)) {
        return budgets::finding(spec, manifest, |service| labels_of(spec, service));
    }
    Some(Finding {
        rule: "kubernetes/budget".to_owned(),
        severity: Severity::Medium,
        place: manifest.place_of(&["spec", "selector"]),
        message: format!("{} selects no pods of this application", manifest.title()),
        cure: "Select by `app.kubernetes.io/name`, which is the name of the service, or by labels that a Deployment \
               of the manifests gives its pods."
            .to_owned(),
    })
}

/// Returns the labels of the pods of a service, with those that the user's Deployment gives them.
fn labels_of(spec: &Spec, service: &str) -> Option<Labels> {
    let release: Release = spec.release.as_deref().unwrap_or(ANY).parse().ok()?;
    let mut labels = Names::of(spec).release_labels(Part::Release, service, &release);
    let over = overlay::of(spec, service);
    let given = over.and_then(|over| over.value.pointer("/spec/template/metadata/labels"));
    for (key, value) in given.and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.as_str() {
            labels.insert(key.clone(), value.to_owned());
        }
    }
    Some(labels)
}

/// A claim that one node, or one pod, has at a time, and that two releases want at once.
fn of_claim(spec: &Spec, manifest: &UserManifest) -> Option<Finding> {
    if manifest.kind != meaning::CLAIM {
        return None;
    }
    let modes = manifest.value.pointer("/spec/accessModes")?.as_array()?;
    let mut users = spec.services.iter().filter(|service| {
        let compose = spec.compose.services.get(&service.name);
        let claims = compose.map(|compose| pod::claims(spec, service, compose));
        claims.is_some_and(|claims| claims.contains(&manifest.name))
    });
    let service = users.next()?;
    let has = |mode: &str| modes.iter().any(|one| one == mode);
    let (severity, message, cure) = if has("ReadWriteMany") || has("ReadOnlyMany") {
        return None;
    } else if has("ReadWriteOncePod") {
        let message = format!(
            "one pod at a time has {}, and a release of `{}` is started beside the one before",
            manifest.title(),
            service.name
        );
        (
            Severity::Critical,
            message,
            "Claim it ReadWriteOnce or ReadWriteMany.",
        )
    } else {
        let message = format!(
            "one node at a time has {}: all pods of `{}`, of both releases, have to be on it",
            manifest.title(),
            service.name
        );
        (
            Severity::Medium,
            message,
            "Claim it ReadWriteMany, or have pods placed on one node.",
        )
    };
    Some(Finding {
        rule: "kubernetes/claim".to_owned(),
        severity,
        place: manifest.place_of(&["spec", "accessModes"]),
        message,
        cure: cure.to_owned(),
    })
}

#[cfg(test)]
mod tests;
