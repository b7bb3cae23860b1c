//! Registries: who may pull and push there, and what they have.

use std::collections::{BTreeSet, HashMap};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use code_deploy_engine::target::{OnLine, TargetError};
use code_deploy_record::Secret;
use docker_credential::DockerCredential;
use futures::StreamExt as _;

use super::DockerTarget;
use super::engine::Refusal;
use crate::failure::{code, failed};

/// The registry of names that name none, as Docker's own configuration calls it.
const HUB: &str = "https://index.docker.io/v1/";

/// Returns the registry that a reference names, as Docker's configuration calls it.
fn server(reference: &str) -> &str {
    let first = reference.split_once('/').map(|(first, _)| first);
    let named = first.filter(|first| first.contains(['.', ':']) || *first == "localhost");
    named.filter(|named| *named != "docker.io").unwrap_or(HUB)
}

/// Returns a reference without its digest and tag.
pub(super) fn repository(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

/// Returns the tag of a reference.
fn tag(reference: &str) -> &str {
    let tag = reference.get(repository(reference).len() + 1..);
    tag.filter(|tag| !tag.is_empty()).unwrap_or("latest")
}

impl DockerTarget {
    /// Returns what this user has at the registry of a reference, as `docker login` keeps it.
    pub(super) async fn credentials(&self, reference: &str) -> Option<DockerCredentials> {
        let server = server(reference).to_owned();
        let of = server.clone();
        // A helper is a program, which is waited for.
        let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&of));
        let found = match found.await.ok()? {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, server, "no credentials");
                return None;
            }
        };
        let known = |secret: &str| {
            let name = format!("credentials of {server}");
            self.settings
                .redactor
                .know(&name, Secret::new(secret.to_owned()));
        };
        let mut credentials = DockerCredentials {
            serveraddress: Some(server.clone()),
            ..DockerCredentials::default()
        };
        match found {
            DockerCredential::IdentityToken(token) => {
                known(&token);
                credentials.identitytoken = Some(token);
            }
            DockerCredential::UsernamePassword(user, password) => {
                known(&password);
                credentials.username = Some(user);
                credentials.password = Some(password);
            }
        }
        Some(credentials)
    }

    /// Returns what this user has at the registries of several references.
    pub(super) async fn credentials_of_all(
        &self,
        references: &BTreeSet<String>,
    ) -> HashMap<String, DockerCredentials> {
        let mut all = HashMap::new();
        for reference in references {
            let server = server(reference);
            if !all.contains_key(server)
                && let Some(credentials) = self.credentials(reference).await
            {
                all.insert(server.to_owned(), credentials);
            }
        }
        all
    }

    /// Pushes an image under that name; returns the digest that the registry then has under it:
    /// `NAME@sha256:...`. `or_else` says what else a person can do when that fails.
    pub(super) async fn push(
        &self,
        service: Option<&str>,
        reference: &str,
        or_else: &str,
        on_line: &OnLine<'_>,
    ) -> Result<String, TargetError> {
        let refused = |reason: String| {
            let what = format!(
                "the image {reference} was not pushed: {}; nothing was started",
                self.settings.redactor.clean(reason.trim())
            );
            let next = format!(
                "`docker push {reference}` must work for this user (`docker login`), or {or_else}."
            );
            failed(code::IMAGE, service, what, next)
        };
        let credentials = self.credentials(reference).await;
        let docker = self.engine.docker().await;
        let docker = docker.map_err(|refusal| refused(refusal.reason()))?;
        let options = PushImageOptionsBuilder::default()
            .tag(tag(reference))
            .build();
        let name = repository(reference);
        let pushed = docker.push_image(name, Some(options), credentials.clone());
        let mut pushed = Box::pin(pushed);
        while let Some(step) = pushed.next().await {
            let step = step.map_err(|error| refused(Refusal::from(error).reason()))?;
            if let Some(reason) = step.error_detail.and_then(|detail| detail.message) {
                return Err(refused(reason));
            }
            on_line(&format!(
                "push {reference}: {}",
                step.status.unwrap_or_default()
            ));
        }
        let read = docker.inspect_registry_image(reference, credentials);
        let read = read
            .await
            .map_err(|error| refused(Refusal::from(error).reason()))?;
        let digest = read.descriptor.digest.unwrap_or_default();
        Ok(format!("{name}@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag_and_a_name_without_registry_is_of_the_hub() {
        let long = "example.com:5000/shop/catalog:1.1.0";
        assert_eq!(repository(long), "example.com:5000/shop/catalog");
        assert_eq!((server(long), tag(long)), ("example.com:5000", "1.1.0"));
        assert_eq!(
            repository("example.com:5000/catalog"),
            "example.com:5000/catalog"
        );
        assert_eq!(tag("example.com:5000/catalog"), "latest");
        assert_eq!(repository("catalog@sha256:00"), "catalog");
        assert_eq!(server("team/catalog"), HUB);
        assert_eq!(server("docker.io/team/catalog"), HUB);
        assert_eq!(server("localhost/catalog"), "localhost");
    }
}
