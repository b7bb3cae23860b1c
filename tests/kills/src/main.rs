//! Kills processes of deployments for some rounds: `code-deploy-kills --rounds 100`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use code_deploy_kills::{Plan, Round, Victim, run};

/// How soon a router that was killed has to answer again.
const ROUTER_BACK: Duration = Duration::from_secs(2);

/// Deploys the shop under a client and kills processes at instants that follow from a seed.
#[derive(Debug, Parser)]
#[command(name = "code-deploy-kills")]
struct Line {
    /// How many rounds.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// What everything follows from; a new one each time, and printed, when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of the first round.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    program: PathBuf,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let line = Line::parse();
    let plan = Plan {
        seed: line.seed.unwrap_or_else(new_seed),
        from: line.from,
        rounds: line.rounds,
        victims: Victim::ALL.to_vec(),
    };
    say(&format!("seed {}", plan.seed));
    match run(&line.program, &plan, |round| say(&told(round))).await {
        Ok(rounds) => summary(&rounds),
        Err(error) => {
            say(&format!("the rounds broke off: {}", with_sources(&error)));
            ExitCode::from(2)
        }
    }
}

fn told(round: &Round) -> String {
    let verdict = &round.verdict;
    let mut text = format!(
        "round {}: {} at line {}: {:?}, {} answered, {} cut, {:.1} s",
        round.number,
        round.victim.word(),
        round.line,
        verdict.ending,
        round.answered,
        verdict.cut,
        round.took.as_secs_f64()
    );
    if let Some(back) = round.router_back {
        text.push_str(&format!(", router back after {} ms", back.as_millis()));
    }
    if let Some((asked, stopped)) = round.steered {
        text.push_str(&format!(
            ", rollback {} ms after it was asked for, {} ms after the step under way stopped",
            asked.as_millis(),
            stopped.as_millis()
        ));
    }
    for wrong in &verdict.wrong {
        text.push_str(&format!("\n  WRONG: {wrong}"));
    }
    if !verdict.wrong.is_empty() {
        text.push_str(&format!("\n  killed: {:?}\n{}", round.killed, round.said));
    }
    text
}

fn summary(rounds: &[Round]) -> ExitCode {
    let mut endings = BTreeMap::<String, usize>::new();
    for round in rounds {
        let ending = round.verdict.ending.map(|ending| format!("{ending:?}"));
        let key = format!(
            "{}, {}",
            round.victim.word(),
            ending.as_deref().unwrap_or("not at rest")
        );
        *endings.entry(key).or_default() += 1;
    }
    for (ending, count) in endings {
        say(&format!("{count:4} {ending}"));
    }
    let answered: u64 = rounds.iter().map(|round| round.answered).sum();
    let cut: usize = rounds.iter().map(|round| round.verdict.cut).sum();
    let wrong = rounds
        .iter()
        .filter(|round| !round.verdict.wrong.is_empty());
    let wrong = wrong.count();
    say(&format!(
        "{} rounds, {wrong} wrong; {answered} requests answered, {cut} cut in flight",
        rounds.len()
    ));
    if routers_are_back(rounds) && wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Says how soon the routers were back, and returns whether all were soon enough.
fn routers_are_back(rounds: &[Round]) -> bool {
    let killed = rounds
        .iter()
        .filter(|round| round.victim.is_a_router() && !round.killed.is_empty());
    let (mut back, mut gone) = (Vec::new(), 0);
    for round in killed {
        match round.router_back {
            Some(after) => back.push(after),
            None => gone += 1,
        }
    }
    let slowest = back.iter().max().copied().unwrap_or_default();
    let reached = gone == 0 && slowest <= ROUTER_BACK;
    say(&format!(
        "{} routers back, the slowest after {} ms; {gone} not back (goal: all within {} ms): {}",
        back.len(),
        slowest.as_millis(),
        ROUTER_BACK.as_millis(),
        if reached { "reached" } else { "NOT reached" }
    ));
    reached
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let source = error.source().map(with_sources);
    match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
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
