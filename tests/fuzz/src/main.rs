//! Attacks a kernel with hostile bytes for some minutes: `code-deploy-fuzz --minutes 10`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use code_deploy_fuzz::{Plan, run};
use code_deploy_wire::{Interrupts, Spec};

/// Attacks a real kernel process on its five ports. The same seed does the same.
#[derive(Debug, Parser)]
#[command(name = "code-deploy-fuzz")]
struct Line {
    /// How long; without, until the cases are done.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many cases at most.
    #[arg(long, default_value_t = u64::MAX)]
    cases: u64,
    /// What all cases follow from; a new one each time, and printed, when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of the first case.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The most resident memory the kernel may have, in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u64,
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// The kernel is a program that takes nothing but the connection file.
    #[arg(long)]
    bare: bool,
}

fn main() -> ExitCode {
    let line = Line::parse();
    let plan = Plan {
        seed: line.seed.unwrap_or_else(new_seed),
        from: line.from,
        cases: line.cases,
        time: line
            .minutes
            .map(|minutes| Duration::from_secs(minutes * 60)),
        memory: line.memory * 1024 * 1024,
    };
    let words: &[&str] = if line.bare {
        &[]
    } else {
        &["kernel", "launch"]
    };
    let kernel = line.kernel.canonicalize().unwrap_or(line.kernel);
    let spec = Spec::program("kernel", &kernel, words, Interrupts::Message);
    say(&format!("seed {}", plan.seed));
    let mut next = 0;
    let outcome = run(&spec, &plan, |cases, memory| {
        if cases >= next {
            say(&format!(
                "{cases} cases, at most {} MiB",
                memory / 1024 / 1024
            ));
            next = cases + 1_000;
        }
    });
    match outcome {
        Ok(outcome) => {
            say(&format!(
                "{} cases, at most {} MiB",
                outcome.cases,
                outcome.memory / 1024 / 1024
            ));
            let Some(fault) = outcome.fault else {
                return ExitCode::SUCCESS;
            };
            say(&fault.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("nothing was attacked: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Nobody there to read it is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a run without a seed is to differ from the last one; its seed is printed"
)]
fn new_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() ^ u64::from(now.subsec_nanos()))
}
