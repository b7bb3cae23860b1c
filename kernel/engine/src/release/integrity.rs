//! Whether the image that was made ready, what registries have of it and what runs are the same.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{Basis, EvidenceRef, ItemId, Verdict};

use super::planned::step_name;
use crate::Context;
use crate::phases::look::{counted, list};
use crate::spec::{Service, Spec};
use crate::step::StepError;
use crate::target::{Image, TargetError};

/// The item on image integrity.
pub(super) const ITEM: &str = "2.2.7";

/// How often the target is asked for what may be there when it is asked again.
const TRIES: u32 = 3;

/// How long after the first try it is asked again; after each further one twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of a service's image from each side.
struct Sides {
    service: String,
    /// Its digest as it was recorded when it was made ready.
    recorded: String,
    /// The digests by which registries had it then.
    registered: Vec<String>,
    /// The digests by which the target knows it now; none where it does not say.
    known: Vec<String>,
    /// The digest that each instance runs, by the instance.
    running: BTreeMap<String, String>,
    /// Why the target could not be asked for what it runs or knows now, where it could not.
    unasked: Option<String>,
}

/// Returns whether a run may have what it takes to compare all images: each has a name by which a registry can have it,
/// and those that are built are pushed. Where the others are from only the engine knows: phase 3 asks it.
pub(super) fn is_foreseen(spec: &Spec) -> bool {
    let is_built = |name: &str| {
        let service = spec.compose.services.get(name);
        service.is_some_and(|service| service.build)
    };
    let may_have =
        |one: &Service| one.image.is_some() && (spec.pushes_images() || !is_built(&one.name));
    spec.in_containers() && spec.services.iter().all(may_have)
}

/// What was found when digests were compared.
pub(super) struct Compared {
    verdict: Verdict,
    reason: String,
    /// The instances that run another image than the recorded one, in words.
    others: Vec<String>,
}

impl Compared {
    fn of(sides: &[Sides]) -> Self {
        let (verdict, reason) = judged(sides);
        Self {
            verdict,
            reason,
            others: sides.iter().flat_map(running).collect(),
        }
    }

    /// Returns in words which instances run another image than the recorded one, if any does. That a registry no longer
    /// has an image that runs fails the item and is nothing that users could meet.
    pub(super) fn differs(&self) -> Option<String> {
        (!self.others.is_empty()).then(|| self.others.join("; "))
    }
}

/// Compares the digests that the record has of each image with those that run; nothing where no image was made ready.
pub(super) async fn compare(context: &Context) -> Option<Compared> {
    let images = recorded(context);
    if !context.spec.in_containers() || images.is_empty() {
        return None;
    }
    let mut sides = Vec::new();
    for image in images {
        sides.push(sides_of(context, image).await);
    }
    Some(Compared::of(&sides))
}

/// Settles the item on what was found. What somebody accepts that it stays open is left at that.
pub(super) async fn settle(
    context: &Context,
    found: Compared,
    evidence: Vec<EvidenceRef>,
) -> Result<(), StepError> {
    let Ok(item) = ITEM.parse::<ItemId>() else {
        return Ok(());
    };
    let before = context
        .state()
        .items
        .get(&item)
        .map(|one| one.verdict.clone());
    if found.verdict == Verdict::Open && matches!(before, Some(Verdict::Waived { .. })) {
        return Ok(());
    }
    context
        .settle(&item, found.verdict, found.reason, evidence)
        .await
}

/// Looks at an image from each side. That the target cannot be asked is no reason to stop: then nothing is compared. One
/// request that fails is no reason for that either.
async fn sides_of(context: &Context, image: Image) -> Sides {
    let (target, to) = (&context.target, &context.to);
    let running = asked(|| target.running_images(&image.service, to)).await;
    let now = asked(|| target.image(&image.service, to)).await;
    let told = |error: &TargetError| error.what.clone();
    let unasked = running.as_ref().err().or(now.as_ref().err()).map(told);
    let now = now.ok().flatten();
    Sides {
        registered: image.in_registries().to_vec(),
        recorded: image.id,
        known: now.map(|now| now.registry_digests).unwrap_or_default(),
        running: running.unwrap_or_default(),
        service: image.service,
        unasked,
    }
}

/// Asks up to [`TRIES`] times, for as long as asking again may help.
async fn asked<T, F>(ask: impl Fn() -> F) -> Result<T, TargetError>
where
    F: Future<Output = Result<T, TargetError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.transient => tokio::time::sleep(pause).await,
            answered => return answered,
        }
        pause *= 2;
    }
    ask().await
}

/// Returns the images that phase 3 made ready.
fn recorded(context: &Context) -> Vec<Image> {
    let state = context.state();
    let step = state.steps.get(&step_name("build.images"));
    let images = step.and_then(|step| step.result.get("images")?.as_array());
    let images = images.into_iter().flatten();
    images
        .filter_map(|one| serde_json::from_value(one.get("image")?.clone()).ok())
        .collect()
}

fn judged(sides: &[Sides]) -> (Verdict, String) {
    let wrong = sides.iter().flat_map(|one| [running(one), lost(one)]);
    let wrong: Vec<String> = wrong.flatten().collect();
    if !wrong.is_empty() {
        return (Verdict::Failed, wrong.join("; "));
    }
    let unasked = sides.iter().filter_map(|one| {
        let why = one.unasked.as_ref()?;
        Some(format!("of {}, because {why}", one.service))
    });
    let unasked: Vec<String> = unasked.collect();
    if !unasked.is_empty() {
        let reason = format!("digests could not be compared: {}", unasked.join("; "));
        return (Verdict::Open, reason);
    }
    let instances: usize = sides.iter().map(|one| one.running.len()).sum();
    let mut reason = format!(
        "{} run the recorded image, of {}",
        counted(instances, "instance"),
        counted(sides.len(), "service")
    );
    let named = |lacks: fn(&Sides) -> bool| {
        let lacking = sides.iter().filter(|one| lacks(one));
        lacking.map(|one| &one.service).collect::<Vec<_>>()
    };
    let idle = named(|one| one.running.is_empty());
    if !idle.is_empty() {
        reason.push_str(&format!("; of these no instance was seen: {}", list(idle)));
        return (Verdict::Open, reason);
    }
    let nowhere = named(|one| one.registered.is_empty());
    if !nowhere.is_empty() {
        let nowhere = list(nowhere);
        reason.push_str(&format!(
            "; in no registry that the engine knows of, so that no digest there was compared: {nowhere}"
        ));
        return (Verdict::Open, reason);
    }
    let unknown = named(|one| one.known.is_empty());
    if !unknown.is_empty() {
        reason.push_str(&format!(
            "; the engine no longer says by which digest registries have them, so that this was not compared: {}",
            list(unknown)
        ));
        return (Verdict::Open, reason);
    }
    reason.push_str("; each has the digest by which its registry has it");
    let basis = Basis::Observed;
    (Verdict::Met { basis }, reason)
}

/// Returns in words which instances run another image than the recorded one.
fn running(one: &Sides) -> Vec<String> {
    let others = one.running.iter().filter(|(_, id)| **id != one.recorded);
    let others = others.map(|(instance, id)| {
        format!(
            "{instance} runs the image {}, and {} was recorded",
            short(id),
            short(&one.recorded)
        )
    });
    others.collect()
}

/// Returns in words which digests of a registry are no longer those of the image.
fn lost(one: &Sides) -> Vec<String> {
    let lost = one.registered.iter().filter(|digest| {
        let mut known = one.known.iter();
        !one.known.is_empty() && !known.any(|known| of_registry(known) == of_registry(digest))
    });
    let lost = lost.map(|digest| {
        let service = &one.service;
        format!("the image of {service} is no longer the one that its registry has as {digest}")
    });
    lost.collect()
}

/// Returns the digest of `NAME@sha256:...`: one image may have it under several names.
fn of_registry(digest: &str) -> &str {
    digest.rsplit('@').next().unwrap_or(digest)
}

fn short(id: &str) -> String {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;

    use super::*;

    fn sides(running: &[(&str, &str)], registered: &[&str], known: &[&str]) -> Sides {
        let texts = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        let running = running.iter();
        Sides {
            service: "api".to_owned(),
            recorded: "sha256:aaaa".to_owned(),
            registered: texts(registered),
            known: texts(known),
            running: running
                .map(|(name, id)| ((*name).to_owned(), (*id).to_owned()))
                .collect(),
            unasked: None,
        }
    }

    /// Asks a target that fails so many times before it answers; returns whether it answered, and how often it was asked.
    async fn asked_where(failures: u32, transient: bool) -> (bool, u32) {
        let times = Cell::new(0);
        let ask = || {
            times.set(times.get() + 1);
            let fails = times.get() <= failures;
            let error = TargetError {
                code: "",
                service: None,
                what: "the engine does not answer".to_owned(),
                next: String::new(),
                transient,
            };
            async move { if fails { Err(error) } else { Ok(()) } }
        };
        let answered = asked(ask).await.is_ok();
        (answered, times.get())
    }

    #[tokio::test]
    async fn one_request_that_fails_does_not_leave_images_uncompared() {
        assert_eq!(asked_where(0, true).await, (true, 1));
        assert_eq!(asked_where(1, true).await, (true, 2));
        assert_eq!(asked_where(TRIES, true).await, (false, TRIES));
        assert_eq!(asked_where(1, false).await, (false, 1));
    }

    #[test]
    fn what_was_recorded_runs_and_stands_in_a_registry() {
        let all = sides(
            &[("api-1", "sha256:aaaa"), ("api-2", "sha256:aaaa")],
            &["registry/api@sha256:bbbb"],
            &["mirror/api@sha256:bbbb"],
        );
        let (verdict, reason) = judged(&[all]);
        let basis = Basis::Observed;
        assert_eq!(verdict, Verdict::Met { basis }, "{reason}");
        assert!(
            reason.starts_with("2 instances run the recorded image, of 1 service;"),
            "{reason}"
        );
    }

    #[test]
    fn another_image_that_runs_is_named_with_its_instance() {
        let other = sides(
            &[("api-1", "sha256:aaaa"), ("api-2", "sha256:cccc")],
            &[],
            &[],
        );
        let (verdict, reason) = judged(&[other]);
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(reason, "api-2 runs the image cccc, and aaaa was recorded");
    }

    #[test]
    fn another_image_under_the_digest_of_the_registry_is_told() {
        let running = [("api-1", "sha256:aaaa")];
        let moved = sides(&running, &["r/api@sha256:bbbb"], &["r/api@sha256:dddd"]);
        let found = Compared::of(&[moved]);
        assert_eq!(found.verdict, Verdict::Failed);
        let reason = &found.reason;
        assert!(reason.contains("r/api@sha256:bbbb"), "{reason}");
        assert_eq!(found.differs(), None);
    }

    #[test]
    fn only_what_runs_is_told_to_the_gate() {
        let running = [("api-1", "sha256:cccc")];
        let both = sides(&running, &["r/api@sha256:bbbb"], &["r/api@sha256:dddd"]);
        let found = Compared::of(&[both]);
        let others = "api-1 runs the image cccc, and aaaa was recorded";
        assert_eq!(found.differs().as_deref(), Some(others));
        let reason = &found.reason;
        assert!(reason.starts_with(&format!("{others}; ")), "{reason}");
        assert!(reason.contains("r/api@sha256:bbbb"), "{reason}");
    }

    #[test]
    fn what_cannot_be_compared_stays_open() {
        let nowhere = sides(&[("api-1", "sha256:aaaa")], &[], &[]);
        let (verdict, reason) = judged(&[nowhere]);
        assert_eq!(verdict, Verdict::Open);
        assert!(reason.ends_with("compared: api"), "{reason}");
        let idle = sides(&[], &["r/api@sha256:bbbb"], &["r/api@sha256:bbbb"]);
        assert_eq!(judged(&[idle]).0, Verdict::Open);
        let running = [("api-1", "sha256:aaaa")];
        let unknown = sides(&running, &["r/api@sha256:bbbb"], &[]);
        let (verdict, reason) = judged(&[unknown]);
        assert_eq!(verdict, Verdict::Open);
        assert!(reason.ends_with("not compared: api"), "{reason}");
        let mut unasked = sides(&[], &[], &[]);
        unasked.unasked = Some("the engine does not answer".to_owned());
        let (verdict, reason) = judged(&[unasked]);
        assert_eq!(verdict, Verdict::Open);
        assert_eq!(
            reason,
            "digests could not be compared: of api, because the engine does not answer"
        );
    }

    #[test]
    fn what_was_built_is_in_a_registry_once_it_was_pushed() {
        let image = |source: serde_json::Value, pushed: &[&str]| -> Image {
            let image = serde_json::json!({
                "service": "api", "reference": "r/api:1", "id": "sha256:aaaa", "tags": [],
                "registry_digests": ["r/api@sha256:bbbb"], "bytes": 1, "revision": null, "source": source,
                "pushed": pushed,
            });
            serde_json::from_value(image).unwrap()
        };
        let built = serde_json::json!({ "built": { "stages": 2 } });
        assert!(image(built.clone(), &[]).in_registries().is_empty());
        assert_eq!(
            image(built, &["r/api@sha256:cccc"]).in_registries().len(),
            1
        );
        let pulled = image(serde_json::json!("pulled"), &[]);
        assert_eq!(pulled.in_registries(), ["r/api@sha256:bbbb"]);
    }
}
