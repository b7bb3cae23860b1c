//! What a stream of requests sends, in words: whoever reads its figures is to know what was measured.

use code_deploy_record::{Column, Report};

use crate::spec::{LoadProfile, LoadRequest};

/// Says what is sent where, how often, what counts as failed, and what of it may change data.
pub(crate) fn description(profile: &LoadProfile, url: Option<&str>) -> Report {
    let all: u32 = profile.requests.iter().map(|kind| kind.weight).sum();
    let share = |weight: u32| f64::from(weight) * 100.0 / f64::from(all.max(1));
    let writes = profile.requests.iter().filter(|kind| may_change(kind));
    let written: u32 = writes.map(|kind| kind.weight).sum();
    let data = match written {
        0 => "None has a method that changes data.".to_owned(),
        written => format!(
            "{:.1} % have a method that may change data: what the service stores for them stays in its databases \
             after the run.",
            share(written)
        ),
    };
    let url = url.map_or_else(String::new, |url| format!(" at {url}"));
    let text = format!(
        "{} requests a second to service {}{url}, each at its own time, whatever became of those before it. One \
         counts as failed when there is no whole answer within {}, or its status is 400 or above. {data}",
        profile.rate, profile.service, profile.timeout
    );
    let columns = vec![
        Column::text("Method"),
        Column::text("Path"),
        Column::number("Share (%)"),
        Column::text("Body"),
    ];
    let sent = profile.requests.iter().filter(|kind| kind.weight > 0);
    let rows = sent.map(|kind| {
        let body = match &kind.body {
            Some(body) => format!("{} bytes", body.len()),
            None => "none".to_owned(),
        };
        let share = format!("{:.1}", share(kind.weight));
        vec![kind.method.clone(), without_values(&kind.path), share, body]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let filled = rows.iter().flatten().any(|entry| is_filled(entry));
    let caption = "Kinds of requests, mixed evenly over time in these shares";
    let report = Report::new()
        .with_text(text)
        .with_table(caption, columns, rows);
    match filled {
        true => report.with_text(
            "In a path, `{n}` stands for a number that grows with each request, and `{uuid}` for a new UUID.",
        ),
        false => report,
    }
}

/// Returns whether a text has a place that each request fills anew.
fn is_filled(text: &str) -> bool {
    text.contains("{n}") || text.contains("{uuid}")
}

/// Returns a path with the names of its query alone: a value there may be a key.
fn without_values(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let names = query.split('&').map(|pair| match pair.split_once('=') {
        Some((_, "{n}" | "{uuid}")) => pair.to_owned(),
        Some((name, _)) => format!("{name}=..."),
        None => "...".to_owned(),
    });
    format!("{path}?{}", names.collect::<Vec<_>>().join("&"))
}

/// Returns whether a request's method is none of those that only read (RFC 9110, 9.2.1).
fn may_change(kind: &LoadRequest) -> bool {
    !matches!(kind.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_what_may_change_data_and_no_header_body_or_value_of_a_query() {
        let kinds = json!([
            { "path": "/page?key=abc&flag&id={n}", "weight": 300, "headers": { "x-token": "abc" } },
            { "path": "/buy", "method": "POST", "body": "abc", "weight": 1 },
            { "path": "/never", "weight": 0 },
        ]);
        let profile = json!({ "service": "shop", "rate": 10, "requests": kinds });
        let profile: LoadProfile = serde_json::from_value(profile).unwrap();
        let text =
            serde_json::to_string(&description(&profile, Some("http://127.0.0.1:1"))).unwrap();
        for part in [
            "10 requests a second to service shop at http://127.0.0.1:1",
            "0.3 % have a method that may change data",
            "/page?key=...&...&id={n}",
            "99.7",
            "3 bytes",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("abc") && !text.contains("/never"), "{text}");
    }

    #[test]
    fn what_stands_for_a_value_is_explained_only_where_a_path_has_it() {
        let told = |path: &str| {
            let kinds = json!([{ "path": path, "method": "POST", "body": "{n}" }]);
            let profile = json!({ "service": "shop", "rate": 10, "requests": kinds });
            let profile: LoadProfile = serde_json::from_value(profile).unwrap();
            serde_json::to_string(&description(&profile, None)).unwrap()
        };
        assert_eq!(told("/page/{n}").matches("stands for a number").count(), 1);
        assert!(!told("/page").contains("stands for a number"));
    }
}
