//! The health check that a Compose file gives a service, and who runs it.

use super::{Service, Spec};

/// What a Compose file says of a service's health check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthCheck {
    /// It names no command: one that the image has of its own stays as it is.
    #[default]
    Unnamed,
    /// None is to run, that of the image neither.
    Off,
    /// It names a command.
    Named,
}

impl Spec {
    /// Returns what the Compose file says of a service's health check.
    #[must_use]
    pub fn health_check(&self, service: &str) -> HealthCheck {
        let known = self.compose.services.get(service);
        known.map(|service| service.health).unwrap_or_default()
    }

    /// Returns whether the target runs the health check of the Compose file, so that it stands for the probes of which
    /// the deployment file names no path. A pod has one readiness probe, and the path of the deployment file comes first.
    #[must_use]
    pub fn runs_health_check(&self, service: &Service) -> bool {
        let is_run = match self.target.as_str() {
            "k8s" => service.file.probes.readiness.is_none(),
            _ => self.in_containers(),
        };
        is_run && self.health_check(&service.name) == HealthCheck::Named
    }

    /// Says which health check stands for the probes of a service whose instances have one, and who runs it.
    #[must_use]
    pub fn health_check_in_words(&self, service: &str) -> String {
        let who = match self.target.as_str() {
            "k8s" => "the kubelet",
            _ if self.in_containers() => "the engine",
            _ => "the target",
        };
        match self.health_check(service) {
            HealthCheck::Unnamed if self.in_containers() => {
                format!("the HEALTHCHECK of its image, which {who} runs")
            }
            _ => format!("the health check of the Compose file, which {who} runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn spec(check: &str, probes: &str, target: &str) -> Spec {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let service = "services:\n  web:\n    image: web:1\n    expose: [\"80\"]\n";
        write(
            "compose.yaml",
            format!("{service}    healthcheck: {check}\n"),
        );
        let file = "application: x\nrelease: \"1\"\nenvironments: { dev: {} }\nservices:\n  web:\n";
        write("deploy.yaml", format!("{file}    probes: {probes}\n"));
        let path = folder.path().join("deploy.yaml");
        Spec::load(&path, "dev", target, &|_| None).unwrap()
    }

    #[test]
    fn what_is_run_as_a_health_check_is_read_from_its_forms() {
        for (check, expected) in [
            ("{ test: is-well || exit 1 }", HealthCheck::Named),
            ("{ test: [CMD, is-well] }", HealthCheck::Named),
            ("{ test: [CMD-SHELL, is-well] }", HealthCheck::Named),
            ("{ test: [NONE] }", HealthCheck::Off),
            ("{ disable: true }", HealthCheck::Off),
            ("{ interval: 5s }", HealthCheck::Unnamed),
        ] {
            let spec = spec(check, "{}", "docker-desktop");
            assert_eq!(spec.health_check("web"), expected, "{check}");
        }
    }

    #[test]
    fn who_runs_a_health_check_is_a_matter_of_the_target_and_of_the_readiness_path() {
        let runs = |probes: &str, target: &str| {
            let spec = spec("{ test: [CMD, is-well] }", probes, target);
            spec.runs_health_check(&spec.services[0])
        };
        assert!(runs("{}", "docker-desktop") && runs("{}", "k8s") && !runs("{}", "local"));
        let readiness = "{ readiness: /r }";
        assert!(runs(readiness, "docker-desktop") && !runs(readiness, "k8s"));
        assert!(runs("{ startup: /s }", "k8s"));
    }
}
