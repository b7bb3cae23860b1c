//! `simulation`: runs seeds for as long as is asked for, or one seed in words.
#![allow(clippy::print_stdout, reason = "a program that reports to a terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use code_deploy_simulation::{run, show};

/// Runs whole deployments in a simulated world, and checks what the engine promises.
#[derive(Debug, Parser)]
struct Arguments {
    /// Shows one seed in words, and nothing else.
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// Goes on for so many minutes instead.
    #[arg(long)]
    minutes: Option<u64>,
    /// Seeds that run side by side.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let report = run::seed(seed, None);
        print!("{}", show::report(&report));
        return ExitCode::from(u8::from(!report.violations.is_empty()));
    }
    let began = Instant::now();
    let limit = arguments
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let next = AtomicU64::new(arguments.from);
    let (ran, broken) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = match limit {
                        Some(limit) => began.elapsed() >= limit,
                        None => seed >= arguments.from + arguments.seeds,
                    };
                    if over {
                        return;
                    }
                    let report = run::seed(seed, None);
                    ran.fetch_add(1, Ordering::Relaxed);
                    if !report.violations.is_empty() {
                        broken.fetch_add(1, Ordering::Relaxed);
                        print!("{}", show::report(&report));
                    }
                }
            });
        }
    });
    let (ran, broken) = (ran.into_inner(), broken.into_inner());
    let seconds = began.elapsed().as_secs_f64();
    println!("{ran} seeds in {seconds:.1} s, {broken} with something that was not kept");
    ExitCode::from(u8::from(broken > 0))
}
