//! What it means that the cluster refuses, or does not answer.

use std::time::Duration;

use code_deploy_engine::spec::UserManifest;
use code_deploy_engine::target::TargetError;
use kube::client::AuthError;
use kube::core::Status;

use super::locate;
use super::manifest::Manifest;
use super::objects::Tried;
use super::proxy::Proxy;
use crate::failure::{code, failed, transient};

/// What to do about a quota that is used up.
pub const LARGER_QUOTA: &str = "Ask for a larger quota of the namespace, or deploy less.";

/// What to do about rights that are missing.
const MORE_RIGHTS: &str =
    "Have it allowed: templates/kubernetes/ has the roles with what a run needs.";

/// What to do about credentials that are not given.
const OTHER_PLUGIN: &str = "Mend what the account of the kubeconfig file signs in with until `kubectl version` answers \
                            without asking anybody, and run again.";

/// What to do about a manifest that is none.
const OTHER_FILE: &str =
    "Mend what the cluster does not take in the Compose file or the manifest, and run again.";

/// Returns whether an error says that nobody answered, or somebody in place of the API server.
pub fn is_silence(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 502..=504) || is_for_later(status),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Returns whether a server that fails says when it may be asked again: its storage elects a leader, or is slow.
fn is_for_later(status: &Status) -> bool {
    let details = status.details.as_ref();
    status.code == 500 && details.is_some_and(|details| details.retry_after_seconds > 0)
}

/// Returns whether an error says that there were no credentials to ask with.
pub fn is_unsigned(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Auth(_))
}

/// Returns whether an error says that a proxy did not lead to the server. It is known by its words: the kinds are not
/// public.
fn is_of_proxy(error: &kube::Error, said: &str) -> bool {
    let words = ["tunnel error", "SOCKS error"];
    matches!(error, kube::Error::Service(_)) && words.iter().any(|words| said.contains(words))
}

/// Returns what it means that no answer came.
pub fn silent(action: &str, service: Option<&str>, limit: Duration) -> TargetError {
    let what = format!(
        "cannot {action}: the cluster did not answer within {} s",
        limit.as_secs()
    );
    let next = "Look whether its API server answers (`kubectl version`), and run again.";
    transient(code::CLUSTER, service, what, next)
}

/// Returns what a refusal of the cluster means.
pub fn refusal(action: &str, service: Option<&str>, error: &kube::Error) -> TargetError {
    let kube::Error::Api(status) = error else {
        return unheard(action, service, error);
    };
    let what = format!("cannot {action}: {}", said(status));
    match status.code {
        401 => {
            let next = "Renew what the kubeconfig file signs in with, and run again.";
            failed(code::ACCESS, service, what, next)
        }
        403 if is_quota(status) => failed(code::QUOTA, service, what, LARGER_QUOTA),
        403 => failed(code::ACCESS, service, what, MORE_RIGHTS),
        409 => conflict(action, service, status),
        _ if is_of_object(status) => failed(code::COMPOSE_VALUE, service, what, OTHER_FILE),
        404 => {
            let next = "Look whether namespace and object are there, and run again.";
            failed(code::CLUSTER, service, what, next)
        }
        _ => {
            let next = "Look at the cluster, and run again.";
            transient(code::CLUSTER, service, what, next)
        }
    }
}

/// As [`refusal`], where there may be a proxy on the way.
pub fn refusal_by(
    proxy: Option<&Proxy>,
    action: &str,
    service: Option<&str>,
    error: &kube::Error,
) -> TargetError {
    let said = with_sources(error);
    let Some(proxy) = proxy.filter(|_| is_of_proxy(error, &said)) else {
        return refusal(action, service, error);
    };
    let what = format!("cannot {action}: the proxy {proxy} does not lead there: {said}");
    let next = "Look whether the proxy is reached and lets this machine through. `proxy-url` of the kubeconfig file \
                names it, or else HTTPS_PROXY; what NO_PROXY names is asked without. Then run again.";
    transient(code::CLUSTER, service, what, next)
}

/// Returns what it means that the server was not asked, or not heard.
fn unheard(action: &str, service: Option<&str>, error: &kube::Error) -> TargetError {
    match error {
        kube::Error::Auth(error) => {
            let why = match error {
                AuthError::AuthExec(why) => why.clone(),
                // Its words hold all that the program wrote.
                AuthError::AuthExecRun { out, .. } => {
                    format!("the program of its auth-provider ended with {}", out.status)
                }
                error => error.to_string(),
            };
            let what = format!("cannot {action}: {why}");
            transient(code::SIGN_IN, service, what, OTHER_PLUGIN)
        }
        kube::Error::InferKubeconfig(_) | kube::Error::RustlsTls(_) => {
            let what = format!("cannot {action}: {}", with_sources(error));
            let next =
                "Mend the certificates and keys that the kubeconfig file names, and run again.";
            failed(code::CLUSTER_FILE, service, what, next)
        }
        error => {
            let what = format!("cannot {action}: {}", with_sources(error));
            let next = "Look whether its API server answers (`kubectl version`), and run again.";
            transient(code::CLUSTER, service, what, next)
        }
    }
}

/// Returns whether it is the object that is refused: another one might be taken.
pub fn is_of_object(status: &Status) -> bool {
    // Server-side apply gives what is no such object as a failure of the server.
    let untyped = || {
        let words = ["typed patch object", "unable to convert unstructured"];
        words.iter().any(|words| status.message.contains(words))
    };
    matches!(status.code, 400 | 403 | 413 | 422) || (status.code == 500 && untyped())
}

/// Returns whether what is asked about an object cannot be judged in a dry run: an admission webhook has effects
/// beside its answer, so that the cluster does not ask it
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#side-effects>).
pub fn is_unjudged(status: &Status) -> bool {
    status.message.contains("does not support dry run")
}

/// Returns what it means that the cluster refuses an object in a dry run. `object` names it, as in `the service api`.
///
/// What is said of an object that hides values may hold them, and is left out. Of what comes from the user's own
/// manifest it is told where that stands.
pub fn of_object(
    object: &str,
    service: Option<&str>,
    status: &Status,
    tried: Tried<'_>,
) -> TargetError {
    let said = match tried.hides && !is_quota(status) {
        true => without_values(status),
        false => said(status),
    };
    let origin = match tried.origin {
        Some(origin) => format!(" ({})", located(origin, tried.manifest, status)),
        None => String::new(),
    };
    let what = format!(
        "the cluster refuses {object}{origin} as this run would apply it: {said}; nothing was changed"
    );
    failed(code::NOT_ADMITTED, service, what, mended_by(status))
}

/// Returns the places of the user's manifest that a refusal is about.
fn located(origin: &UserManifest, manifest: &Manifest, status: &Status) -> String {
    let fields = fields_of(status);
    let mut places: Vec<String> = fields
        .iter()
        .map(|field| locate::place(origin, &manifest.value, field))
        .collect();
    places.dedup();
    if places.is_empty() {
        places.push(origin.place());
    }
    places.join(", ")
}

/// Returns the fields that a refusal names. What is no such object at all is only said in its message.
fn fields_of(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let named = causes.map(|cause| cause.field.clone());
    let words = status.message.split_whitespace();
    let undeclared = words.filter_map(|word| word.strip_prefix('.')?.strip_suffix(':'));
    named
        .chain(undeclared.map(str::to_owned))
        .filter(|field| !field.is_empty())
        .collect()
}

fn mended_by(status: &Status) -> &'static str {
    let says = |words: &str| said(status).contains(words);
    if is_quota(status) {
        LARGER_QUOTA
    } else if status.code == 403 && says("cannot patch resource") {
        MORE_RIGHTS
    } else if status.code == 403 || says("denied") {
        "Mend what the cluster's admission policies name in the Compose file or the manifest, or \
         ask who sets them, and run again."
    } else if says("field is immutable") {
        "The cluster keeps what it has there: deploy it as another release, or remove what is there, \
         and run again."
    } else {
        OTHER_FILE
    }
}

fn is_quota(status: &Status) -> bool {
    status.code == 403 && status.message.contains("exceeded quota")
}

/// Returns what the cluster says, with fields that its message does not name.
fn said(status: &Status) -> String {
    let mut said = match status.message.as_str() {
        "" => status.reason.clone(),
        message => message.to_owned(),
    };
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        let named = said.contains(&cause.field) && said.contains(&cause.message);
        if !named {
            said.push_str(&format!("; {}: {}", cause.field, cause.message));
        }
    }
    said
}

/// Returns in which fields something is wrong, and nothing of what stands there.
fn without_values(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<&str> = causes.map(|cause| cause.field.as_str()).collect();
    let reason = match status.reason.as_str() {
        "" => format!("code {}", status.code),
        reason => reason.to_owned(),
    };
    let place = match fields.as_slice() {
        [] => String::new(),
        fields => format!(" at {}", fields.join(", ")),
    };
    format!("{reason}{place} (its words may hold values, and are not shown)")
}

fn conflict(action: &str, service: Option<&str>, status: &Status) -> TargetError {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<String> = causes
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    let what = format!(
        "cannot {action}: somebody else manages what would be changed ({}); nothing was taken over",
        if fields.is_empty() {
            status.message.clone()
        } else {
            fields.join("; ")
        }
    );
    let next = "Take these fields back from who manages them (`kubectl get --show-managed-fields`), \
                and run again.";
    failed(code::CONFLICT, service, what, next)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// Returns what it means that an object is refused which no manifest of the user states.
    fn of_made(object: &str, status: &Status, hides: bool) -> TargetError {
        let manifest = Manifest {
            name: "api-1".to_owned(),
            text: String::new(),
            value: Value::Null,
        };
        let tried = Tried {
            manifest: &manifest,
            hides,
            origin: None,
        };
        of_object(object, Some("api"), status, tried)
    }

    fn status(code: u16, reason: &str, message: &str, causes: Value) -> Status {
        let details = json!({ "causes": causes });
        let whole =
            json!({ "code": code, "reason": reason, "message": message, "details": details });
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_refused_object_is_told_with_its_fields_and_what_mends_it() {
        let replicas = "Invalid value: -1: must be greater than or equal to 0";
        let causes = json!([{ "field": "spec.replicas", "message": replicas }]);
        let short = status(422, "Invalid", "it is invalid", causes.clone());
        let refused = of_made("the deployment api-1", &short, false);
        assert_eq!(refused.code, code::NOT_ADMITTED);
        assert_eq!(
            refused.what,
            format!(
                "the cluster refuses the deployment api-1 as this run would apply it: it is invalid; \
                 spec.replicas: {replicas}; nothing was changed"
            )
        );
        let whole = format!("Deployment.apps \"api-1\" is invalid: spec.replicas: {replicas}");
        let refused = of_made("it", &status(422, "Invalid", &whole, causes), false);
        assert_eq!(refused.what.matches("spec.replicas").count(), 1);
        for (code, message, next) in [
            (
                422,
                "spec.selector: Invalid value: field is immutable",
                "another release",
            ),
            (
                403,
                "services \"api\" is forbidden: exceeded quota: few",
                "larger quota",
            ),
            (
                403,
                "admission webhook \"w\" denied the request: no",
                "admission policies",
            ),
            (
                403,
                "User \"u\" cannot patch resource \"services\"",
                "roles",
            ),
            (
                500,
                "failed to create typed patch object: .x: field not declared",
                "Mend",
            ),
        ] {
            let status = status(code, "", message, json!([]));
            assert!(is_of_object(&status), "{message}");
            let refused = of_made("it", &status, false);
            assert!(refused.next.contains(next), "{message}: {}", refused.next);
        }
    }

    #[test]
    fn what_is_said_of_hidden_values_is_not_repeated() {
        let causes = json!([{ "field": "data[key]", "message": "Invalid value: \"k3y\"" }]);
        let status = status(422, "Invalid", "data[key]: Invalid value: \"k3y\"", causes);
        let refused = of_made("the secret api-1", &status, true);
        assert!(!refused.what.contains("k3y"), "{}", refused.what);
        assert!(
            refused.what.contains("Invalid at data[key]"),
            "{}",
            refused.what
        );
    }

    #[test]
    fn a_server_that_wants_to_be_asked_later_has_not_answered() {
        let fails = |code: u16, details: Value| {
            let status = json!({ "code": code, "message": "later", "details": details });
            let status: Status = serde_json::from_value(status).unwrap();
            is_silence(&kube::Error::Api(Box::new(status)))
        };
        assert!(fails(429, json!({})));
        assert!(fails(500, json!({ "retryAfterSeconds": 1 })));
        assert!(!fails(500, json!({})));
        assert!(!fails(409, json!({ "retryAfterSeconds": 1 })));
    }

    #[test]
    fn a_server_that_fails_and_a_webhook_that_is_not_asked_are_no_refusals() {
        let failing = status(
            500,
            "InternalError",
            "failed calling webhook \"w\"",
            json!([]),
        );
        assert!(!is_of_object(&failing));
        let message = "admission webhook \"w\" does not support dry run";
        assert!(is_unjudged(&status(400, "BadRequest", message, json!([]))));
    }
}
