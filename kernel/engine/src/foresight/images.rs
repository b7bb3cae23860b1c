//! Images that may change under their name.

use code_deploy_record::{PhaseNumber, Release};

use super::Foreseen;
use crate::phases::look::list;
use crate::spec::{Reaction, Spec, is_unpinned};

/// Returns that images of a release may change under their name, where any may. The policy alone says what comes of it:
/// no item of the catalogue is about it that a waiver could accept.
pub(super) fn unpinned(spec: &Spec, to: &Release) -> Option<Foreseen> {
    if spec.target == "local" {
        return None;
    }
    let file = spec.compose.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let services = spec.compose.services.iter();
    let found = services.filter_map(|(name, service)| {
        // An engine keeps what it builds under a name that only this program gives; in a cluster nothing is built.
        let built = service.build && spec.in_containers();
        let image = service.image_of(to).filter(|image| is_unpinned(image))?;
        (!built).then(|| format!("{image} of {name} ({file}:{})", service.image_line))
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return None;
    }
    let environment = &spec.environment;
    Some(Foreseen {
        phase: PhaseNumber::new(3)?,
        items: Vec::new(),
        stops: spec.policy.unpinned_images == Reaction::Stop,
        what: format!(
            "images without a digest, and without a tag or with `latest`, may be others the next time: {}",
            list(&found)
        ),
        cure: format!(
            "Write a version or a digest (`image: NAME:VERSION`, `image: NAME@sha256:...`), or \
             `overrides: {{unpinned_images: note}}` under `environments.{environment}`."
        ),
    })
}
