//! What is right and wrong about how a round ended.

use std::time::Duration;

use code_deploy_record::{RunFolder, RunOutcome, RunState, verify_folder};
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Request, Sums};
use crate::{Error, Place};

/// How long after its process was killed a request that it served may fail: the system has to close
/// the connection, and each process on the way has to notice.
const NOTICED: Duration = Duration::from_millis(250);

/// How a run came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No run had begun when the kill came.
    NotBegun,
    /// Everything is new.
    New,
    /// Everything is old.
    Old,
    /// A person has to decide.
    NeedsPerson,
}

/// What was found.
#[derive(Debug)]
pub struct Verdict {
    /// How the run came to rest; none when it did not.
    pub ending: Option<Ending>,
    /// The release that serves then.
    pub serves: String,
    /// What is wrong; nothing when all is as it must be.
    pub wrong: Vec<String>,
    /// Requests that failed because the process that served them was killed.
    pub cut: usize,
}

/// A kill, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Struck {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) serves: bool,
}

/// Judges a round by its record, what the program says of what runs, and the client's requests.
pub(crate) async fn judge(
    place: &Place,
    run: Option<&(RunFolder, RunState)>,
    sums: &Sums,
    struck: &[Struck],
    stable_before: &str,
) -> Result<Verdict, Error> {
    let mut wrong = Vec::new();
    let (ending, serves) = match run {
        None => (Some(Ending::NotBegun), stable_before.to_owned()),
        Some((folder, state)) => rest(folder, state, stable_before, &mut wrong)?,
    };
    let person = matches!(ending, Some(Ending::NeedsPerson));
    if !person {
        wrong.extend(runs_only(place, &serves).await?);
    }
    let (cut, others): (Vec<&Request>, Vec<&Request>) = sums
        .failed
        .iter()
        .partition(|request| was_cut(request, struck));
    wrong.extend(others.iter().map(|request| {
        let since = struck.first().map(|struck| {
            let began = request.began.saturating_duration_since(struck.to);
            format!(", begun {began:?} after the kill")
        });
        format!(
            "a request failed that no kill had cut: {}{}",
            request.what,
            since.unwrap_or_default()
        )
    }));
    Ok(Verdict {
        ending,
        serves,
        wrong,
        cut: cut.len(),
    })
}

fn was_cut(request: &Request, struck: &[Struck]) -> bool {
    let cut = |struck: &&Struck| {
        struck.serves
            && request.began <= struck.to
            && struck.from <= request.ended
            && request.ended <= struck.to + NOTICED
    };
    struck.iter().any(|struck| cut(&struck))
}

/// Returns how the run came to rest, and the release that then has to serve.
fn rest(
    folder: &RunFolder,
    state: &RunState,
    stable_before: &str,
    wrong: &mut Vec<String>,
) -> Result<(Option<Ending>, String), Error> {
    let to = state.started.as_ref().map(|started| started.to.to_string());
    let outcome = state.finished.as_ref().map(|(outcome, ..)| *outcome);
    let (ending, serves) = match outcome {
        Some(RunOutcome::Succeeded) => (Some(Ending::New), to.unwrap_or_default()),
        Some(RunOutcome::RolledBack | RunOutcome::Refused) => {
            (Some(Ending::Old), stable_before.to_owned())
        }
        Some(RunOutcome::NeedsPerson) => (Some(Ending::NeedsPerson), stable_before.to_owned()),
        Some(RunOutcome::Abandoned) | None => {
            wrong.push(format!("the run did not come to rest: {:?}", state.last));
            (None, stable_before.to_owned())
        }
    };
    let report = verify_folder(folder)?;
    wrong.extend(report.findings.iter().map(|found| format!("{found:?}")));
    Ok((ending, serves))
}

/// Asks the program what runs: one release, whole, with all traffic, and no other.
async fn runs_only(place: &Place, release: &str) -> Result<Vec<String>, Error> {
    let said = place.run(&["--json", "status"]).await?;
    let mut values = said.text.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        value.get("status").cloned()
    });
    let Some(status) = values.next_back() else {
        return Ok(vec![format!("`status` says nothing: {}", said.text)]);
    };
    let empty = Vec::new();
    let rows = status["now"]["services"].as_array().unwrap_or(&empty);
    let mut wrong = Vec::new();
    for row in rows {
        let right = row["release"] == release
            && row["percent"] == 100
            && row["running"] == 2
            && row["instances"] == 2;
        if !right {
            wrong.push(format!("{release} is to run, and there is {row}"));
        }
    }
    if rows.len() != 3 {
        wrong.push(format!("three services are to run, and there are {rows:?}"));
    }
    if !status["now"]["worker"].is_null() {
        wrong.push(format!("somebody works on it: {}", status["now"]["worker"]));
    }
    Ok(wrong)
}
