//! What `code-deploy internal run-data` writes: a line for each thing, its first field naming what it is, fields
//! parted by tabs, with `\\`, `\t`, `\n` and `\r` inside them escaped; the last line is `end`.

use std::io::BufRead;

use crate::error::Error;
use crate::run::{Event, Run, Sample};

/// The first line.
const HEAD: &str = "code-deploy run 1";

pub(crate) fn read(mut lines: impl BufRead) -> Result<Run, Error> {
    let mut run = Run::default();
    let mut line = String::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let wrong = |reason: String| Error::Unreadable {
            line: number,
            reason,
        };
        let count = lines
            .read_line(&mut line)
            .map_err(|error| wrong(error.to_string()))?;
        let text = line.strip_suffix('\n').unwrap_or(&line);
        match (number, text) {
            (1, HEAD) => {}
            (1, other) => return Err(wrong(format!("it is `{other}` and not `{HEAD}`"))),
            (_, "end") => return Ok(run),
            _ if count == 0 => return Err(wrong("the end is missing".to_owned())),
            _ => add(&mut run, &mut Fields(text.split('\t'))).map_err(wrong)?,
        }
    }
}

fn add(run: &mut Run, fields: &mut Fields<'_>) -> Result<(), String> {
    match fields.text()?.as_str() {
        "run" => {
            run.id = fields.text()?;
            run.application = fields.text()?;
            run.environment = fields.text()?;
            run.target = fields.text()?;
            run.from = fields.some_text()?;
            run.to = fields.text()?;
            run.outcome = fields.some_text()?;
            run.started = fields.number()?;
        }
        "event" => run.events.push(Event {
            seq: fields.number()?,
            at: fields.number()?,
            kind: fields.text()?,
            phase: fields.text()?,
            text: fields.text()?,
            json: fields.text()?,
        }),
        "sample" => run.samples.push(Sample {
            at: fields.number()?,
            source: fields.text()?,
            service: fields.text()?,
            release: fields.text()?,
            requests: fields.number()?,
            failed: fields.number()?,
            p50_us: fields.number()?,
            p90_us: fields.number()?,
            p99_us: fields.number()?,
            max_us: fields.number()?,
        }),
        other => return Err(format!("`{other}` is not known")),
    }
    Ok(())
}

struct Fields<'a>(std::str::Split<'a, char>);

impl Fields<'_> {
    fn text(&mut self) -> Result<String, String> {
        let field = self.0.next().ok_or("a field is missing")?;
        Ok(unescaped(field))
    }

    fn some_text(&mut self) -> Result<Option<String>, String> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let field = self.text()?;
        let number = field.parse();
        number.map_err(|_| format!("`{field}` is not a number that can stand there"))
    }
}

fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut letters = field.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    const TOLD: &str = "code-deploy run 1\n\
        run\tid\tshop\tdev\tlocal\t\t1.1.0\tsucceeded\t1000\n\
        event\t7\t2000\tnoted\tbuild\ta\\tb\\nc\\\\n\t{}\n\
        sample\t3000\tclient\tstorefront\t1.1.0\t150\t1\t10\t20\t30\t40\n\
        end\n";

    #[test]
    fn a_run_is_read_with_its_events_and_samples() {
        let run = read(TOLD.as_bytes()).unwrap();
        assert_eq!((run.id.as_str(), run.from, run.started), ("id", None, 1000));
        assert_eq!(run.outcome.as_deref(), Some("succeeded"));
        assert_eq!(run.events[0].text, "a\tb\nc\\n");
        assert_eq!((run.samples[0].requests, run.samples[0].max_us), (150, 40));
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_an_error_that_names_the_line() {
        for (told, line) in [
            ("", 1),
            ("code-deploy run 2\n", 1),
            ("code-deploy run 1\nrun\tid\n", 2),
            ("code-deploy run 1\nbrand-new\n", 2),
            (&TOLD.replace("\t150\t", "\tmany\t"), 4),
            (TOLD.strip_suffix("end\n").unwrap(), 5),
        ] {
            let error = read(told.as_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::Unreadable { line: at, .. } if at == line),
                "{error}"
            );
        }
    }
}
