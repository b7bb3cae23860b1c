//! A kernel that deploys: what a no-op cell in a subshell costs while a release is rolled out under load.

use std::path::Path;
use std::time::{Duration, Instant};

use code_deploy_benches::Error;
use code_deploy_wire::{Client, Interrupts, Kernel, Spec};
use serde_json::Value;

use crate::peer::OURS;
use crate::report::quantile;

/// What comes before the release: the demonstration with its first release, and the phases of the next one.
const BEFORE: [&str; 8] = [
    "%code-deploy dev local --demo --to 1.0.0 --yes",
    "%code-deploy dev local --to 1.1.0 --yes",
    "%inventory",
    "%plan",
    "%preflight",
    "%build",
    "%provision",
    "%migrate",
];
const RELEASE: &str = "%release";
const STOP: [&str; 2] = [
    "%rollback --reason bench",
    "%code-deploy dev local --demo --stop",
];
/// The longest that a release takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(600);
/// How often both kernels are asked between two looks at what is shown.
const PAIRS: usize = 4;
/// What a no-op cell may take at most in 99 of 100 cases.
const GOAL: f64 = 2.0;

/// Rolls a release out in the main shell, while an outside client sends requests as users do, and runs no-op cells in a
/// subshell until it is done; each is followed by one in a kernel that does nothing else, so that what the busy machine
/// costs is known.
pub fn busy(program: &Path) -> Result<String, Error> {
    let spec = Spec::program(OURS, program, &["kernel", "launch"], Interrupts::Message);
    let mut kernel = Kernel::start(&spec).map_err(failed)?;
    let mut idle_kernel = Kernel::start(&spec).map_err(failed)?;
    let mut idle = idle_kernel.client().map_err(failed)?;
    let mut deploying = kernel.client().map_err(failed)?;
    let mut beside = kernel.client().map_err(failed)?;
    beside.move_to_subshell().map_err(failed)?;
    let measured = roll_out(&mut deploying, &mut beside, &mut idle);
    for code in STOP {
        let cell = deploying.send_cell(code).map_err(failed)?;
        until_done(&mut deploying, &mut beside, &cell, |_| Ok(()))?;
    }
    let Measured {
        samples,
        floor,
        took,
    } = measured?;
    let reached = if quantile(&samples, 0.99) < GOAL {
        "yes"
    } else {
        "NO"
    };
    Ok(format!(
        "{} no-op cells in a subshell while `{RELEASE}` ran under load ({took:.0} s)\n\
         {}; goal p99 < {GOAL} ms: {reached}\n\
         as many in an idle kernel on the same busy machine: {}",
        samples.len(),
        told(&samples),
        told(&floor),
    ))
}

/// How long no-op cells took, in milliseconds, and the release meanwhile, in seconds.
struct Measured {
    samples: Vec<f64>,
    floor: Vec<f64>,
    took: f64,
}

fn roll_out(
    deploying: &mut Client,
    beside: &mut Client,
    idle: &mut Client,
) -> Result<Measured, Error> {
    for code in BEFORE {
        let cell = deploying.send_cell(code).map_err(failed)?;
        let reply = until_done(deploying, beside, &cell, |_| Ok(()))?;
        is_ok(code, &reply)?;
    }
    let cell = deploying.send_cell(RELEASE).map_err(failed)?;
    let (began, mut samples, mut floor) = (Instant::now(), Vec::new(), Vec::new());
    let reply = until_done(deploying, beside, &cell, |beside| {
        for pair in 0..PAIRS {
            // Who comes first finds the processors asleep.
            if pair % 2 == 0 {
                samples.push(noop(beside).map_err(failed)?);
                floor.push(noop(idle).map_err(failed)?);
            } else {
                floor.push(noop(idle).map_err(failed)?);
                samples.push(noop(beside).map_err(failed)?);
            }
        }
        Ok(())
    })?;
    is_ok(RELEASE, &reply)?;
    Ok(Measured {
        samples,
        floor,
        took: began.elapsed().as_secs_f64(),
    })
}

fn failed(source: code_deploy_wire::Error) -> Error {
    Error::Kernel {
        peer: OURS.to_owned(),
        figure: "a no-op beside a release".to_owned(),
        source,
    }
}

/// Reads along until a cell is done, as pages do, and does something between two looks; returns the cell's reply.
fn until_done(
    deploying: &mut Client,
    beside: &mut Client,
    cell: &str,
    mut meanwhile: impl FnMut(&mut Client) -> Result<(), Error>,
) -> Result<Value, Error> {
    let began = Instant::now();
    loop {
        for client in [&mut *deploying, &mut *beside] {
            read_along(client).map_err(failed)?;
        }
        meanwhile(beside)?;
        if let Some(reply) = deploying.reply_if_there(cell).map_err(failed)? {
            return Ok(reply);
        }
        if began.elapsed() > LIMIT {
            return Err(unexpected(format!("a cell was not done after {LIMIT:?}")));
        }
    }
}

fn is_ok(code: &str, reply: &Value) -> Result<(), Error> {
    if reply["status"] == "ok" {
        return Ok(());
    }
    Err(unexpected(format!("`{code}` ended so: {reply}")))
}

fn unexpected(what: String) -> Error {
    Error::Unexpected {
        peer: OURS.to_owned(),
        what,
    }
}

/// Takes what the kernel shows of the deployment, as a page does while nothing is asked, until nothing comes for one
/// tick of the socket.
fn read_along(client: &mut Client) -> Result<(), code_deploy_wire::Error> {
    loop {
        match client.output(Duration::ZERO) {
            Ok(_) => {}
            Err(code_deploy_wire::Error::TimedOut { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Returns how long a cell takes that does nothing, in milliseconds.
fn noop(client: &mut Client) -> Result<f64, code_deploy_wire::Error> {
    let asked = Instant::now();
    client.run("// nothing")?;
    Ok(asked.elapsed().as_secs_f64() * 1e3)
}

fn told(samples: &[f64]) -> String {
    let (median, p99) = (quantile(samples, 0.5), quantile(samples, 0.99));
    format!("median {median:.2} ms, p99 {p99:.2} ms")
}
