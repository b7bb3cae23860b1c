//! Large deployments.

use std::sync::Arc;
use std::time::Instant;

use code_deploy_engine::Purpose;
use code_deploy_engine::plan::{Found, Inputs, Plan};
use code_deploy_engine::spec::StrategyKind;
use code_deploy_record::RunOutcome;
use code_deploy_simulation::chance::Dice;
use code_deploy_simulation::faults::Storm;
use code_deploy_simulation::process::Start;
use code_deploy_simulation::run::Stage;
use code_deploy_simulation::scene::{NEW, OLD, Scene};

use super::journal::reached;
use code_deploy_benches::Error;

/// Services of the large plan.
const SERVICES: usize = 1_000;

/// Endpoints of each.
const ENDPOINTS: u32 = 10;

fn scene(services: usize) -> Scene {
    let mut scene = Scene::plain(StrategyKind::Canary);
    scene.services = (0..services)
        .map(|n| (format!("service-{n:04}"), 2))
        .collect();
    // One chain of a thousand needs would be no application.
    scene.chained = false;
    scene
}

/// Makes the whole plan of a large application.
pub fn plan() -> Result<String, Error> {
    let spec = Arc::new(scene(SERVICES).spec());
    let mut found = Found::declared(&spec);
    for component in &mut found.components {
        component.endpoints = Some(ENDPOINTS);
    }
    let release = |text: &str| {
        text.parse()
            .map_err(|_| Error::Answer("a release has no name".to_owned()))
    };
    let inputs = Inputs {
        spec,
        inventory: Arc::new(found),
        from: Some(release(OLD)?),
        to: release(NEW)?,
        initial: false,
        reverts: None,
    };
    let began = Instant::now();
    let plan = Plan::make(&inputs).map_err(|error| Error::Answer(error.to_string()))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "plan: {} steps for {SERVICES} services and {} endpoints in {seconds:.3} s (goal: under 1 s): {}\n",
        plan.steps.len(),
        SERVICES as u32 * ENDPOINTS,
        reached(seconds < 1.0)
    ))
}

/// Carries out whole runs of more and more services in simulation; what they take beside each
/// other shows how the engine's own time grows.
pub fn growth(largest: usize) -> Result<String, Error> {
    let mut text =
        "run in simulation, engine's own time (goal: no faster than n log n):\n".to_owned();
    let mut first: Option<f64> = None;
    let mut services = 8;
    while services <= largest {
        let (seconds, simulated) = run(services)?;
        let n = services as f64;
        let each = seconds / (n * n.log2());
        let first = *first.get_or_insert(each);
        text.push_str(&format!(
            "  {services:>5} services, {simulated:>6.1} s simulated: {seconds:>7.3} s   {:>8.3} us per n log n   \
             {:.2} of the first\n",
            each * 1e6,
            each / first
        ));
        services *= 2;
    }
    Ok(text)
}

/// Carries a run out; returns how many seconds that took here, and in the simulated world.
fn run(services: usize) -> Result<(f64, f64), Error> {
    let mut stage = Stage::new(scene(services), Storm::calm(), Dice::new(1), None);
    let began = Instant::now();
    stage.carry_out(Start {
        purpose: Purpose::Deploy,
        same_plan: true,
        version: "0.1.0",
        sabotage: None,
    });
    let seconds = began.elapsed().as_secs_f64();
    let events = stage.events().unwrap_or_default();
    let outcome = code_deploy_simulation::check::outcome(&events);
    let ends = events.first().zip(events.last());
    let simulated = ends.map_or(0.0, |(first, last)| {
        (last.time - first.time).as_seconds_f64()
    });
    match outcome {
        Some((RunOutcome::Succeeded, _)) => Ok((seconds, simulated)),
        other => Err(Error::Answer(format!(
            "a run of {services} services ended as {other:?}"
        ))),
    }
}
