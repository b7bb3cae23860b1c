//! What a client outside sees of the services: their addresses asked as users ask them.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{Check, Release, Vantage};

use super::shift;
use crate::http::Request;
use crate::phases::look::counted;
use crate::step::StepError;
use crate::surroundings::Client;
use crate::target::Balancing;
use crate::{Context, gate};

/// The header in which a service names the release that answers.
const RELEASE: &str = "x-release";

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long after answers that do not show a move of traffic yet it is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Requests to each service when all have to be answered by one release.
const SOME: u32 = 20;

/// Requests to each service at most until each release has answered when traffic is split.
const MANY: u32 = 1_000;

/// Which releases have to answer, and whether on purpose.
pub(super) enum Expected<'a> {
    /// Only this one.
    Only(&'a Release),
    /// Both of these.
    Both(&'a Release, &'a Release),
    /// This one, asked for by its headers.
    OnPurpose(&'a Release),
}

/// Asks every service through its address, and says which releases answered.
pub(super) async fn answers(context: &Context, expected: Expected<'_>) -> Result<Check, StepError> {
    let urls = match &expected {
        Expected::OnPurpose(release) => gate::urls_of(context, release).await?,
        Expected::Only(_) | Expected::Both(..) => gate::base_urls(context).await?,
    };
    let client = context.surroundings.outside.client();
    let mut texts = Vec::new();
    let mut passed = true;
    for service in &context.spec.services {
        let Some(path) = path_of(&service.file.probes) else {
            texts.push(format!("{} has no path to ask", service.name));
            shift::settled(context).await;
            continue;
        };
        let Some(base) = urls.get(&service.name) else {
            passed = false;
            texts.push(format!("{} has no address", service.name));
            continue;
        };
        let url = format!("{base}{path}");
        let seen = ask_until_settled(context, client.as_ref(), &url, &expected).await;
        passed &= seen.holds(&expected);
        texts.push(format!("{}: {}", service.name, seen.text()));
    }
    let method = "requests through each service's address".to_owned();
    Ok(Check {
        vantage: Vantage::Outside,
        method,
        passed,
        detail: texts.join("; "),
    })
}

fn path_of(probes: &crate::spec::ProbesFile) -> Option<&str> {
    probes
        .readiness
        .as_deref()
        .or(probes.liveness.as_deref())
        .or(probes.startup.as_deref())
}

#[derive(Default)]
struct Seen {
    releases: BTreeMap<String, u32>,
    silent: u32,
    failed: u32,
    first_failure: Option<String>,
}

impl Seen {
    fn holds(&self, expected: &Expected<'_>) -> bool {
        let answered = self.releases.values().sum::<u32>() + self.silent;
        if self.failed > 0 || answered == 0 {
            return false;
        }
        if self.releases.is_empty() {
            return true;
        }
        let has = |release: &Release| self.releases.contains_key(release.as_str());
        match expected {
            Expected::Only(release) | Expected::OnPurpose(release) => {
                has(release) && self.releases.len() == 1
            }
            Expected::Both(one, other) => has(one) && has(other) && self.releases.len() == 2,
        }
    }

    /// Returns whether the answers say by themselves that traffic has moved: all name their release.
    fn shows(&self, expected: &Expected<'_>) -> bool {
        self.silent == 0 && self.holds(expected)
    }

    fn text(&self) -> String {
        let mut parts: Vec<_> = self
            .releases
            .iter()
            .map(|(release, n)| format!("{} of {release}", counted(n, "answer")))
            .collect();
        if self.silent > 0 {
            parts.push(format!(
                "{} answers that do not name their release",
                self.silent
            ));
        }
        if let Some(first) = &self.first_failure {
            parts.push(format!("{} failed, the first: {first}", self.failed));
        }
        parts.join(", ")
    }
}

/// Asks again for as long as parts of the place may not have followed the last move of traffic. What is seen when
/// they have is what counts; before that only what shows the move does.
async fn ask_until_settled(
    context: &Context,
    client: &dyn Client,
    url: &str,
    expected: &Expected<'_>,
) -> Seen {
    loop {
        let moves = !matches!(expected, Expected::OnPurpose(_));
        let left = context.target.unsettled();
        let seen = ask(context, client, url, expected).await;
        if !moves || left.is_zero() || seen.shows(expected) {
            return seen;
        }
        tokio::time::sleep(AGAIN.min(left)).await;
    }
}

async fn ask(context: &Context, client: &dyn Client, url: &str, expected: &Expected<'_>) -> Seen {
    let mut seen = Seen::default();
    let mut request = Request::get(url, LIMIT);
    if context.target.balancing() == Balancing::Connections {
        let header = ("connection".to_owned(), "close".to_owned());
        request.headers.push(header);
    }
    if let Expected::OnPurpose(release) = expected {
        request.secret_headers = context.target.reach(release);
    }
    let both = matches!(expected, Expected::Both(..));
    for number in 0..if both { MANY } else { SOME } {
        match client.send(&request).await {
            Ok(answer) if answer.status.is_success() => match answer.header(RELEASE) {
                Some(release) => *seen.releases.entry(release.to_owned()).or_default() += 1,
                None => seen.silent += 1,
            },
            Ok(answer) => seen.fail(format!("status {}", answer.status.as_u16())),
            Err(error) => seen.fail(error.to_string()),
        }
        let enough = seen.releases.len() >= 2 || (seen.silent > 0 && number >= SOME);
        if both && enough {
            break;
        }
    }
    seen
}

impl Seen {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(what);
    }
}
