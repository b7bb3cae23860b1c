//! Runbooks and guides as they were handed over. The handover writes each of them once, into the
//! record; pages show that text and have none of their own.

use code_deploy_record::{Block, PhaseNumber, Report};

use crate::facts::Facts;

/// The phase that writes runbooks and guides.
const HANDOVER: u8 = 9;

/// Shows the runbook of the service or the alert of this name, or the guide of this name.
pub(super) fn runbook(facts: &Facts, name: &str) -> Report {
    let captions = [
        format!("runbook of service {name}"),
        format!("runbook of alert {name}"),
        name.to_owned(),
    ];
    let phase = PhaseNumber::new(HANDOVER);
    let sections = facts.sections.iter().filter(|one| one.phase == phase);
    let mut blocks = sections.flat_map(|one| &one.what.report.blocks);
    let found = blocks.find(|block| match block {
        Block::Code { caption, .. } => captions.contains(caption),
        _ => false,
    });
    if let Some(block) = found {
        return Report {
            blocks: vec![block.clone()],
        };
    }
    let why = match phase.and_then(|phase| facts.state.phases.get(&phase)) {
        Some(_) => "the handover wrote none",
        None => "it is written at the handover, to which this run has not come",
    };
    Report::new().with_text(format!("No text of this name, {name}: {why}."))
}
