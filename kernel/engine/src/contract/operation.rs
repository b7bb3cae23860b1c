//! Asking one operation, and comparing the answer with what is declared.

use code_deploy_record::Secret;
use serde_json::Value;

use super::document::{Document, Operation};
use super::{LIMIT, OperationResult};
use crate::http::{HttpClient, Request, Response};

pub(super) async fn ask(
    client: &HttpClient,
    document: &Document,
    operation: &Operation<'_>,
    base_url: &str,
    reach: &[(String, Secret)],
) -> OperationResult {
    let method = operation.method.to_uppercase();
    let mut result = OperationResult {
        operation: format!("{method} {}", operation.path),
        request: String::new(),
        status: None,
        passed: None,
        detail: String::new(),
    };
    let request = match request(document, operation, base_url) {
        Ok(request) => Request {
            method,
            secret_headers: reach.to_vec(),
            ..request
        },
        Err(reason) => {
            result.request = "not asked".to_owned();
            result.detail = reason;
            return result;
        }
    };
    let path = request.url.strip_prefix(base_url).unwrap_or(&request.url);
    result.request = format!("{} {path}", request.method);
    match client.send(&request).await {
        Err(error) => {
            result.passed = Some(false);
            result.detail = error.to_string();
        }
        Ok(answer) => {
            let compared = compare(document, operation, &answer);
            result.status = Some(answer.status.as_u16());
            result.passed = Some(compared.is_ok());
            result.detail = compared.unwrap_or_else(|wrong| wrong);
        }
    }
    result
}

fn request(document: &Document, operation: &Operation<'_>, base: &str) -> Result<Request, String> {
    let body = body(document, operation)?;
    let mut path = operation.path.to_owned();
    let (mut query, mut headers) = (Vec::new(), Vec::new());
    for parameter in &operation.parameters {
        let text = |name: &str| {
            parameter
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (name, place) = (text("name"), text("in"));
        let required = parameter
            .get("required")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let Some(value) = value_of(document, name, parameter) else {
            if required {
                return Err(format!(
                    "the document gives no example of the parameter `{name}`"
                ));
            }
            continue;
        };
        match place {
            "path" => path = path.replace(&format!("{{{name}}}"), &escaped(&value)),
            "query" => query.push(format!("{name}={}", escaped(&value))),
            "header" => headers.push((name.to_owned(), value)),
            _ if required => return Err(format!("`{name}` goes into a {place}")),
            _ => {}
        }
    }
    if let Some((media_type, _)) = &body {
        headers.push(("content-type".to_owned(), media_type.clone()));
    }
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{}", query.join("&"))
    };
    let mut request = Request::get(format!("{base}{path}{query}"), LIMIT);
    (request.headers, request.body) = (headers, body.map(|body| body.1).unwrap_or_default());
    Ok(request)
}

fn body(
    document: &Document,
    operation: &Operation<'_>,
) -> Result<Option<(String, Vec<u8>)>, String> {
    match operation.method {
        "get" => return Ok(None),
        "post" | "put" => {}
        other => {
            return Err(format!(
                "nothing says that {} is safe to ask",
                other.to_uppercase()
            ));
        }
    }
    let declared = operation
        .content
        .get("requestBody")
        .map(|body| document.resolved(body));
    let Some(content) = declared.and_then(|body| body.get("content")?.as_object()) else {
        return Err("the document gives no example of a body".to_owned());
    };
    let json = content.iter().find(|(media_type, _)| is_json(media_type));
    let (media_type, media) = json.ok_or("the body is no JSON")?;
    let example = document.example(media);
    let example = example.ok_or("the document gives no example of the body")?;
    Ok(Some((media_type.clone(), example.to_string().into_bytes())))
}

fn value_of(document: &Document, name: &str, parameter: &Value) -> Option<String> {
    // The same key for two requests means the same request, so each gets its own.
    if name.eq_ignore_ascii_case("idempotency-key") {
        return Some(crate::phases::look::fresh_id().to_string());
    }
    match document.example(parameter)? {
        Value::String(text) => Some(text),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        _ => None,
    }
}

fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}

fn compare(
    document: &Document,
    operation: &Operation<'_>,
    answer: &Response,
) -> Result<String, String> {
    let status = answer.status.as_u16();
    if answer.status.is_server_error() {
        return Err(format!("it answers {status}, an error of the server"));
    }
    let responses = operation.content.get("responses");
    let keys = [
        status.to_string(),
        format!("{}XX", status / 100),
        "default".to_owned(),
    ];
    let declared = keys.iter().find_map(|key| responses?.get(key));
    let declared = declared.ok_or_else(|| format!("status {status} is not declared"))?;
    let content = document
        .resolved(declared)
        .get("content")
        .and_then(Value::as_object);
    let Some(content) = content.filter(|content| !content.is_empty()) else {
        return Ok(format!("status {status} is declared, without a body"));
    };
    let sent = answer.header("content-type").unwrap_or("none");
    let essence = sent.split(';').next().unwrap_or_default().trim();
    let media = content.iter().find(|(media_type, _)| {
        let declared = media_type.split(';').next().unwrap_or_default().trim();
        declared == essence || declared == "*/*"
    });
    let (media_type, media) = media.ok_or_else(|| format!("media type {sent} is not declared"))?;
    let Some(schema) = media.get("schema").filter(|_| is_json(media_type)) else {
        return Ok(format!(
            "status {status} and media type {essence} are declared"
        ));
    };
    let json = answer.json().ok_or("the body is no JSON")?;
    let wrong = document.mismatches(schema, &json);
    match wrong.is_empty() {
        true => Ok(format!(
            "status {status} is declared, and the body fits its schema"
        )),
        false => Err(format!(
            "the body does not fit its schema: {}",
            wrong.join("; ")
        )),
    }
}
