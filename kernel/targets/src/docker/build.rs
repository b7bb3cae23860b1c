//! Images that the Compose file builds, by the engine's own builder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptionsBuilder;
use code_deploy_engine::target::{ImageWanted, OnLine, TargetError};
use futures::StreamExt as _;
use parse_dockerfile::{HealthcheckArguments, Instruction};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::DockerTarget;
use super::context::Context;
use super::engine::Refusal;
use crate::failure::{code, failed, files};
use crate::keys::{Found, Keys, text};

/// How long the builder may say nothing.
const SILENT: Duration = Duration::from_secs(1800);

/// How much of the builder's last words an error tells, in lines.
const LAST_WORDS: usize = 8;

/// The `build` section of a service, with what its files say.
#[derive(Debug)]
pub struct Recipe {
    folder: PathBuf,
    /// The Dockerfile; nothing when the Compose file itself holds it.
    dockerfile: Option<PathBuf>,
    text: String,
    arguments: HashMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Further names of the image.
    pub tags: Vec<String>,
    target: Option<String>,
    network: Option<String>,
    hosts: Option<String>,
    fresh: bool,
    pull: bool,
}

impl Recipe {
    /// Reads a `build` section, whose paths begin at `under`. Reads the Dockerfile, so this is not
    /// for the runtime's threads.
    ///
    /// # Errors
    /// What cannot be read or is no value of its kind; in words.
    pub fn read(
        section: &Value,
        under: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Found<Self> {
        let keys = Keys(section);
        let context = section.as_str().map(str::to_owned);
        let context = context.or_else(|| keys.text("context"));
        let context = context.unwrap_or_else(|| ".".to_owned());
        let folder = under.join(&context);
        let folder = std::fs::canonicalize(&folder)
            .map_err(|error| format!("the context {} of `build`: {error}", folder.display()))?;
        let (dockerfile, text) = match keys.text("dockerfile_inline") {
            Some(text) => (None, text),
            None => {
                let name = keys.text("dockerfile");
                let path = folder.join(name.as_deref().unwrap_or("Dockerfile"));
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                (Some(std::fs::canonicalize(&path).unwrap_or(path)), text)
            }
        };
        let hosts = keys.pairs("extra_hosts").unwrap_or_default();
        let hosts: Vec<String> = hosts
            .into_iter()
            .map(|(name, address)| match name.split_once(':') {
                Some((name, rest)) if address.is_empty() => format!("{name}:{rest}"),
                _ => format!("{name}:{address}"),
            })
            .collect();
        Ok(Self {
            folder,
            dockerfile,
            text,
            arguments: arguments(keys.get("args"), lookup),
            labels: keys.pairs("labels").unwrap_or_default(),
            tags: keys.list("tags").unwrap_or_default(),
            target: keys.text("target"),
            network: keys.text("network"),
            hosts: (!hosts.is_empty()).then(|| hosts.join(",")),
            fresh: keys.switch("no_cache")?.unwrap_or(false),
            pull: keys.switch("pull")?.unwrap_or(false),
        })
    }

    /// Returns how many stages its Dockerfile has.
    ///
    /// # Errors
    /// When it is none; in words, with its line.
    pub fn stages(&self) -> Found<usize> {
        let parsed = parse_dockerfile::parse(&self.text);
        parsed
            .map(|parsed| parsed.stages().len())
            .map_err(|error| format!("{}: {error}", self.name()))
    }

    /// Returns whether the stage that is built names a health check; nothing where it does not say, as the image that it
    /// begins from may have one.
    pub fn has_health_check(&self) -> Option<bool> {
        let parsed = parse_dockerfile::parse(&self.text).ok()?;
        let stage = match &self.target {
            Some(name) => parsed.stage(name),
            None => parsed.stages().last(),
        };
        let mut named = stage?.instructions.iter().rev();
        named.find_map(|instruction| match instruction {
            Instruction::Healthcheck(check) => {
                Some(matches!(check.arguments, HealthcheckArguments::Cmd { .. }))
            }
            _ => None,
        })
    }

    /// Returns the images that it begins from.
    fn bases(&self) -> BTreeSet<String> {
        let parsed = parse_dockerfile::parse(&self.text);
        let stages = parsed.iter().flat_map(|parsed| parsed.stages());
        stages
            .map(|stage| stage.from.image.value.to_string())
            .collect()
    }

    fn name(&self) -> String {
        let path = self.dockerfile.as_ref();
        path.map_or_else(
            || "`build.dockerfile_inline`".to_owned(),
            |path| path.display().to_string(),
        )
    }

    fn context(&self) -> Found<Context> {
        match &self.dockerfile {
            Some(path) => Context::of(&self.folder, path, &self.text),
            None => Context::inline(&self.folder, &self.text),
        }
    }

    fn options(&self, name: &str, labels: BTreeMap<String, String>) -> BuildImageOptionsBuilder {
        let mut all: HashMap<String, String> = labels.into_iter().collect();
        all.extend(self.labels.clone());
        let mut options = BuildImageOptionsBuilder::default()
            .t(name)
            .labels(&all)
            .buildargs(&self.arguments)
            .nocache(self.fresh)
            .rm(true)
            .forcerm(true);
        if self.pull {
            options = options.pull("true");
        }
        if let Some(target) = &self.target {
            options = options.target(target);
        }
        if let Some(network) = &self.network {
            options = options.networkmode(network);
        }
        if let Some(hosts) = &self.hosts {
            options = options.extrahosts(hosts);
        }
        options
    }
}

/// An argument without a value has that of the environment, and is not given where that has none.
fn arguments(
    written: Option<&Value>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> HashMap<String, String> {
    let own = |name: &str| Some((name.to_owned(), lookup(name)?));
    match written {
        Some(Value::Object(map)) => {
            let pair = |(name, value): (&String, &Value)| match text(value) {
                Some(value) => Some((name.clone(), value)),
                None => own(name),
            };
            map.iter().filter_map(pair).collect()
        }
        Some(Value::Array(items)) => {
            let pair = |item: String| match item.split_once('=') {
                Some((name, value)) => Some((name.to_owned(), value.to_owned())),
                None => own(&item),
            };
            items.iter().filter_map(text).filter_map(pair).collect()
        }
        _ => HashMap::new(),
    }
}

impl DockerTarget {
    /// Builds an image under that name; nothing of it stays when that fails.
    pub(super) async fn build(
        &self,
        wanted: &ImageWanted<'_>,
        recipe: &Recipe,
        name: &str,
        on_line: &OnLine<'_>,
    ) -> Result<(), TargetError> {
        let service = Some(wanted.service);
        let mut log = Log::create(wanted.log)
            .await
            .map_err(files(service, "write", wanted.log))?;
        let context = recipe.context().map_err(|what| {
            let next = "Mend it and run again. Nothing was started.";
            failed(code::IMAGE_BUILD, service, what, next)
        })?;
        let options = recipe
            .options(name, self.image_labels(wanted))
            .dockerfile(&context.dockerfile)
            .build();
        let docker = self.engine.docker().await.map_err(|refusal| {
            refusal.into_error(service, &format!("build the image of {}", wanted.service))
        })?;
        let docker = docker.clone().with_timeout(SILENT);
        let (pieces, unread) = context.pieces();
        let body = bollard::body_try_stream(pieces);
        let bases = self.credentials_of_all(&recipe.bases()).await;
        let mut steps = Box::pin(docker.build_image(options, Some(bases), Some(body)));
        let mut refusal = None;
        while let Some(step) = steps.next().await {
            let (words, reason) = match step {
                Ok(info) => words_of(info),
                Err(error) => (String::new(), Some(Refusal::from(error).reason())),
            };
            for line in words.lines().filter(|line| !line.trim().is_empty()) {
                on_line(line);
            }
            log.write(&words)
                .await
                .map_err(files(service, "write", wanted.log))?;
            refusal = refusal.or(reason);
        }
        let refusal = unread.reason().or(refusal);
        log.finish()
            .await
            .map_err(files(service, "write", wanted.log))?;
        match refusal {
            None => Ok(()),
            Some(reason) => Err(self.not_built(wanted, &reason, &log.last)),
        }
    }

    fn not_built(&self, wanted: &ImageWanted<'_>, reason: &str, last: &[String]) -> TargetError {
        let mut what = format!(
            "the image of {} {} was not built: {}; nothing was started",
            wanted.service,
            wanted.release,
            self.settings.redactor.clean(reason.trim())
        );
        if !last.is_empty() {
            let last = self.settings.redactor.clean(&last.join("\n"));
            what = format!("{what}\nThe builder's last words:\n{last}");
        }
        let next = format!(
            "The whole log stands in {}. Mend the Dockerfile or what it builds, and run again.",
            wanted.log.display()
        );
        failed(code::IMAGE_BUILD, Some(wanted.service), what, next)
    }

    /// Returns the labels of an image, by the names of the OCI image specification
    /// (<https://specs.opencontainers.org/image-spec/annotations/>).
    fn image_labels(&self, wanted: &ImageWanted<'_>) -> BTreeMap<String, String> {
        let own = [
            ("title", Some(wanted.service.to_owned())),
            ("version", Some(wanted.release.to_string())),
            ("revision", wanted.revision.map(str::to_owned)),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((format!("org.opencontainers.image.{name}"), value?)));
        let ours = self.names.image_labels(wanted.service, wanted.release);
        own.chain(ours).collect()
    }
}

fn words_of(info: BuildInfo) -> (String, Option<String>) {
    let reason = info.error_detail.and_then(|detail| detail.message);
    let mut words = info.stream.unwrap_or_default();
    if let Some(status) = info.status {
        words.push_str(&status);
        words.push('\n');
    }
    (words, reason)
}

/// The log of a build, with its last lines.
struct Log {
    file: tokio::fs::File,
    last: Vec<String>,
}

impl Log {
    async fn create(path: &Path) -> std::io::Result<Self> {
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        Ok(Self {
            file: options.open(path).await?,
            last: Vec::new(),
        })
    }

    async fn write(&mut self, words: &str) -> std::io::Result<()> {
        let lines = words.lines().filter(|line| !line.trim().is_empty());
        self.last.extend(lines.map(str::to_owned));
        let old = self.last.len().saturating_sub(LAST_WORDS);
        self.last.drain(..old);
        self.file.write_all(words.as_bytes()).await
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        self.file.flush().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_section_is_read_in_its_short_and_its_long_form() {
        let folder = tempfile::tempdir().unwrap();
        let text = "FROM rust AS builder\nRUN make\nFROM scratch\nCOPY --from=builder /app /app\n";
        std::fs::write(folder.path().join("Dockerfile"), text).unwrap();
        let short = Recipe::read(&json!("."), folder.path(), &nothing).unwrap();
        assert_eq!(short.stages().unwrap(), 2);
        let section = json!({
            "context": ".",
            "dockerfile_inline": "FROM scratch\n",
            "args": ["GIVEN=1", "TAKEN", "MISSING"],
            "tags": ["example.com/app:one"],
        });
        let taken = |name: &str| (name == "TAKEN").then(|| "2".to_owned());
        let long = Recipe::read(&section, folder.path(), &taken).unwrap();
        assert_eq!(long.stages().unwrap(), 1);
        assert_eq!(long.tags, ["example.com/app:one"]);
        let wanted = [("GIVEN", "1"), ("TAKEN", "2")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(long.arguments, HashMap::from(wanted));
    }

    #[test]
    fn what_is_missing_is_named_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = Recipe::read(&json!("nowhere"), folder.path(), &nothing).unwrap_err();
        assert!(error.contains("nowhere"), "{error}");
        let error = Recipe::read(&json!("."), folder.path(), &nothing).unwrap_err();
        assert!(error.contains("Dockerfile cannot be read"), "{error}");
    }
}
