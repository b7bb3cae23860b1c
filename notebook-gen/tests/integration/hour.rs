//! The figures that the project promises for a record of one hour, to be run alone and in release.

use std::time::Instant;

use code_deploy_notebook_gen::executed;

use crate::keep;
use code_deploy_synthetic::{self as synthetic, Story};

#[test]
#[ignore = "measures; run alone: cargo test --release -p code-deploy-notebook-gen hour -- --ignored --nocapture"]
fn eighteen_notebooks_of_an_hour_with_three_services() {
    let project = crate::folder();
    let begin = synthetic::start();
    let run = synthetic::run_of(project.path(), "hour", Story::Succeeded, 3600.0, begin);
    let before = peak_kib();
    let clock = Instant::now();
    let pages = executed(&run, &[]).unwrap();
    let took = clock.elapsed();
    let bytes: usize = pages.iter().map(|page| page.text.len()).sum();
    let largest = pages.iter().map(|page| page.text.len()).max().unwrap();
    keep(&pages, "Hour");
    eprintln!(
        "18 notebooks in {took:?}; {bytes} bytes in all, the largest {largest}; peak memory {} KiB \
         before, {} KiB after",
        before,
        peak_kib()
    );
    assert!(bytes < 8_000_000);
    assert!(largest < 300_000);
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
