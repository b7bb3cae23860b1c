//! A run's record in the form that the crate for Rust cells reads (`kernel/cells-api`, `read`): a line for each
//! thing, written while the record is read, so that memory does not grow with it.

use std::io::Write;
use std::path::Path;

use code_deploy_notebook_gen::describe;
use code_deploy_record::{Event, RunFolder, RunState, Sample, SampleReader, Source};

use crate::failure::Failure;
use crate::machine::Machine;
use crate::project::Project;

/// The first line: what follows, and the version of its form.
const HEAD: &str = "code-deploy run 1";
const END: &str = "end";

/// Writes the run of that name, or the last one of the project.
///
/// # Errors
/// When there is no such run, or its record is damaged. A reader that goes away is no error.
pub fn write(
    run: Option<&str>,
    deployment_file: Option<&Path>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let machine = Machine::present()?;
    let project = Project::find(deployment_file, &machine.folder)?;
    let folder = project.run(run)?;
    let state = folder.state()?;
    let mut lines = Lines { out, gone: false };
    lines.write(&[HEAD]);
    write_run(&state, &mut lines);
    write_events(&folder, &mut lines)?;
    for sample in SampleReader::open_folder(&folder.samples_path(), "")? {
        write_sample(&sample?, &mut lines);
        if lines.gone {
            break;
        }
    }
    lines.write(&[END]);
    Ok(())
}

fn write_run(state: &RunState, lines: &mut Lines<'_, impl Write>) {
    let Some(started) = &state.started else {
        return;
    };
    let from = started.from.as_ref().map(ToString::to_string);
    let outcome = state.finished.as_ref().map(|(outcome, ..)| outcome.words());
    let since = state.since.map_or(0, |since| since.timestamp_millis());
    lines.write(&[
        "run",
        started.run.as_str(),
        &started.application,
        &started.environment,
        &started.target,
        &from.unwrap_or_default(),
        started.to.as_str(),
        outcome.unwrap_or_default(),
        &since.to_string(),
    ]);
}

fn write_events(folder: &RunFolder, lines: &mut Lines<'_, impl Write>) -> Result<(), Failure> {
    let mut state = RunState::default();
    for event in folder.events()? {
        let event = event?;
        let before = state.present_phase();
        // What does not follow from what came before is still what stands in the record.
        let _ = state.apply(&event);
        let phase = state.present_phase().or(before);
        write_event(&event, phase.map_or("", |phase| phase.verb()), lines);
        if lines.gone {
            break;
        }
    }
    Ok(())
}

fn write_event(event: &Event, phase: &str, lines: &mut Lines<'_, impl Write>) {
    let body = serde_json::to_value(&event.body).unwrap_or_default();
    let json = serde_json::to_string(event).unwrap_or_default();
    lines.write(&[
        "event",
        &event.seq.to_string(),
        &event.time.timestamp_millis().to_string(),
        body["kind"].as_str().unwrap_or_default(),
        phase,
        &describe(&event.body).1,
        &json,
    ]);
}

fn write_sample(sample: &Sample, lines: &mut Lines<'_, impl Write>) {
    // Memory and processor time are no requests.
    if sample.source == Source::Platform {
        return;
    }
    let latency = &sample.latency;
    let micros = |share| latency.quantile_us(share).unwrap_or(0).to_string();
    lines.write(&[
        "sample",
        &sample.second.saturating_mul(1000).to_string(),
        sample.source.word(),
        &sample.service,
        &sample.release,
        &sample.count.to_string(),
        &sample.failed().to_string(),
        &micros(0.5),
        &micros(0.9),
        &micros(0.99),
        &latency.max_us().unwrap_or(0).to_string(),
    ]);
}

struct Lines<'a, W> {
    out: &'a mut W,
    gone: bool,
}

impl<W: Write> Lines<'_, W> {
    fn write(&mut self, fields: &[&str]) {
        let fields: Vec<String> = fields.iter().map(|field| escaped(field)).collect();
        let written = writeln!(self.out, "{}", fields.join("\t"));
        self.gone |= written.is_err();
    }
}

fn escaped(field: &str) -> String {
    if !field.contains(['\\', '\t', '\n', '\r']) {
        return field.to_owned();
    }
    field
        .replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}
