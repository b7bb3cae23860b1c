//! A long life of one kernel: what it costs after many cells, beside what it cost after some.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use code_deploy_wire::{Client, Interrupts, Kernel, Spec};
use serde_json::json;

use crate::error::Error;
use crate::recorded::open_run;

const NAME: &str = "code-deploy";
/// After so many cells memory is looked at for the first time.
const SETTLED: usize = 500;
/// How much more than that the end may have.
const ALLOWED: f64 = 1.1;
const MIB: f64 = 1024.0 * 1024.0;

/// The kinds of cells, in turn. Each is harmless in a folder with a run that nobody works on.
const KINDS: [&str; 10] = [
    "// nothing",
    "%status?",
    "%status",
    "%nosuch",
    "%record --nosuch",
    "%doctor",
    "%chart latency",
    "%code-deploy --help",
    "%plan",
    "",
];

/// Every so many cells one waits and is stopped.
const STOPPED_EVERY: usize = 50;
/// Every so many cells another client comes, opens a subshell, and goes.
const VISITED_EVERY: usize = 100;

/// What a long life cost.
#[derive(Debug)]
pub struct Life {
    /// How many cells there were.
    pub cells: usize,
    /// What came of them, by kind, and how often.
    pub outcomes: BTreeMap<String, usize>,
    /// Resident memory of the kernel after 500 cells, in bytes.
    pub settled: u64,
    /// The same at the end.
    pub end: u64,
    /// The same with all descendants.
    pub all: u64,
    taken: Duration,
}

impl Life {
    /// Returns whether memory at the end is within a tenth of that after 500 cells.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.end as f64 <= self.settled as f64 * ALLOWED
    }
}

/// Runs so many cells in one kernel; every `rust_every`th is Rust, none when that is 0.
///
/// # Errors
/// When the kernel does not start, or does not answer a cell.
pub fn live(program: &Path, cells: usize, rust_every: usize) -> Result<Life, Error> {
    let failed = |source| Error::Kernel {
        peer: NAME.to_owned(),
        figure: "a long life".to_owned(),
        source,
    };
    let spec = Spec::program(NAME, program, &["kernel", "launch"], Interrupts::Message);
    let mut kernel = Kernel::start(&spec).map_err(failed)?;
    open_run(&kernel.folder()).map_err(|error| Error::Unexpected {
        peer: NAME.to_owned(),
        what: format!("no run could be laid out: {error}"),
    })?;
    let mut client = kernel.client().map_err(failed)?;
    let (mut outcomes, mut settled) = (BTreeMap::new(), 0);
    let began = Instant::now();
    for number in 0..cells {
        if number == SETTLED {
            settled = kernel.memory();
        }
        let is_due = |every: usize| every > 0 && number % every == every - 1;
        let outcome = if is_due(VISITED_EVERY) {
            visit(&mut kernel)
        } else if is_due(STOPPED_EVERY) {
            stop(&kernel, &mut client)
        } else if is_due(rust_every) {
            let code = format!("println!(\"{{}}\", {number} + 1);");
            client
                .run(&code)
                .map(|ran| format!("Rust: {}", ran.reply["status"]))
        } else {
            ask(&mut client, number)
        };
        *outcomes.entry(outcome.map_err(failed)?).or_default() += 1;
    }
    let (end, all) = (kernel.memory(), kernel.memory_of_all());
    Ok(Life {
        cells,
        outcomes,
        settled,
        end,
        all,
        taken: began.elapsed(),
    })
}

/// Another client comes, asks in a subshell where the run stands, and goes.
fn visit(kernel: &mut Kernel) -> Result<String, code_deploy_wire::Error> {
    let mut visitor = kernel.client()?;
    let opened = visitor.move_to_subshell()?;
    let ran = visitor.run("%status")?;
    let deleted = visitor.control("delete_subshell_request", &json!({"subshell_id": opened}))?;
    let (ran, deleted) = (&ran.reply["status"], &deleted["status"]);
    Ok(format!("in a subshell: {ran}, deleted: {deleted}"))
}

/// A command that watches is stopped once it has shown something.
fn stop(kernel: &Kernel, client: &mut Client) -> Result<String, code_deploy_wire::Error> {
    let cell = client.send_cell("%status --watch")?;
    client.shown(&cell)?;
    kernel.interrupt(client)?;
    let ran = client.ran(&cell)?;
    Ok(format!("stopped: {}", ran.reply["ename"]))
}

/// Runs a cell, or asks what a page asks between cells.
fn ask(client: &mut Client, number: usize) -> Result<String, code_deploy_wire::Error> {
    let code = KINDS[number % KINDS.len()];
    let ran = client.run(code)?;
    if number.is_multiple_of(7) {
        let completion = json!({"code": "%pre", "cursor_pos": 4});
        let id = client.send(
            code_deploy_wire::Channel::Shell,
            "complete_request",
            &completion,
        )?;
        client.ran(&id)?;
    }
    let shown: Vec<&str> = ran.counts.keys().map(String::as_str).collect();
    let shown = shown
        .into_iter()
        .filter(|kind| !["status", "execute_input"].contains(kind));
    let shown = shown.collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{code:?}: {} {shown}",
        ran.reply["status"].as_str().unwrap_or_default()
    ))
}

impl fmt::Display for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} cells in {:.1} s",
            self.cells,
            self.taken.as_secs_f64()
        )?;
        for (outcome, times) in &self.outcomes {
            writeln!(out, "  {times:>5} x {outcome}")?;
        }
        let (settled, end) = (self.settled as f64 / MIB, self.end as f64 / MIB);
        writeln!(out, "memory after {SETTLED} cells   {settled:8.2} MiB")?;
        writeln!(out, "memory at the end      {end:8.2} MiB")?;
        writeln!(
            out,
            "the same with children {:8.2} MiB",
            self.all as f64 / MIB
        )?;
        let reached = if end <= settled * ALLOWED {
            "yes"
        } else {
            "NO"
        };
        write!(
            out,
            "ratio {:.3}, goal <= {ALLOWED}: {reached}",
            end / settled
        )
    }
}
