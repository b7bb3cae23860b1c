//! Reading what was written meanwhile: samples and logs. All of it blocks and runs on a thread of
//! its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use code_deploy_record::{SampleReader, Source};

use crate::Context;
use crate::section::defect;
use crate::step::StepError;

/// The longest log line that is looked at, in bytes; the rest of a longer one is not held.
const LONGEST_LINE: usize = 64 * 1024;

/// How many lines that hold a text are kept; a few requests write a few lines each.
const MOST_MATCHING: usize = 1000;

/// Requests and probes of one service's release over the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    pub routed: u64,
    pub probed: u64,
    pub seconds: u64,
}

/// Sums up what the samples hold of the deployed release, by service.
pub(super) async fn coverage(context: &Context) -> Result<BTreeMap<String, Coverage>, StepError> {
    let (folder, release) = (context.run.samples_path(), context.to.to_string());
    blocking("reading the samples", move || {
        let mut services: BTreeMap<String, Coverage> = BTreeMap::new();
        for sample in SampleReader::open_folder(&folder, "")? {
            let sample = sample?;
            if sample.release != release {
                continue;
            }
            let coverage = services.entry(sample.service).or_default();
            match sample.source {
                Source::Router | Source::Instance => coverage.routed += sample.count,
                Source::Probe => coverage.probed += sample.count,
                _ => continue,
            }
            coverage.seconds += 1;
        }
        Ok(services)
    })
    .await
}

/// What a log file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogFacts {
    /// Lines with a line end.
    pub lines: u64,
    /// The lines that are JSON objects.
    pub json: u64,
    /// The JSON lines that have a trace identifier.
    pub traced: u64,
    /// Bytes read, line ends included.
    pub bytes: u64,
    /// The file's length before it was read.
    pub length: u64,
    /// How many lines hold each of the texts that were looked for.
    pub found: BTreeMap<String, u64>,
    /// The first lines that hold one of them.
    pub matching: Vec<String>,
}

/// Reads a log to its end and looks for texts.
pub(super) async fn log(path: PathBuf, texts: Vec<String>) -> Result<LogFacts, StepError> {
    let read = blocking("reading a log", move || {
        let io = |error| code_deploy_record::Error::io("read", &path)(error);
        let file = std::fs::File::open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::new(file);
        let mut facts = LogFacts {
            length,
            ..LogFacts::default()
        };
        facts.found = texts.into_iter().map(|text| (text, 0)).collect();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(io)?;
            facts.bytes += read as u64;
            if line.last() != Some(&b'\n') {
                return Ok(facts);
            }
            line.truncate(LONGEST_LINE);
            facts.count(&String::from_utf8_lossy(&line));
        }
    });
    read.await
}

impl LogFacts {
    fn count(&mut self, line: &str) {
        self.lines += 1;
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line) {
            self.json += 1;
            self.traced += u64::from(object.contains_key("trace_id"));
        }
        let mut holds = false;
        for (text, count) in &mut self.found {
            let found = line.contains(text.as_str());
            *count += u64::from(found);
            holds |= found;
        }
        if holds && self.matching.len() < MOST_MATCHING {
            self.matching.push(line.to_owned());
        }
    }
}

async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, code_deploy_record::Error> + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| defect(format!("{what} was cut off: {error}")))??)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use super::*;

    #[tokio::test]
    async fn lines_json_and_texts_are_counted_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = "{\"trace_id\":\"ab\",\"m\":\"marker-1\"}\nplain marker-1\n{\"m\":1}\ntorn";
        std::fs::write(&path, text).unwrap();
        let facts = log(path, vec!["marker-1".to_owned(), "none".to_owned()])
            .await
            .unwrap();
        assert_eq!((facts.lines, facts.json, facts.traced), (3, 2, 1));
        assert_eq!(
            (facts.bytes, facts.length),
            (text.len() as u64, text.len() as u64)
        );
        assert_eq!((facts.found["marker-1"], facts.found["none"]), (2, 0));
    }
}
