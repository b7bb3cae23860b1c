//! The images that services are started from: built, pulled or found, each known by its digest.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, ItemId, Report, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::logs;
use crate::foresight;
use crate::phases::look::{bytes, counted, list};
use crate::plan::Inputs;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::spec::{Service, Spec};
use crate::step::StepError;
use crate::target::{Image, ImageSource, ImageWanted};
use crate::{Context, Progress, Step};

/// The pause between two looks at whether a person wants the run to stop.
const LOOK: Duration = Duration::from_millis(200);

/// How long an image may take where the deployment file says nothing.
const LIMIT: Duration = Duration::from_secs(1800);

/// Returns the step; nothing for a target that starts programs.
pub(super) fn step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    if !inputs.spec.in_containers() {
        return None;
    }
    let outline = Outline {
        verb: ("build", 3),
        section: "images",
        title: "build or find every image and keep its digest",
        items: match (builds(&inputs.spec), inputs.spec.pushes_images()) {
            (true, true) => "2.2.1 2.2.2 2.2.5 2.2.6",
            (true, false) => "2.2.1 2.2.2 2.2.6",
            (false, _) => "2.2.2",
        },
        undo: None,
        methods: (
            "the digest of the image that each service would be started from",
            "the names that each digest has",
        ),
        expected: Duration::from_secs(60),
    };
    section_step(&outline, Images(inputs.clone()))
}

fn builds(spec: &Spec) -> bool {
    spec.compose.services.values().any(|one| one.build)
}

struct Images(Inputs);

/// An image, and how it was come by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Provided {
    image: Image,
    seconds: f64,
}

#[async_trait]
impl Work for Images {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let source = section.result_of("build.source");
        let revision = source["commit"].as_str();
        let revision = revision.filter(|_| source["changed"].as_u64() == Some(0));
        let (mut provided, mut report) = (Vec::new(), Report::new());
        let mut evidence = Vec::new();
        for service in &context.spec.services {
            let log = context
                .run
                .logs_path()
                .join(format!("image-{}.log", service.name));
            let wanted = ImageWanted {
                service: &service.name,
                release: &context.to,
                revision,
                // The release is one that is gone back to.
                as_before: self.0.reverts.is_some(),
                push: context.spec.pushes_images(),
                log: &log,
            };
            let one = provide(context, service, &wanted).await;
            if let Some((end, kept)) = keep_log(context, service, &log).await? {
                report = report.with_code(
                    format!("End of the build log of {}", service.name),
                    "text",
                    end,
                );
                evidence.push(kept);
            }
            match one {
                Ok(one) => provided.extend(one),
                Err(error) => {
                    section
                        .report("Container images", table(report, &provided))
                        .await?;
                    return Err(error);
                }
            }
        }
        let event = section
            .report("Container images", table(report, &provided))
            .await?;
        evidence.push(event);
        settle(section, &provided, &evidence).await?;
        refuse_unprobed(context, &self.0).await?;
        Ok(json!({ "images": provided }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let provided = provided_of(result);
        for one in &provided {
            let now = now(section, &one.image).await?;
            if now.as_ref().map(|now| &now.id) != Some(&one.image.id) {
                let what = format!("{} has another image", one.image.service);
                return Ok(Seen::new(false, what));
            }
        }
        let count = counted(provided.len(), "image");
        Ok(Seen::new(true, format!("{count} of the recorded digest")))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let provided = provided_of(result);
        let mut names = 0;
        for one in &provided {
            let now = now(section, &one.image).await?;
            let known = now.map(|now| now.tags).unwrap_or_default();
            let missing: Vec<_> = one
                .image
                .tags
                .iter()
                .filter(|tag| !known.contains(tag))
                .collect();
            if !missing.is_empty() {
                let what = format!(
                    "{} no longer means {}",
                    list(&missing),
                    short(&one.image.id)
                );
                return Ok(Seen::new(false, what));
            }
            names += one.image.tags.len();
        }
        Ok(Seen::new(
            true,
            format!(
                "{} of {}",
                counted(names, "name"),
                counted(provided.len(), "image")
            ),
        ))
    }
}

/// Stops the run where services have no probes and now it is known that their images have no health check of their own
/// either: later it would stop for the same, with instances that run. Nobody is kept from going back.
async fn refuse_unprobed(context: &Context, inputs: &Inputs) -> Result<(), StepError> {
    if inputs.reverts.is_some() {
        return Ok(());
    }
    let images = context.target.image_health_checks(&context.to).await?;
    let plan = context.state().plan.as_ref().map(|plan| plan.steps.clone());
    let (inputs, today) = (inputs.clone(), context.clock.now().date_naive());
    let looked = blocking("looking for probes", move || {
        foresight::unprobed(&inputs, &plan.unwrap_or_default(), &images, today)
    });
    let lacking = looked.await?.map_err(|error| {
        let problem = error.problem();
        StepError::permanent(&problem.code, problem.what, problem.next)
    })?;
    if lacking.is_empty() {
        return Ok(());
    }
    let told = lacking
        .iter()
        .map(|one| format!("{}. {}", one.what, one.cure));
    let what = format!(
        "the images are there, and no health check of theirs stands for the probes that the deployment file does not \
         name; nothing was started:\n  {}",
        told.collect::<Vec<_>>().join("\n  ")
    );
    let next = "Mend that and run again, or accept the items under `waivers`.";
    Err(StepError::permanent(foresight::STOPS, what, next))
}

fn provided_of(result: &Value) -> Vec<Provided> {
    serde_json::from_value(result["images"].clone()).unwrap_or_default()
}

async fn now(section: &Section<'_>, image: &Image) -> Result<Option<Image>, StepError> {
    let context = section.context;
    Ok(context.target.image(&image.service, &context.to).await?)
}

/// Has an image made ready, and gives way to a person who wants the run to stop.
async fn provide(
    context: &Context,
    service: &Service,
    wanted: &ImageWanted<'_>,
) -> Result<Option<Provided>, StepError> {
    let began = Instant::now();
    let limit = service
        .file
        .build
        .as_ref()
        .map_or(LIMIT, |build| build.limit.get());
    let last = Mutex::new(String::new());
    let said =
        |line: &str| line.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
    let mut providing = std::pin::pin!(context.target.provide_image(wanted, &said));
    loop {
        tokio::select! {
            image = &mut providing => {
                let seconds = began.elapsed().as_secs_f64();
                return Ok(image?.map(|image| Provided { image, seconds }));
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        context.safe_point()?;
        if began.elapsed() >= limit {
            let what = format!(
                "the image of {} was not ready within {} s",
                service.name,
                limit.as_secs()
            );
            let next = "Give it longer by `services.NAME.build.limit`, or look at its build log. Nothing was started.";
            return Err(StepError::permanent("CD0707", what, next));
        }
        let line = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = context.redactor.clean(&line);
        context.progress(Progress {
            what: format!("image of {}: {line}", service.name)
                .trim_end_matches(": ")
                .to_owned(),
            elapsed: began.elapsed(),
            limit: Some(limit),
            share: None,
        });
    }
}

/// Keeps what the builder wrote, if it wrote anything.
async fn keep_log(
    context: &Context,
    service: &Service,
    log: &Path,
) -> Result<Option<(String, EvidenceRef)>, StepError> {
    let path = log.to_owned();
    let read = blocking("reading the log of a build", move || logs::end_of(&path)).await?;
    let Ok(log) = read else {
        return Ok(None);
    };
    let end = context.redactor.clean(&logs::tail(&log));
    let name = format!("build log of the image of {}", service.name);
    let digest = context.keep(&name, "text/plain", log).await?;
    Ok(Some((end, EvidenceRef::File(digest))))
}

fn table(report: Report, provided: &[Provided]) -> Report {
    let columns = vec![
        Column::text("Service"),
        Column::text("Image"),
        Column::text("Digest"),
        Column::number("Size (MB)"),
        Column::text("Came by"),
        Column::number("Took (s)"),
        Column::text("Names"),
        Column::text("In registries as"),
        Column::text("Pushed, and read back as"),
    ];
    let rows = provided.iter().map(|one| {
        let image = &one.image;
        let source = match &image.source {
            ImageSource::Built { stages } => format!("built in {}", counted(*stages, "stage")),
            ImageSource::Pulled => "pulled".to_owned(),
            ImageSource::Present => "was there".to_owned(),
        };
        vec![
            image.service.clone(),
            image.reference.clone(),
            image.id.clone(),
            format!("{:.1}", image.bytes as f64 / 1e6),
            source,
            format!("{:.1}", one.seconds),
            list(&image.tags),
            list(&image.registry_digests),
            list(&image.pushed),
        ]
    });
    report.with_table("Images", columns, rows.collect())
}

fn short(id: &str) -> String {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.chars().take(12).collect()
}

async fn settle(
    section: &Section<'_>,
    provided: &[Provided],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    settle_names(section, provided, evidence).await?;
    open_without_registry(section, provided).await?;
    if !builds(&section.context.spec) {
        return Ok(());
    }
    let stages = |one: &Provided| match one.image.source {
        ImageSource::Built { stages } => Some(stages),
        _ => None,
    };
    let built: Vec<_> = provided
        .iter()
        .filter(|one| stages(one).is_some())
        .collect();
    if built.is_empty() {
        let text = "the images are those that were built when the release was deployed before";
        for item in ["2.2.1", "2.2.5", "2.2.6"] {
            if item != "2.2.5" || section.context.spec.pushes_images() {
                section.open(item, text).await?;
            }
        }
        return Ok(());
    }
    if section.context.spec.pushes_images() {
        let pushed: Vec<_> = built.iter().flat_map(|one| &one.image.pushed).collect();
        let all = built.iter().all(|one| !one.image.pushed.is_empty());
        let text = format!("the registries have {}", list(&pushed));
        section
            .judge("2.2.5", all, Basis::Performed, text, evidence)
            .await?;
    }
    let total: u64 = built.iter().map(|one| one.image.bytes).sum();
    let text = format!(
        "{} built, {} in all: {}",
        counted(built.len(), "image"),
        bytes(total),
        list(built.iter().map(|one| &one.image.service))
    );
    section
        .judge("2.2.1", true, Basis::Performed, text, evidence)
        .await?;
    let single = built
        .iter()
        .filter(|one| stages(one).is_some_and(|stages| stages < 2));
    let single: Vec<_> = single.map(|one| &one.image.service).collect();
    let text = format!(
        "{}; in a single stage: {}",
        counted(built.len(), "Dockerfile"),
        list(&single)
    );
    section
        .judge("2.2.6", single.is_empty(), Basis::Observed, text, evidence)
        .await
}

/// Leaves image integrity open where it is known by now that no digest of a registry can be compared: before anything
/// is changed.
async fn open_without_registry(
    section: &Section<'_>,
    provided: &[Provided],
) -> Result<(), StepError> {
    let nowhere: Vec<_> = provided
        .iter()
        .filter(|one| one.image.in_registries().is_empty())
        .map(|one| &one.image.service)
        .collect();
    if nowhere.is_empty() {
        return Ok(());
    }
    let text = format!(
        "in no registry that the engine knows of, so that no digest there can be compared: {}",
        list(&nowhere)
    );
    let Ok(item) = "2.2.7".parse::<ItemId>() else {
        return Ok(());
    };
    // It is no item of this step, which does not see what runs.
    let context = section.context;
    context.settle(&item, Verdict::Open, text, Vec::new()).await
}

async fn settle_names(
    section: &Section<'_>,
    provided: &[Provided],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let unknown: Vec<_> = provided
        .iter()
        .filter(|one| one.image.revision.is_none())
        .map(|one| &one.image.service)
        .collect();
    let named = format!(
        "{} named by the release and known by digest",
        counted(provided.len(), "image")
    );
    if !unknown.is_empty() {
        let text = format!(
            "{named}; of which commit they are is not known of: {}",
            list(&unknown)
        );
        return section.open("2.2.2", text).await;
    }
    let text = format!("{named}, each with the commit of its sources");
    section
        .judge("2.2.2", true, Basis::Performed, text, evidence)
        .await
}
