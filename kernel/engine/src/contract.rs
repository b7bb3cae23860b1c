//! Whether a service answers as its OpenAPI document says.

mod document;
mod operation;

use std::time::Duration;

use code_deploy_record::{Release, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::{HttpClient, Request};
use crate::step::StepError;
use crate::{Context, gate};

use document::Document;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The methods that a path may have, in the order in which they are asked.
const METHODS: [&str; 7] = ["get", "head", "options", "post", "put", "patch", "delete"];

/// What became of one operation of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    /// Method and path as the document has them: `GET /api/orders/{id}`.
    pub operation: String,
    /// What was asked, or why nothing was.
    pub request: String,
    /// The status; nothing when nothing was asked or no answer came.
    pub status: Option<u16>,
    /// Whether the answer is one that the document declares; nothing when nothing was asked.
    pub passed: Option<bool>,
    /// What was compared, or what does not fit.
    pub detail: String,
}

/// What became of a service's contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractResult {
    /// The URL of the document.
    pub document: String,
    /// Why the document cannot be used, if it cannot.
    pub problem: Option<String>,
    /// One result an operation.
    pub operations: Vec<OperationResult>,
}

impl ContractResult {
    /// Returns how many operations passed, failed, and were not asked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted| {
            self.operations
                .iter()
                .filter(|one| one.passed == wanted)
                .count()
        };
        (count(Some(true)), count(Some(false)), count(None))
    }

    /// Returns whether the document could be used and no operation failed. Operations that were not asked
    /// do not count here.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problem.is_none() && self.counts().1 == 0 && !self.operations.is_empty()
    }
}

/// Fetches the OpenAPI document at `base_url` + `path` and asks its operations.
///
/// GET is always asked, POST and PUT when the document gives an example of the body; other methods
/// are not, because nothing says that they are safe. An answer passes when its status is declared
/// and not a server's error, its media type is declared, and its JSON fits the schema. What is
/// reported is cleaned of known secrets.
pub async fn check(
    context: &Context,
    base_url: &str,
    path: &str,
    reach: &[(String, Secret)],
) -> ContractResult {
    let mut result = ask_all(&HttpClient::new(), base_url, path, reach).await;
    for operation in &mut result.operations {
        operation.request = context.redactor.clean(&operation.request);
        operation.detail = context.redactor.clean(&operation.detail);
    }
    result
}

/// Checks every service that names an OpenAPI document, through its usual address or, where a
/// release is named, that release on purpose; returns the results by service.
///
/// # Errors
/// That somebody asked the run to stop; that the target cannot be observed.
pub async fn check_all(
    context: &Context,
    release: Option<&Release>,
) -> Result<Vec<(String, ContractResult)>, StepError> {
    let (urls, reach) = match release {
        Some(release) => {
            let urls = gate::urls_of(context, release).await?;
            (urls, context.target.reach(release))
        }
        None => (gate::base_urls(context).await?, Vec::new()),
    };
    let mut results = Vec::new();
    for service in &context.spec.services {
        context.safe_point()?;
        let (Some(path), Some(base)) = (&service.file.openapi, urls.get(&service.name)) else {
            continue;
        };
        let result = check(context, base, path, &reach).await;
        results.push((service.name.clone(), result));
    }
    Ok(results)
}

/// How many operations of all documents answered as declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations that did.
    pub passed: usize,
    /// Operations that did not.
    pub failed: usize,
    /// Operations that nothing was asked of.
    pub not_asked: usize,
}

impl Summary {
    /// Adds up the results of services.
    #[must_use]
    pub fn of(results: &[(String, ContractResult)]) -> Self {
        let mut sum = Self::default();
        for (_, result) in results {
            let (passed, failed, not_asked) = result.counts();
            sum.passed += passed;
            sum.failed += failed;
            sum.not_asked += not_asked;
        }
        sum
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            not_asked,
        } = self;
        write!(
            f,
            "{passed} operations answer as declared, {failed} do not, {not_asked} were not asked"
        )
    }
}

/// Returns the first operation, or the first document, that is not as declared, and why.
#[must_use]
pub fn first_wrong(results: &[(String, ContractResult)]) -> Option<(String, String)> {
    results.iter().find_map(|(service, result)| {
        let wrong = result
            .operations
            .iter()
            .find(|one| one.passed == Some(false));
        let wrong = wrong.map(|one| (format!("{service} {}", one.operation), one.detail.clone()));
        let problem = result.problem.clone();
        wrong.or_else(|| problem.map(|what| (result.document.clone(), what)))
    })
}

async fn ask_all(
    client: &HttpClient,
    base_url: &str,
    path: &str,
    reach: &[(String, Secret)],
) -> ContractResult {
    let base_url = base_url.trim_end_matches('/');
    let document = format!("{base_url}{path}");
    let mut result = ContractResult {
        document,
        problem: None,
        operations: Vec::new(),
    };
    let fetched = fetch(client, &result.document, reach).await;
    let document = match fetched {
        Ok(document) => document,
        Err(problem) => {
            result.problem = Some(problem);
            return result;
        }
    };
    for operation in document.operations() {
        let answered = operation::ask(client, &document, &operation, base_url, reach).await;
        result.operations.push(answered);
    }
    if result.operations.is_empty() {
        result.problem = Some("it declares no operation".to_owned());
    }
    result
}

async fn fetch(
    client: &HttpClient,
    url: &str,
    reach: &[(String, Secret)],
) -> Result<Document, String> {
    let mut request = Request::get(url, LIMIT);
    request.secret_headers = reach.to_vec();
    let answer = client
        .send(&request)
        .await
        .map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("{url} answers {}", answer.status));
    }
    let json = answer.json().ok_or_else(|| format!("{url} is no JSON"))?;
    let version = json.get("openapi").and_then(Value::as_str);
    match version {
        Some(version) if version.starts_with("3.") => Ok(Document::new(json)),
        _ => Err(format!("{url} is no OpenAPI 3 document")),
    }
}

#[cfg(test)]
mod tests;
