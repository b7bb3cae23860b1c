//! The credential plugin of a kubeconfig file: a program that gives what the cluster is signed in to with
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).
//!
//! It is run here and not by the client library, which waits for it without a limit, has it ask at the terminal and
//! repeats all that it wrote when it fails.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_record::{Redactor, Secret};
use kube::config::{ExecConfig, ExecInteractiveMode};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// The variable in which a plugin is told what it is asked for.
const INFO: &str = "KUBERNETES_EXEC_INFO";

/// What is read of each that a plugin writes, in bytes.
const MOST: u64 = 1024 * 1024;

/// Lines of what a plugin wrote for people that are told.
const LINES: usize = 5;

/// How long the rest of what a plugin wrote is waited for when it was ended.
const REST: Duration = Duration::from_secs(1);

/// A credential plugin.
pub struct Plugin {
    exec: ExecConfig,
    redactor: Redactor,
}

/// What a plugin gives.
pub struct Credentials {
    /// The token that goes with each request.
    pub token: Option<Secret>,
    /// The client's certificate and its key, as PEM.
    pub identity: Option<(String, Secret)>,
    /// When they run out; nothing where the plugin does not say.
    pub until: Option<DateTime<Utc>>,
}

/// What a plugin writes, as far as it is read.
#[derive(Deserialize)]
struct Written {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// Returns the plugin that a kubeconfig file describes. What it gives becomes known to `redactor`.
    pub fn new(exec: ExecConfig, redactor: Redactor) -> Self {
        Self { exec, redactor }
    }

    /// Asks for credentials. Nobody is there to be asked by the plugin.
    ///
    /// # Errors
    /// In words: why it was not started, how it ended and what it wrote for people, that it was ended after the limit.
    ///
    /// # Cancel safety
    /// The plugin is ended when this is dropped.
    pub async fn ask(&self, limit: Duration) -> Result<Credentials, String> {
        let within = format!("within {limit:?}");
        self.ask_until(tokio::time::sleep(limit), &within).await
    }

    async fn ask_until(
        &self,
        end: impl Future<Output = ()>,
        within: &str,
    ) -> Result<Credentials, String> {
        let mut running = self.start()?;
        let (mut written, mut told) = (Vec::new(), Vec::new());
        let ended = tokio::select! {
            ended = running.hear(&mut written, &mut told) => Some(ended),
            () = end => None,
        };
        if ended.is_none() {
            running.end();
            // It holds the pipes no more: what it wrote so far is read to its end.
            let _ = tokio::time::timeout(REST, running.hear(&mut written, &mut told)).await;
        }
        let (name, told) = (self.name(), self.told(&told));
        match ended {
            Some(Ok(status)) if status.success() => self.read(&written),
            Some(Ok(status)) => Err(format!(
                "the credential plugin {name} ended with {status}{told}"
            )),
            Some(Err(error)) => Err(format!(
                "the credential plugin {name} is not heard: {error}{told}"
            )),
            None => Err(format!(
                "the credential plugin {name} did not end {within} and was made to{told}"
            )),
        }
    }

    fn start(&self) -> Result<Running, String> {
        let (exec, name) = (&self.exec, self.name());
        if name.is_empty() {
            return Err("the credential plugin of the kubeconfig file has no command".to_owned());
        }
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(format!(
                "the credential plugin {name} is one that asks somebody (interactiveMode: Always), and in a run \
                 nobody is there to be asked"
            ));
        }
        let variables = exec.env.iter().flatten();
        let variables = variables.filter_map(|one| Some((one.get("name")?, one.get("value")?)));
        let mut command = Command::new(name);
        command
            .args(exec.args.iter().flatten())
            .envs(variables)
            .env(INFO, self.info())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts ends with it.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().map(Running::of).map_err(|error| {
            let hint = exec.install_hint.as_deref().map(one_line);
            let hint = hint.filter(|hint| !hint.is_empty());
            let hint = hint.map(|hint| format!("; the kubeconfig file says: {hint}"));
            let hint = hint.unwrap_or_default();
            format!("the credential plugin {name} cannot be started: {error}{hint}")
        })
    }

    fn name(&self) -> &str {
        self.exec.command.as_deref().unwrap_or_default()
    }

    /// Returns what the plugin is told.
    fn info(&self) -> String {
        let mut spec = json!({ "interactive": false });
        if let Some(cluster) = &self.exec.cluster {
            spec["cluster"] = json!(cluster);
        }
        let version = &self.exec.api_version;
        json!({ "apiVersion": version, "kind": "ExecCredential", "spec": spec }).to_string()
    }

    /// Returns the end of what it wrote for people, without what is secret.
    fn told(&self, text: &[u8]) -> String {
        let text = self.redactor.clean(&String::from_utf8_lossy(text));
        match one_line(&text) {
            told if told.is_empty() => String::new(),
            told => format!("; it wrote: {told}"),
        }
    }

    fn read(&self, text: &[u8]) -> Result<Credentials, String> {
        let unfit = |what: &str| format!("the credential plugin {} {what}", self.name());
        // What it wrote is secret: nothing of it is repeated.
        let written: Option<Written> = serde_json::from_slice(text).ok();
        let written = written.or_else(|| {
            let text = std::str::from_utf8(text).ok()?;
            serde_saphyr::from_str(text).ok()
        });
        let written = written.ok_or_else(|| unfit("wrote no ExecCredential"))?;
        let Some(status) = written.status else {
            return Err(unfit("wrote an ExecCredential without a status"));
        };
        let until = match &status.expiration_timestamp {
            None => None,
            Some(text) => {
                let read = DateTime::parse_from_rfc3339(text);
                let read = read.map_err(|_| unfit("wrote an expirationTimestamp that is no time"));
                Some(read?.to_utc())
            }
        };
        let token = self.secret("token", status.token);
        let certificate = status.client_certificate_data;
        let certificate = certificate.filter(|text| !text.is_empty());
        let key = self.secret("key", status.client_key_data);
        if certificate.is_some() != key.is_some() {
            return Err(unfit("wrote one of certificate and key, and not the other"));
        }
        if token.is_none() && key.is_none() {
            return Err(unfit("wrote neither a token nor a certificate"));
        }
        Ok(Credentials {
            token,
            identity: certificate.zip(key),
            until,
        })
    }

    fn secret(&self, what: &str, value: Option<String>) -> Option<Secret> {
        let secret = Secret::new(value.filter(|value| !value.is_empty())?);
        let name = format!("{what} of the credential plugin");
        self.redactor.know(name, secret.clone());
        Some(secret)
    }
}

/// A plugin that runs: ended when it is dropped.
struct Running {
    child: Child,
    out: Option<ChildStdout>,
    errors: Option<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    fn of(mut child: Child) -> Self {
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        Self { child, out, errors }
    }

    /// Reads all that it writes until it ends.
    ///
    /// # Cancel safety
    /// What was read stays, and reading can be taken up again.
    async fn hear(&mut self, written: &mut Vec<u8>, told: &mut Vec<u8>) -> io::Result<ExitStatus> {
        let (out, errors, status) = tokio::join!(
            fill(written, self.out.as_mut()),
            fill(told, self.errors.as_mut()),
            self.child.wait()
        );
        out.and(errors)?;
        status
    }

    /// Ends it, with all that it has started.
    fn end(&self) {
        // No id: it was waited for, and its number may mean another process by now.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id
            && let Err(error) = killpg(Pid::from_raw(id), Signal::SIGKILL)
        {
            tracing::warn!(id, %error, "the processes of a credential plugin could not be ended");
        }
    }
}

/// Reads the beginning of what is written into `text`, and the rest away: who writes is not to be held up.
async fn fill(text: &mut Vec<u8>, from: Option<impl AsyncRead + Unpin>) -> io::Result<()> {
    let Some(from) = from else {
        return Ok(());
    };
    let mut beginning = from.take(MOST);
    beginning.read_to_end(text).await?;
    tokio::io::copy(&mut beginning.into_inner(), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Returns the last lines of a text as one, with nothing in it that steers a terminal.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let end = lines.get(lines.len().saturating_sub(LINES)..);
    let end = end.unwrap_or_default().join(" / ");
    end.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
