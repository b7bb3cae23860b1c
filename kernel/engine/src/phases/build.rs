//! Phase 3: the source, the artifacts, and whether they start.

mod advisories;
mod artifacts;
mod images;
mod logs;
mod ports;
mod quality;
mod registry;
mod scans;
mod scratch;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use crate::plan::Inputs;
use crate::spec::Service;
use crate::{Context, Step};

/// Returns the steps of `build`.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let steps = [
        source::step(),
        logs::step(),
        images::step(inputs),
        artifacts::step(),
        scans::step(),
        quality::step(),
        registry::step(),
    ];
    steps.into_iter().flatten().collect()
}

/// Returns the artifacts of a service, with `{program}` as the running program itself.
fn artifacts_of(context: &Context, service: &Service) -> Vec<PathBuf> {
    let build = service.file.build.iter().flat_map(|build| &build.artifacts);
    build
        .map(|path| match path.to_str() {
            Some("{program}") => context.program.clone(),
            _ => context.spec.project.join(path),
        })
        .collect()
}
