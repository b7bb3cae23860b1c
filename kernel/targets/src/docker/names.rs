//! The names and labels of what this program makes on a Docker engine.

use std::collections::{BTreeMap, HashMap};

use code_deploy_engine::Spec;
use code_deploy_record::{Digest, Release};

/// The label that holds the application.
pub const APPLICATION: &str = "code-deploy.application";
/// The label that holds the environment.
pub const ENVIRONMENT: &str = "code-deploy.environment";
/// The label that holds the folder of the project.
pub const PROJECT: &str = "code-deploy.project";
/// The label that says what it is: see [`Part`].
pub const PART: &str = "code-deploy.part";
/// The label that holds the run that made it.
pub const RUN: &str = "code-deploy.run";
/// The label that holds the service.
pub const SERVICE: &str = "code-deploy.service";
/// The label that holds the release.
pub const RELEASE: &str = "code-deploy.release";
/// The label that holds the instance's number.
pub const INDEX: &str = "code-deploy.index";

/// What something on the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An instance of a service.
    Instance,
    /// The router of a service.
    Router,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl Part {
    /// Returns the value of its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Router => "router",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

/// The names of an application in an environment of one project.
#[derive(Debug, Clone)]
pub struct Names {
    application: String,
    environment: String,
    folder: String,
    working_directory: String,
    compose_file: String,
}

impl Names {
    /// Returns the names of a deployment.
    pub fn of(spec: &Spec) -> Self {
        let absolute = |path: &std::path::Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            path.display().to_string()
        };
        let compose = absolute(&spec.compose.path);
        let above = std::path::Path::new(&compose).parent();
        Self {
            application: spec.application.clone(),
            environment: spec.environment.clone(),
            folder: absolute(&spec.project),
            working_directory: above.map(|p| p.display().to_string()).unwrap_or_default(),
            compose_file: compose,
        }
    }

    /// Returns the name of the Compose project: application and environment, so that environments
    /// do not meet on one engine.
    pub fn project(&self) -> String {
        safe(&format!("{}-{}", self.application, self.environment)).to_lowercase()
    }

    /// Returns the name of an instance's container.
    pub fn instance(&self, service: &str, release: &Release, index: u32) -> String {
        safe(&format!(
            "{}-{}-{service}-{release}-{index}",
            self.application, self.environment
        ))
    }

    /// Returns the name of the container of a service's router.
    pub fn router(&self, service: &str) -> String {
        safe(&format!(
            "{}-{}-{service}-router",
            self.application, self.environment
        ))
    }

    /// Returns the name of a network or volume of the Compose file, as Compose forms it.
    pub fn scoped(&self, name: &str) -> String {
        format!("{}_{}", self.project(), safe(name))
    }

    /// Returns the name under which exactly the image is kept that a release of a service is started
    /// from. Only this project gives it, so that it means the same until the release is provided
    /// anew, whatever the tags of the Compose file come to mean.
    pub fn image(&self, service: &str, release: &Release) -> String {
        let repository = safe(&format!("{}-{service}", self.application)).to_lowercase();
        let whose = Digest::of(format!("{}\n{}", self.folder, self.environment).as_bytes());
        let tag = safe(&format!("{release}-{}-{}", self.environment, whose.short()));
        format!("code-deploy/{repository}:{tag}")
    }

    /// Returns the name of an image that is built and that the Compose file gives none: that of
    /// Compose, with the release.
    pub fn built(&self, service: &str, release: &Release) -> String {
        let repository = format!("{}-{}", self.project(), safe(service).to_lowercase());
        format!("{repository}:{}", safe(release.as_str()))
    }

    /// Returns the labels of an image that is built.
    pub fn image_labels(&self, service: &str, release: &Release) -> BTreeMap<String, String> {
        let pairs = [
            (APPLICATION, self.application.clone()),
            (SERVICE, service.to_owned()),
            (RELEASE, release.to_string()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Returns the labels that everything carries.
    pub fn labels(&self, part: Part) -> BTreeMap<String, String> {
        let pairs = [
            (APPLICATION, self.application.clone()),
            (ENVIRONMENT, self.environment.clone()),
            (PROJECT, self.folder.clone()),
            (PART, part.word().to_owned()),
            ("com.docker.compose.project", self.project()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Returns the labels by which `docker compose ps` knows a container of a service.
    pub fn compose_labels(&self, service: &str, number: u32) -> BTreeMap<String, String> {
        let pairs = [
            ("com.docker.compose.service", service.to_owned()),
            ("com.docker.compose.container-number", number.to_string()),
            ("com.docker.compose.oneoff", "False".to_owned()),
            (
                "com.docker.compose.project.working_dir",
                self.working_directory.clone(),
            ),
            (
                "com.docker.compose.project.config_files",
                self.compose_file.clone(),
            ),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Returns the filter that finds everything of this application and environment, whoever's
    /// project it is.
    pub fn filter(&self) -> HashMap<String, Vec<String>> {
        let labels = vec![
            format!("{APPLICATION}={}", self.application),
            format!("{ENVIRONMENT}={}", self.environment),
        ];
        HashMap::from([("label".to_owned(), labels)])
    }

    /// Returns whether something with those labels was made for this application, environment
    /// and project.
    pub fn are_ours(&self, labels: &HashMap<String, String>) -> bool {
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        is(APPLICATION, &self.application)
            && is(ENVIRONMENT, &self.environment)
            && is(PROJECT, &self.folder)
    }

    /// Returns the project's folder as the labels name it.
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

/// Returns a name that the engine takes; one that had to be changed gets a part of its digest, so
/// that two names stay two.
fn safe(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.chars().all(fits) {
        return name.to_owned();
    }
    let changed: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    format!("{changed}-{}", Digest::of(name.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn two_names_stay_two() {
        assert_eq!(safe("shop-dev-catalog-1.1.0-2"), "shop-dev-catalog-1.1.0-2");
        let (plus, minus) = (safe("shop-1.0+a"), safe("shop-1.0-a"));
        assert_ne!(plus, minus);
        assert!(plus.starts_with("shop-1.0-a-"), "{plus}");
    }
}
