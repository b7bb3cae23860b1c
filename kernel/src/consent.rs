//! Signing an answer to an approval, by `ssh-keygen`, so that agents, passphrases and keys in hardware
//! serve as they do elsewhere. No key is read here.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{Duration, SubsecRound as _};
use code_deploy_engine::spec::Spec;
use code_deploy_engine::steer;
use code_deploy_record::{
    APPROVED, Clock as _, Consent, PublicKey, RunFolder, SignedConsent, SystemClock,
};
use tokio::io::AsyncWriteExt as _;

use crate::commands::ApproveArgs;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::project::Project;

/// Signs an answer to what a run waits for. Returns in whose name: that which the deployment file has
/// for the key, or the system's user.
///
/// # Errors
/// `CD0314` when nothing waits for an answer, or it could not be signed.
pub async fn sign(
    machine: &Machine,
    project: &Project,
    run: &RunFolder,
    key: &Path,
    arguments: &ApproveArgs,
) -> Result<(String, SignedConsent), Failure> {
    let state = run.state()?;
    let (Some(started), Some((gate, plan))) = (&state.started, &state.approval_asked) else {
        return Err(failed("nothing waits for an approval in that run"));
    };
    let reading = project.spec(machine, &started.environment, &started.target);
    let spec = reading.await?;
    let by = name_of(&spec, key).unwrap_or_else(|| machine.user.clone());
    let signed = SystemClock.now().trunc_subsecs(0);
    let consent = Consent {
        run: started.run.clone(),
        gate: gate.clone(),
        plan: *plan,
        go: !arguments.no_go,
        by: by.clone(),
        reason: arguments.reason.clone(),
        signed,
        expires: signed + Duration::hours(i64::from(arguments.hours)),
        waivers: steer::waivers(&spec),
    };
    let statement = serde_json::to_string(&consent).map_err(code_deploy_record::Error::from)?;
    let signature = ssh_sign(key, &statement).await?;
    let signed = SignedConsent {
        statement,
        signature,
    };
    Ok((by, signed))
}

/// Returns the name that the deployment file has for a key, by its public half beside it.
fn name_of(spec: &Spec, key: &Path) -> Option<String> {
    let beside = PathBuf::from(format!("{}.pub", key.display()));
    let public = [beside, key.to_owned()].into_iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        PublicKey::parse(&text).ok()
    })?;
    let mut signers = spec.file.approvals.signers.iter();
    let named = signers.find(|(_, text)| PublicKey::parse(text).is_ok_and(|key| key == public));
    named.map(|(name, _)| name.clone())
}

async fn ssh_sign(key: &Path, statement: &str) -> Result<String, Failure> {
    let cannot = |what: String| failed(&format!("`ssh-keygen -Y sign` {what}"));
    let mut signing = tokio::process::Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", APPROVED, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot(format!("cannot be started: {error}")))?;
    if let Some(mut input) = signing.stdin.take() {
        let written = input.write_all(statement.as_bytes()).await;
        written.map_err(|error| cannot(format!("takes no text: {error}")))?;
    }
    let done = signing.wait_with_output().await;
    let done = done.map_err(|error| cannot(format!("was cut off: {error}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(cannot(format!(
            "does not sign with {}: {said}",
            key.display()
        )));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn failed(what: &str) -> Failure {
    let next = "Name an OpenSSH key of type ed25519 or ecdsa (P-256) with `--sign`; `code-deploy status` \
                says what a run waits for.";
    Failure::refused(
        crate::codes::CANNOT_SIGN,
        format!("the answer was not signed: {what}"),
        next,
    )
}
