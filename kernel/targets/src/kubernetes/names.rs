//! The names and labels of everything on a cluster.

use std::collections::BTreeMap;

use code_deploy_engine::Spec;
use code_deploy_record::{Digest, Release};

/// The label that holds the application.
pub const APPLICATION: &str = "code-deploy.application";
/// The label that holds the environment.
pub const ENVIRONMENT: &str = "code-deploy.environment";
/// The label that holds what it is.
pub const PART: &str = "code-deploy.part";
/// The label that holds the service.
pub const SERVICE: &str = "code-deploy.service";
/// The label that holds the release.
pub const RELEASE: &str = "code-deploy.release";
/// The label of pods that have a part of traffic that is split. While it is not split, the release
/// selects them.
pub const SPLIT: &str = "code-deploy.split";
/// The annotation that holds the run that made it.
pub const RUN: &str = "code-deploy.run";

/// The value of the label [`SPLIT`].
pub const MARKED: &str = "yes";

/// The longest name of a Service, and the longest value of a label.
const LONGEST: usize = 63;

/// What something on the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The pods of a release and what starts them.
    Release,
    /// The Service that leads to one release.
    Way,
    /// What a release's pods are given and nobody is to see, or may change.
    Hidden,
    /// The Service that traffic goes through.
    Service,
    /// How a Gateway leads users to a service.
    Route,
    /// What the user's own manifests bring.
    Brought,
}

impl Part {
    /// Returns the value of its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Way => "release-service",
            Self::Hidden => "values",
            Self::Service => "service",
            Self::Route => "route",
            Self::Brought => "manifest",
        }
    }
}

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// The names of an application in an environment.
#[derive(Debug, Clone)]
pub struct Names {
    application: String,
    environment: String,
}

impl Names {
    /// Returns the names of a deployment.
    pub fn of(spec: &Spec) -> Self {
        Self {
            application: spec.application.clone(),
            environment: spec.environment.clone(),
        }
    }

    /// Returns the name of what runs a service's release: two releases have two names.
    ///
    /// # Errors
    /// In words, when that is no name that a cluster takes.
    pub fn release(&self, service: &str, release: &Release) -> Result<String, String> {
        let name = format!("{service}-{}", slug(release.as_str()));
        if name.len() > LONGEST {
            return Err(format!(
                "`{name}` has {} characters, and a cluster takes {LONGEST}",
                name.len()
            ));
        }
        Ok(name)
    }

    /// Returns the name of the Lease that the runner holds.
    pub fn lease(&self) -> String {
        format!(
            "code-deploy-{}",
            slug(&format!("{}/{}", self.application, self.environment))
        )
    }

    /// Returns the labels of something that belongs to a service.
    pub fn labels(&self, part: Part, service: &str) -> Labels {
        let own = [
            ("app.kubernetes.io/name", service.to_owned()),
            (PART, part.word().to_owned()),
            (SERVICE, service.to_owned()),
        ];
        let mut labels = self.common();
        labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
        labels
    }

    /// Returns the labels of what belongs to no service.
    pub fn common(&self) -> Labels {
        let common = [
            (
                "app.kubernetes.io/instance",
                cut(&format!("{}-{}", self.application, self.environment)),
            ),
            ("app.kubernetes.io/part-of", cut(&self.application)),
            ("app.kubernetes.io/managed-by", "code-deploy".to_owned()),
        ];
        let mut labels: Labels = common.map(|(key, value)| (key.to_owned(), value)).into();
        labels.extend(self.everything());
        labels
    }

    /// Returns the labels of what the user's own manifests bring.
    pub fn brought_labels(&self) -> Labels {
        let mut labels = self.common();
        labels.insert(PART.to_owned(), Part::Brought.word().to_owned());
        labels
    }

    /// Returns the labels of something that belongs to a service's release.
    pub fn release_labels(&self, part: Part, service: &str, release: &Release) -> Labels {
        let mut labels = self.labels(part, service);
        let value = label(release.as_str());
        labels.insert("app.kubernetes.io/version".to_owned(), value.clone());
        labels.insert(RELEASE.to_owned(), value);
        labels
    }

    /// Returns the labels that select the pods of a service's release. Without a release nothing
    /// has them: no pod has an empty one.
    pub fn selector(&self, service: &str, release: Option<&Release>) -> Labels {
        let mut labels = self.everything();
        let release = release.map_or_else(String::new, |release| label(release.as_str()));
        labels.insert(PART.to_owned(), Part::Release.word().to_owned());
        labels.insert(SERVICE.to_owned(), service.to_owned());
        labels.insert(RELEASE.to_owned(), release);
        labels
    }

    /// Returns the labels that select the pods of a service among which traffic is split.
    pub fn split_selector(&self, service: &str) -> Labels {
        let mut labels = self.selector(service, None);
        labels.remove(RELEASE);
        labels.insert(SPLIT.to_owned(), MARKED.to_owned());
        labels
    }

    /// Returns the labels that everything of this application and environment has.
    pub fn everything(&self) -> Labels {
        let pairs = [
            (APPLICATION, cut(&self.application)),
            (ENVIRONMENT, cut(&self.environment)),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// Returns whether something with those labels was made for this application and environment.
    pub fn are_ours(&self, labels: Option<&Labels>) -> bool {
        let Some(labels) = labels else { return false };
        let managed = labels.get("app.kubernetes.io/managed-by");
        let ours = self.everything();
        managed.is_some_and(|by| by == "code-deploy")
            && ours
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// Returns labels as a cluster selects by them.
pub fn selecting(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

/// Returns the value of the label that a release has.
pub fn label(release: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let whole = release.len() <= LONGEST
        && release.chars().all(fits)
        && edge(release.chars().next())
        && edge(release.chars().next_back());
    if whole {
        release.to_owned()
    } else {
        digested(release, fits)
    }
}

/// Returns whether that is a name that a cluster takes for a Service.
pub fn is_name(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= LONGEST
        && name.chars().all(lower)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// Returns a release as a part of a name. Numbers with points keep theirs readable; whatever else
/// had to be changed gets a part of its digest, so that two releases stay two.
fn slug(release: &str) -> String {
    let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    if release
        .split('.')
        .all(|part| !part.is_empty() && part.chars().all(plain))
    {
        return release.replace('.', "-");
    }
    digested(release, |c| c.is_ascii_alphanumeric()).to_lowercase()
}

fn digested(text: &str, fits: impl Fn(char) -> bool) -> String {
    let changed: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(40)
        .collect();
    let changed = changed.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let short = Digest::of(text.as_bytes()).short();
    if changed.is_empty() {
        short
    } else {
        format!("{changed}-{short}")
    }
}

fn cut(text: &str) -> String {
    label(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_releases_stay_two() {
        assert_eq!(slug("1.1.0"), "1-1-0");
        assert_ne!(slug("1-1-0"), slug("1.1.0"));
        assert_ne!(slug("1.0+a"), slug("1.0-a"));
        assert_ne!(slug("1.0-RC"), slug("1.0-rc"));
        assert!(slug("1.0+a").starts_with("1-0-a-"), "{}", slug("1.0+a"));
        assert_eq!(label("1.1.0"), "1.1.0");
        assert_ne!(label("1.0+a"), label("1.0-a"));
        assert_eq!(label("1.0-a"), "1.0-a");
    }

    #[test]
    fn names_of_services_are_those_that_a_cluster_takes() {
        assert!(is_name("catalog"));
        for name in ["Catalog", "1st", "a_b", "a-", ""] {
            assert!(!is_name(name), "{name}");
        }
    }
}
