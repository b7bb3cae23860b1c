//! Known advisories of dependencies, by `cargo-audit` with the database that is on this machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// The program, looked up on the path.
const TOOL: &str = "cargo-audit";

/// How long it may take for one lock file.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest answer that is read, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// What was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audit {
    /// Dependencies that the lock file pins.
    pub dependencies: u64,
    /// Advisories of the database.
    pub known: u64,
    /// Each advisory that applies: its id, the package with its version, its title.
    pub found: Vec<[String; 3]>,
    /// The answer as it came.
    pub answer: Vec<u8>,
}

/// Asks for the advisories of a lock file.
///
/// # Errors
/// Why nothing can be said: the program or its database is not there, or it failed.
pub(super) async fn ask(lock: &Path) -> Result<Audit, String> {
    let mut command = Command::new(TOOL);
    // Nothing is fetched: what a run says must not depend on what the network has that minute.
    command.args(["audit", "--json", "--no-fetch", "--stale", "--file"]);
    command.arg(lock).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("`{TOOL}` is not on the path"));
        }
        Ok(Err(error)) => return Err(format!("`{TOOL}` cannot be started: {error}")),
        Err(_) => return Err(format!("`{TOOL}` did not end within {} s", LIMIT.as_secs())),
    };
    if output.stdout.len() > LONGEST {
        return Err(format!("`{TOOL}` answered more than {LONGEST} bytes"));
    }
    read(output.stdout).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("nothing");
        format!("`{TOOL}` ended with {}: {last}", output.status)
    })
}

/// Reads an answer; nothing when it is not one, or holds no advisory to compare with.
fn read(answer: Vec<u8>) -> Option<Audit> {
    let value: Value = serde_json::from_slice(&answer).ok()?;
    let known = value.pointer("/database/advisory-count")?.as_u64()?;
    let dependencies = value.pointer("/lockfile/dependency-count")?.as_u64()?;
    let listed = value.pointer("/vulnerabilities/list")?.as_array()?;
    let text = |one: &Value, place: &str| {
        let found = one.pointer(place).and_then(Value::as_str);
        found.unwrap_or("not named").to_owned()
    };
    let found = listed.iter().map(|one| {
        let (name, version) = (text(one, "/package/name"), text(one, "/package/version"));
        let (id, title) = (text(one, "/advisory/id"), text(one, "/advisory/title"));
        [id, format!("{name} {version}"), title]
    });
    let found = found.collect();
    (known > 0).then_some(Audit {
        dependencies,
        known,
        found,
        answer,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use super::*;

    fn answer(known: u64, list: &Value) -> Vec<u8> {
        let value = serde_json::json!({
            "database": { "advisory-count": known },
            "lockfile": { "dependency-count": 3 },
            "vulnerabilities": { "found": true, "count": 1, "list": list },
        });
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn an_advisory_is_named_with_its_package() {
        let list = serde_json::json!([{
            "advisory": { "id": "RUSTSEC-2020-0071", "title": "a segfault in time" },
            "package": { "name": "time", "version": "0.1.42" },
        }]);
        let audit = read(answer(700, &list)).unwrap();
        assert_eq!((audit.known, audit.dependencies), (700, 3));
        let expected = ["RUSTSEC-2020-0071", "time 0.1.42", "a segfault in time"];
        assert_eq!(audit.found, [expected.map(str::to_owned)]);
    }

    #[test]
    fn an_empty_database_and_an_unreadable_answer_say_nothing() {
        assert_eq!(read(answer(0, &serde_json::json!([]))), None);
        assert_eq!(read(b"error: no database".to_vec()), None);
    }
}
