//! The images of services: there, or pulled.

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use code_deploy_engine::spec::{ComposeService, Service};
use code_deploy_engine::target::TargetError;
use futures::TryStreamExt as _;

use super::DockerTarget;
use super::engine::Refusal;
use crate::failure::{code, failed};
use crate::keys::Keys;

/// An image of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As the Compose file names it.
    pub reference: String,
    /// Its digest on the engine.
    pub id: String,
}

impl DockerTarget {
    /// Returns the image of a service; pulls it where the Compose file wants that, or it is not
    /// there.
    pub(super) async fn image(
        &self,
        service: &Service,
        compose: &ComposeService,
    ) -> Result<Image, TargetError> {
        let name = Some(service.name.as_str());
        let Some(reference) = service.image.clone() else {
            let what = format!("{} has no image; nothing was started", service.name);
            let next = "Write its `image:` in the Compose file.";
            return Err(failed(code::IMAGE, name, what, next));
        };
        let policy = Keys(&compose.keys).text("pull_policy").unwrap_or_default();
        if policy == "always" {
            self.pull(&reference, name).await?;
        }
        let found = match self.find_image(&reference).await {
            Ok(found) => found,
            Err(refusal) if refusal.is_missing() && policy != "never" => {
                self.pull(&reference, name).await?;
                let again = self.find_image(&reference).await;
                again
                    .map_err(|refusal| refusal.into_error(name, &format!("describe {reference}")))?
            }
            Err(refusal) if refusal.is_missing() => {
                let what = format!(
                    "the image {reference} is not there, and `pull_policy` is never; nothing was started"
                );
                let next = format!("Build or load {reference}, and run again.");
                return Err(failed(code::IMAGE, name, what, next));
            }
            Err(refusal) => {
                return Err(refusal.into_error(name, &format!("describe {reference}")));
            }
        };
        Ok(Image {
            reference,
            id: found.id.unwrap_or_default(),
        })
    }

    /// Returns what the engine knows of an image.
    pub(super) async fn find_image(&self, reference: &str) -> Result<ImageInspect, Refusal> {
        self.engine
            .ask(|docker| {
                let reference = reference.to_owned();
                async move { docker.inspect_image(&reference).await }
            })
            .await
    }

    async fn pull(&self, reference: &str, service: Option<&str>) -> Result<(), TargetError> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(&with_tag(reference))
            .build();
        let pulled = match self.engine.docker().await {
            Ok(docker) => docker
                .create_image(Some(options), None, None::<DockerCredentials>)
                .try_collect::<Vec<_>>()
                .await
                .map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        match pulled {
            Ok(_) => Ok(()),
            Err(Refusal::Unfit(error)) => Err(error),
            Err(refusal) => {
                let what = format!(
                    "the image {reference} is not there and cannot be pulled: {}; nothing was started",
                    refusal.reason()
                );
                let next = format!(
                    "Build or load {reference}, or make its registry reachable (`docker pull {reference}` must work)."
                );
                Err(failed(code::IMAGE, service, what, next))
            }
        }
    }
}

/// Without a tag the engine would pull every one.
fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains(':') || reference.contains('@') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}
