//! Health checks that the engine runs, of the Compose file or of an image.

use std::collections::BTreeMap;

use bollard::models::{
    Health as Told, HealthStatusEnum as Status, HealthcheckResult, ImageInspect,
};
use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Service};
use code_deploy_engine::target::{Health, TargetError};
use code_deploy_record::{Redactor, Release};

use super::DockerTarget;
use crate::keys::Keys;

/// How much of what a failed check said is told, in characters.
const LONGEST: usize = 300;

/// Returns what the health check of a container found last; nothing when it has none.
pub fn found(told: &Told, redactor: &Redactor) -> Option<Health> {
    let last = told.log.as_ref().and_then(|log| log.last());
    let failed = last.filter(|last| last.exit_code != Some(0));
    let state = match told.status? {
        Status::HEALTHY => {
            return Some(Health {
                passed: true,
                detail: "its health check passes".to_owned(),
            });
        }
        Status::STARTING => "its health check has not passed yet".to_owned(),
        Status::UNHEALTHY => match told.failing_streak {
            Some(times) if times > 1 => format!("its health check failed {times} times in a row"),
            _ => "its health check failed".to_owned(),
        },
        Status::NONE | Status::EMPTY => return None,
    };
    let detail = match failed {
        Some(failed) => format!("{state}: {}", said(failed, redactor)),
        None => state,
    };
    Some(Health {
        passed: false,
        detail,
    })
}

/// Returns the exit code of a check that failed, and the end of what it said, on one line and without secrets.
fn said(failed: &HealthcheckResult, redactor: &Redactor) -> String {
    let code = match failed.exit_code {
        // The engine has this one for a check that it ended itself.
        Some(code) if code >= 0 => format!("exit code {code}"),
        _ => "it did not end by itself".to_owned(),
    };
    let output = redactor.clean(failed.output.as_deref().unwrap_or_default());
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let output: String = output.chars().map(printable).collect();
    let words: Vec<&str> = output.split_whitespace().collect();
    let line = words.join(" ");
    let left_out = line.chars().count().saturating_sub(LONGEST);
    let end: String = line.chars().skip(left_out).collect();
    match (end.is_empty(), left_out) {
        (true, _) => format!("{code}, without a word"),
        (false, 0) => format!("{code}, {end}"),
        (false, _) => format!("{code}, ...{end}"),
    }
}

/// Returns whether an image has a health check of its own.
fn has_check(image: &ImageInspect) -> bool {
    let config = image.config.as_ref();
    let check = config.and_then(|config| config.healthcheck.as_ref());
    let test = check.and_then(|check| check.test.as_ref());
    let kind = test.and_then(|test| test.first());
    kind.is_some_and(|kind| kind != "NONE")
}

impl DockerTarget {
    /// Returns by service whether the image that a release is started from has a health check of its own, as far as
    /// its Dockerfile or the image itself, where it is there, says.
    pub(super) async fn checks_of_images(
        &self,
        release: &Release,
    ) -> Result<BTreeMap<String, bool>, TargetError> {
        let spec = self.settings.spec_of(release)?;
        let mut checks = BTreeMap::new();
        for service in &spec.services {
            let compose = self.compose(&spec, &service.name)?;
            let known = self.check_of_image(&spec, service, compose, release);
            if let Some(has_check) = known.await? {
                checks.insert(service.name.clone(), has_check);
            }
        }
        Ok(checks)
    }

    async fn check_of_image(
        &self,
        spec: &Spec,
        service: &Service,
        compose: &ComposeService,
        release: &Release,
    ) -> Result<Option<bool>, TargetError> {
        if let Some(section) = Keys(&compose.keys).get("build") {
            // A section that cannot be read is told when the image is built.
            let recipe = self.recipe(spec, &service.name, section).await.ok();
            let named = recipe.and_then(|recipe| recipe.has_health_check());
            if named.is_some() {
                return Ok(named);
            }
        }
        let own = self.names.image(&service.name, release);
        if let Some(image) = self.image_of(&service.name, &own).await? {
            return Ok(Some(has_check(&image)));
        }
        let Ok(reference) = self.reference(service, compose, release) else {
            return Ok(None);
        };
        let image = self.image_of(&service.name, &reference).await?;
        Ok(image.as_ref().map(has_check))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::Secret;

    use super::*;

    fn told(status: Status, code: i64, output: &str) -> Told {
        Told {
            status: Some(status),
            failing_streak: Some(3),
            log: Some(vec![HealthcheckResult {
                exit_code: Some(code),
                output: Some(output.to_owned()),
                ..HealthcheckResult::default()
            }]),
        }
    }

    #[test]
    fn what_a_failed_check_said_is_told_on_one_line_without_secrets() {
        let redactor = Redactor::default();
        redactor.know("TOKEN", Secret::new("correct-horse-battery".to_owned()));
        let ill = told(
            Status::UNHEALTHY,
            1,
            "cannot open\n  the\u{1b} database with correct-horse-battery\n",
        );
        let health = found(&ill, &redactor).unwrap();
        assert!(!health.passed);
        let beginning =
            "its health check failed 3 times in a row: exit code 1, cannot open the database";
        assert!(health.detail.starts_with(beginning), "{}", health.detail);
        assert!(!health.detail.contains("horse"), "{}", health.detail);
    }

    #[test]
    fn the_end_of_a_long_output_is_told() {
        let long = format!("{} the end", "x".repeat(4000));
        let health = found(&told(Status::STARTING, 1, &long), &Redactor::default()).unwrap();
        assert!(health.detail.ends_with("x the end"), "{}", health.detail);
        assert!(health.detail.chars().count() < 400, "{}", health.detail);
    }

    #[test]
    fn a_container_without_a_check_has_no_health_and_a_healthy_one_says_so() {
        let redactor = Redactor::default();
        for status in [Status::NONE, Status::EMPTY] {
            assert_eq!(found(&told(status, 0, ""), &redactor), None);
        }
        assert_eq!(found(&Told::default(), &redactor), None);
        assert!(
            found(&told(Status::HEALTHY, 0, ""), &redactor)
                .unwrap()
                .passed
        );
        let starting = found(&told(Status::STARTING, 0, ""), &redactor).unwrap();
        assert_eq!(starting.detail, "its health check has not passed yet");
        let cut_off = found(&told(Status::UNHEALTHY, -1, ""), &redactor).unwrap();
        assert!(cut_off.detail.contains("did not end"), "{}", cut_off.detail);
    }
}
