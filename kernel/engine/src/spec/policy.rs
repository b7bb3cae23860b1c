//! The policy of an environment: the defaults, which are data, and what the file changes.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::Document;
use super::error::{SpecError, code};
use super::model::{
    ApprovalRule, DeployFile, EnvironmentFile, Policy, PolicyKind, Reaction, WaiverRule,
};

const DEFAULTS: &str = include_str!("../../../../templates/policy.yaml");

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Defaults {
    approval: ApprovalRule,
    uncommitted: Reaction,
    unattested: Reaction,
    open: Reaction,
    failed: Reaction,
    unpinned_images: Reaction,
    waivers: WaiverRule,
    waive_mandatory: bool,
    roll_back_on_failure: bool,
}

/// Returns the policy of an environment.
pub(super) fn policy(
    document: &Document,
    file: &DeployFile,
    name: &str,
    environment: &EnvironmentFile,
) -> Result<Policy, Box<SpecError>> {
    let Some(kind) = environment.policy.or_else(|| kind_of(name)) else {
        return Err(document.error(
            code::MISSING_KEY,
            &["environments", name, "policy"],
            format!("the environment `{name}` does not say which policy it has"),
            "Write `policy:` with `dev`, `test`, `staging` or `prod`; only environments of these \
             names have it by themselves.",
        ));
    };
    let defaults = Document::parse(
        Path::new("templates/policy.yaml"),
        DEFAULTS.to_owned(),
        "policy file",
    )?;
    let mut all: BTreeMap<PolicyKind, Defaults> = defaults.typed()?;
    let Some(given) = all.remove(&kind) else {
        return Err(defaults.error(code::MISSING_KEY, &[], "a policy is missing", ""));
    };
    let overrides = &environment.overrides;
    let policy = Policy {
        kind,
        approval: overrides.approval.unwrap_or(given.approval),
        uncommitted: overrides.uncommitted.unwrap_or(given.uncommitted),
        unattested: overrides.unattested.unwrap_or(given.unattested),
        open: overrides.open.unwrap_or(given.open),
        failed: overrides.failed.unwrap_or(given.failed),
        unpinned_images: overrides.unpinned_images.unwrap_or(given.unpinned_images),
        waivers: given.waivers,
        waive_mandatory: given.waive_mandatory,
        roll_back_on_failure: given.roll_back_on_failure,
    };
    check_waivers(document, file, name, &policy)?;
    Ok(policy)
}

fn kind_of(name: &str) -> Option<PolicyKind> {
    match name {
        "dev" => Some(PolicyKind::Dev),
        "test" => Some(PolicyKind::Test),
        "staging" => Some(PolicyKind::Staging),
        "prod" => Some(PolicyKind::Prod),
        _ => None,
    }
}

fn check_waivers(
    document: &Document,
    file: &DeployFile,
    name: &str,
    policy: &Policy,
) -> Result<(), Box<SpecError>> {
    let lacking = file
        .waivers
        .iter()
        .position(|waiver| waiver.approver.is_none());
    match lacking {
        Some(index) if policy.waivers == WaiverRule::WithApprover => Err(document.error(
            code::MISSING_KEY,
            &["waivers", &index.to_string(), "approver"],
            format!("the policy of `{name}` asks who approved a waiver"),
            "Write `approver:` with the name of the person who approved it.",
        )),
        _ => Ok(()),
    }
}
