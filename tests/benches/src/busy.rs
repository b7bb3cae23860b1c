//! A kernel that deploys: what a no-op cell in a subshell costs meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use code_deploy_benches::Error;
use code_deploy_wire::{Client, Interrupts, Kernel, Spec};

use crate::peer::OURS;
use crate::report::quantile;

const DEMO: &str = "%code-deploy dev local --demo --yes";
const STOP: &str = "%code-deploy dev local --demo --stop";
/// The longest that a demonstration takes on a slow machine.
const DEMO_LIMIT: Duration = Duration::from_secs(600);
/// What a no-op cell may take at most in 99 of 100 cases.
const GOAL: f64 = 2.0;

/// Deploys the demonstration in the main shell and runs no-op cells in a subshell until it is done; each is
/// followed by one in a kernel that does nothing else, so that what the busy machine costs is known.
pub fn busy(program: &Path) -> Result<String, Error> {
    let failed = |source| Error::Kernel {
        peer: OURS.to_owned(),
        figure: "a no-op beside a deployment".to_owned(),
        source,
    };
    let spec = Spec::program(OURS, program, &["kernel", "launch"], Interrupts::Message);
    let mut kernel = Kernel::start(&spec).map_err(failed)?;
    let mut idle_kernel = Kernel::start(&spec).map_err(failed)?;
    let mut idle = idle_kernel.client().map_err(failed)?;
    let mut deploying = kernel.client().map_err(failed)?;
    let mut beside = kernel.client().map_err(failed)?;
    beside.move_to_subshell().map_err(failed)?;
    let cell = deploying.send_cell(DEMO).map_err(failed)?;
    let (began, mut samples, mut floor) = (Instant::now(), Vec::new(), Vec::new());
    let reply = loop {
        for client in [&mut deploying, &mut beside] {
            read_along(client).map_err(failed)?;
        }
        // Who comes first finds the processors asleep.
        if samples.len() % 2 == 0 {
            samples.push(noop(&mut beside).map_err(failed)?);
            floor.push(noop(&mut idle).map_err(failed)?);
        } else {
            floor.push(noop(&mut idle).map_err(failed)?);
            samples.push(noop(&mut beside).map_err(failed)?);
        }
        if let Some(reply) = deploying.reply_if_there(&cell).map_err(failed)? {
            break reply;
        }
        if began.elapsed() > DEMO_LIMIT {
            let what = format!("the demonstration was not done after {DEMO_LIMIT:?}");
            return Err(Error::Unexpected {
                peer: OURS.to_owned(),
                what,
            });
        }
    };
    let stopped = beside.run(STOP).map_err(failed)?;
    let reached = if quantile(&samples, 0.99) < GOAL {
        "yes"
    } else {
        "NO"
    };
    Ok(format!(
        "{} no-op cells in a subshell while the demonstration was deployed ({:.0} s, {}; stopped: {})\n\
         {}; goal p99 < {GOAL} ms: {reached}\n\
         as many in an idle kernel on the same busy machine: {}",
        samples.len(),
        began.elapsed().as_secs_f64(),
        reply["status"],
        stopped.reply["status"],
        told(&samples),
        told(&floor),
    ))
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
