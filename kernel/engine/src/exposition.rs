//! Metrics in the Prometheus text format.

use std::collections::BTreeMap;

/// More lines than this are not read: no endpoint of a service is that large.
const MOST_LINES: usize = 100_000;

/// What a metrics endpoint gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// The declared kinds: family -> `counter`, `gauge`, `histogram`, `summary`, `untyped`.
    pub kinds: BTreeMap<String, String>,
    /// The lines with a value, in their order.
    pub series: Vec<Series>,
}

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Exposition {
    /// Parses the text.
    ///
    /// # Errors
    /// The first line that is not of the format, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut exposition = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}", index + 1);
            if index >= MOST_LINES {
                return Err(wrong("there are more lines than are read"));
            }
            let line = line.trim();
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').ok_or_else(|| wrong("no type"))?;
                exposition
                    .kinds
                    .insert(name.to_owned(), kind.trim().to_owned());
            } else if !line.is_empty() && !line.starts_with('#') {
                exposition
                    .series
                    .push(series(line).map_err(|what| wrong(&what))?);
            }
        }
        Ok(exposition)
    }

    /// Returns the sum of all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.series
            .iter()
            .filter(|one| one.name == name)
            .map(|one| one.value)
            .sum()
    }

    /// Returns the first family of a kind whose name ends so.
    pub fn family(&self, kind: &str, end: &str) -> Option<&str> {
        let mut families = self.kinds.iter().filter(|(_, declared)| *declared == kind);
        families
            .find(|(name, _)| name.ends_with(end))
            .map(|(name, _)| name.as_str())
    }
}

fn series(line: &str) -> Result<Series, String> {
    let end = line.find(['{', ' ', '\t']).ok_or("there is no value")?;
    let (name, rest) = line.split_at(end);
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(valid) {
        return Err(format!("`{name}` is no name of a metric"));
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next().ok_or("there is no value")?;
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is no number"))?;
    Ok(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Parses `name="value",...}` and returns what follows the brace.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label has no value")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in after.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, c) => value.push(c),
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at + 1);
                    break;
                }
                (false, c) => value.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        labels.insert(name.trim().to_owned(), value);
        rest = after
            .get(end.ok_or("a label's value does not end")?..)
            .unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use super::*;

    const TEXT: &str = "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n\
        http_requests_total{route=\"/a\",status=\"200\"} 3\nhttp_requests_total{route=\"/b \\\"x\\\"\\\\\",status=\"500\"} 1 1700000000\n\
        # TYPE http_request_duration_seconds histogram\nhttp_request_duration_seconds_bucket{le=\"+Inf\"} 4\nup 1e0\n";

    #[test]
    fn names_labels_values_and_kinds_are_read() {
        let read = Exposition::parse(TEXT).unwrap();
        assert_eq!(read.series.len(), 4);
        assert!((read.sum("http_requests_total") - 4.0).abs() < f64::EPSILON);
        assert_eq!(read.series[1].labels["route"], "/b \"x\"\\");
        assert_eq!(
            read.family("histogram", "_seconds"),
            Some("http_request_duration_seconds")
        );
        assert_eq!(read.family("gauge", ""), None);
    }

    #[test]
    fn a_line_of_another_format_is_named() {
        for (text, part) in [
            ("ok 1\n<html>", "line 2"),
            ("name{a=\"b} 1", "does not end"),
            ("name one", "`one` is no number"),
            ("name", "no value"),
        ] {
            let error = Exposition::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
