//! The images of services: built, pulled, or there.

use std::path::Path;
use std::sync::Arc;

use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Service};
use code_deploy_engine::target::{
    Image as ServiceImage, ImageSource, ImageWanted, OnLine, TargetError,
};
use code_deploy_record::Release;
use futures::TryStreamExt as _;
use serde_json::Value;

use super::build::Recipe;
use super::engine::Refusal;
use super::registry::repository;
use super::{DockerTarget, program};
use crate::failure::{code, failed};
use crate::keys::Keys;

/// The label of an image that names the commit it was built from.
const REVISION: &str = "org.opencontainers.image.revision";

/// An image that instances are started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name under which it is found.
    pub reference: String,
    /// Its digest on the engine.
    pub id: String,
}

impl DockerTarget {
    /// Makes the image of a release ready and gives it the name from which alone instances of the
    /// release are started.
    pub(super) async fn provide(
        &self,
        wanted: &ImageWanted<'_>,
        on_line: &OnLine<'_>,
    ) -> Result<ServiceImage, TargetError> {
        let spec = self.settings.spec_of(wanted.release)?;
        let service = self.service_of(&spec, wanted.service)?;
        let compose = self.compose(&spec, wanted.service)?;
        let own = self.names.image(wanted.service, wanted.release);
        let reference = self.reference(service, compose, wanted.release)?;
        if wanted.as_before
            && let Some(found) = self.image_of(wanted.service, &own).await?
        {
            let (source, pushed) = (ImageSource::Present, Vec::new());
            return Ok(described(wanted.service, reference, found, source, pushed));
        }
        let mut pushed = Vec::new();
        let source = match Keys(&compose.keys).get("build") {
            Some(_) if wanted.as_before => return Err(self.not_kept(wanted, &own)),
            Some(section) => {
                let recipe = self.recipe(&spec, wanted.service, section).await?;
                let stages = recipe.stages().map_err(|what| self.bad(wanted, &what))?;
                self.build(wanted, &recipe, &own, on_line).await?;
                let names = self.name_built(wanted, &own, &reference, &recipe.tags);
                for name in names.await?.iter().filter(|_| wanted.push) {
                    let or_else = "take `push_images` out of the environment";
                    let service = Some(wanted.service);
                    pushed.push(self.push(service, name, or_else, on_line).await?);
                }
                ImageSource::Built { stages }
            }
            None => {
                let (image, pulled) = self.obtain(service, compose, &reference).await?;
                program::name(&self.engine, &image.id, &own).await?;
                match pulled {
                    true => ImageSource::Pulled,
                    false => ImageSource::Present,
                }
            }
        };
        let found = self.image_of(wanted.service, &own).await?;
        let found = found.ok_or_else(|| self.not_kept(wanted, &own))?;
        Ok(described(wanted.service, reference, found, source, pushed))
    }

    /// Returns the image from which instances of a release are started now.
    pub(super) async fn provided(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Option<ServiceImage>, TargetError> {
        let spec = self.settings.spec_of(release)?;
        let declared = self.service_of(&spec, service)?;
        let compose = self.compose(&spec, service)?;
        let reference = self.reference(declared, compose, release)?;
        let own = self.names.image(service, release);
        let found = self.image_of(service, &own).await?;
        let source = ImageSource::Present;
        Ok(found.map(|found| described(service, reference, found, source, Vec::new())))
    }

    /// Returns the image to start a release from: the one that was provided, or else, for a release
    /// that was deployed before images were, what the Compose file names.
    pub(super) async fn image_to_start(
        &self,
        service: &Service,
        compose: &ComposeService,
        release: &Release,
    ) -> Result<Image, TargetError> {
        let own = self.names.image(&service.name, release);
        let reference = self.reference(service, compose, release)?;
        let Some(found) = self.image_of(&service.name, &own).await? else {
            return Ok(self.obtain(service, compose, &reference).await?.0);
        };
        let id = found.id.unwrap_or_default();
        // Its usual name is what people look for in lists, as long as it means the same.
        let usual = self.image_of(&service.name, &reference).await?;
        let is_same = usual.is_some_and(|usual| usual.id.as_ref() == Some(&id));
        let reference = if is_same { reference } else { own };
        Ok(Image { reference, id })
    }

    pub(super) fn reference(
        &self,
        service: &Service,
        compose: &ComposeService,
        release: &Release,
    ) -> Result<String, TargetError> {
        match &service.image {
            Some(image) => Ok(image.clone()),
            None if compose.build => Ok(self.names.built(&service.name, release)),
            None => {
                let what = format!("{} has no image; nothing was started", service.name);
                let next = "Write its `image:` or `build:` in the Compose file.";
                Err(failed(code::IMAGE, Some(&service.name), what, next))
            }
        }
    }

    pub(super) async fn recipe(
        &self,
        spec: &Spec,
        service: &str,
        section: &Value,
    ) -> Result<Recipe, TargetError> {
        let under = spec.compose.path.parent().unwrap_or(Path::new("."));
        let (section, under) = (section.clone(), under.to_owned());
        let lookup = Arc::clone(&self.settings.lookup);
        let read = tokio::task::spawn_blocking(move || Recipe::read(&section, &under, &*lookup));
        let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
        read.map_err(|what| {
            let next = "Mend the Compose file or what it names, and run again.";
            let what = format!("{what}; nothing was started");
            failed(code::IMAGE_BUILD, Some(service), what, next)
        })
    }

    /// Gives an image that was built the names under which people look for it; returns them.
    async fn name_built(
        &self,
        wanted: &ImageWanted<'_>,
        own: &str,
        reference: &str,
        tags: &[String],
    ) -> Result<Vec<String>, TargetError> {
        let commit = wanted.revision.map(|revision| {
            let short: String = revision.chars().take(12).collect();
            format!("{}:{short}", repository(reference))
        });
        let names = [reference.to_owned()].into_iter().chain(commit);
        let names: Vec<String> = names.chain(tags.iter().cloned()).collect();
        for name in &names {
            program::name(&self.engine, own, name).await?;
        }
        Ok(names)
    }

    fn bad(&self, wanted: &ImageWanted<'_>, what: &str) -> TargetError {
        let what = format!("{what}; nothing was started");
        let next = "Mend the Dockerfile and run again.";
        failed(code::IMAGE_BUILD, Some(wanted.service), what, next)
    }

    fn not_kept(&self, wanted: &ImageWanted<'_>, own: &str) -> TargetError {
        let (service, release) = (wanted.service, wanted.release);
        let what = format!(
            "the image {own} from which {service} {release} was started is not there any more, and \
             today's sources are not those of {release}; nothing was started"
        );
        let next = format!(
            "Load it (`docker load`) or build it from the sources of {release}, name it {own} \
             (`docker tag`), and run again."
        );
        failed(code::IMAGE, Some(service), what, next)
    }

    /// Returns the image of that name, pulled where the Compose file wants that or it is not there,
    /// and whether it was.
    async fn obtain(
        &self,
        service: &Service,
        compose: &ComposeService,
        reference: &str,
    ) -> Result<(Image, bool), TargetError> {
        let name = Some(service.name.as_str());
        let policy = Keys(&compose.keys).text("pull_policy").unwrap_or_default();
        let mut pulled = policy == "always";
        if pulled {
            self.pull(reference, name).await?;
        }
        let mut found = self.image_of(&service.name, reference).await?;
        if found.is_none() && policy == "never" {
            let what = format!(
                "the image {reference} is not there, and `pull_policy` is never; nothing was started"
            );
            let next = format!("Build or load {reference}, and run again.");
            return Err(failed(code::IMAGE, name, what, next));
        }
        if found.is_none() && !pulled {
            self.pull(reference, name).await?;
            pulled = true;
            found = self.image_of(&service.name, reference).await?;
        }
        let id = found.and_then(|found| found.id).ok_or_else(|| {
            let what = format!("the image {reference} was pulled and is not there");
            let next = "Look at `docker images`, and run again.";
            failed(code::IMAGE, name, what, next)
        })?;
        let reference = reference.to_owned();
        Ok((Image { reference, id }, pulled))
    }

    pub(super) async fn image_of(
        &self,
        service: &str,
        reference: &str,
    ) -> Result<Option<ImageInspect>, TargetError> {
        match self.find_image(reference).await {
            Ok(found) => Ok(Some(found)),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => {
                Err(refusal.into_error(Some(service), &format!("describe {reference}")))
            }
        }
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
        let credentials = self.credentials(reference).await;
        let pulled = match self.engine.docker().await {
            Ok(docker) => docker
                .create_image(Some(options), None, credentials)
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

fn described(
    service: &str,
    reference: String,
    found: ImageInspect,
    source: ImageSource,
    pushed: Vec<String>,
) -> ServiceImage {
    let labels = found.config.and_then(|config| config.labels);
    let mut tags = found.repo_tags.unwrap_or_default();
    tags.sort();
    ServiceImage {
        service: service.to_owned(),
        reference,
        id: found.id.unwrap_or_default(),
        tags,
        registry_digests: found.repo_digests.unwrap_or_default(),
        bytes: found
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
        revision: labels.and_then(|mut labels| labels.remove(REVISION)),
        source,
        pushed,
    }
}
