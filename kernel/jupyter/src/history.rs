//! What was run, for the arrow keys of consoles.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

/// Inputs that are remembered; older ones are forgotten.
const LIMIT: usize = 10_000;
/// The number of this session: the history lives as long as the kernel.
const SESSION: i64 = 1;

/// Spec: <https://jupyter-client.readthedocs.io/en/latest/messaging.html#history>.
#[derive(Debug, Deserialize)]
#[serde(tag = "hist_access_type", rename_all = "lowercase")]
pub(crate) enum HistoryRequest {
    Range {
        #[serde(default)]
        session: i64,
        #[serde(default)]
        start: i64,
        stop: Option<i64>,
        #[serde(default)]
        output: bool,
    },
    Tail {
        #[serde(default)]
        n: Option<usize>,
        #[serde(default)]
        output: bool,
    },
    Search {
        #[serde(default)]
        pattern: Option<String>,
        #[serde(default)]
        n: Option<usize>,
        #[serde(default)]
        unique: bool,
        #[serde(default)]
        output: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<(u64, String)>,
}

impl History {
    pub(crate) fn add(&mut self, line: u64, input: &str) {
        if self.entries.len() == LIMIT {
            self.entries.pop_front();
        }
        self.entries.push_back((line, input.to_owned()));
    }

    /// Returns the entries asked for as `(session, line, input)`, oldest first; with outputs wanted the
    /// input is paired with null, because outputs are not remembered.
    pub(crate) fn find(&self, request: &HistoryRequest) -> Value {
        let all = self.entries.iter();
        let (entries, output): (Vec<_>, bool) = match request {
            HistoryRequest::Range {
                session,
                start,
                stop,
                output,
            } => {
                // 0 is this session, negative numbers are the ones before it.
                let here = *session == 0 || *session == SESSION;
                let (start, stop) = (*start, stop.unwrap_or(i64::MAX));
                let within = |line: u64| (start..stop).contains(&line.cast_signed());
                (
                    all.filter(|entry| here && within(entry.0)).collect(),
                    *output,
                )
            }
            HistoryRequest::Tail { n, output } => (last(all.collect(), *n), *output),
            HistoryRequest::Search {
                pattern,
                n,
                unique,
                output,
            } => {
                let pattern: Vec<char> = pattern.as_deref().unwrap_or("*").chars().collect();
                let mut found: Vec<_> = all.filter(|entry| glob(&pattern, &entry.1)).collect();
                if *unique {
                    found = newest_of_each(found);
                }
                (last(found, *n), *output)
            }
        };
        let entry = |(line, input): &(u64, String)| {
            if output {
                json!([SESSION, line, [input, Value::Null]])
            } else {
                json!([SESSION, line, input])
            }
        };
        entries.into_iter().map(entry).collect()
    }
}

fn last<T>(mut entries: Vec<T>, n: Option<usize>) -> Vec<T> {
    let skipped = entries.len().saturating_sub(n.unwrap_or(usize::MAX));
    entries.split_off(skipped)
}

fn newest_of_each(entries: Vec<&(u64, String)>) -> Vec<&(u64, String)> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<_> = entries
        .into_iter()
        .rev()
        .filter(|entry| seen.insert(entry.1.as_str()))
        .collect();
    kept.reverse();
    kept
}

/// Matches `*` and `?`, in time linear in pattern times text.
fn glob(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || text.get(t) == Some(&c) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else {
                    return false;
                };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn history() -> History {
        let mut history = History::default();
        for (line, input) in [(1, "1+2"), (2, "%status"), (3, "1+3"), (4, "1+2")] {
            history.add(line, input);
        }
        history
    }

    fn find(request: Value) -> Value {
        history().find(&serde_json::from_value(request).unwrap())
    }

    #[test]
    fn tail_returns_the_last_inputs_oldest_first() {
        let found = find(json!({"hist_access_type": "tail", "n": 2, "output": false, "raw": true}));
        assert_eq!(found, json!([[1, 3, "1+3"], [1, 4, "1+2"]]));
    }

    #[test]
    fn range_excludes_its_end() {
        let found = find(json!({
            "hist_access_type": "range", "session": 0, "start": 1, "stop": 3, "output": true,
        }));
        assert_eq!(
            found,
            json!([[1, 1, ["1+2", null]], [1, 2, ["%status", null]]])
        );
    }

    #[test]
    fn search_matches_wildcards_and_can_keep_the_newest_of_equal_inputs() {
        let found = find(json!({"hist_access_type": "search", "pattern": "1?2*", "unique": true}));
        assert_eq!(found, json!([[1, 4, "1+2"]]));
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let mut history = History::default();
        (0..=LIMIT as u64).for_each(|line| history.add(line, "x"));
        assert_eq!(history.entries.len(), LIMIT);
        assert_eq!(history.entries[0].0, 1);
    }
}
