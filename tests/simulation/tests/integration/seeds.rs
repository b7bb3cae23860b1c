use code_deploy_simulation::{run, show};

/// Seeds of one test; there are ten tests, which run side by side.
const SEEDS: u64 = 1_000;

/// Runs the seeds of one part. A seed that fails is printed; `cargo run --release -p
/// code-deploy-simulation -- --seed SEED` shows it again.
#[track_caller]
fn part(number: u64) {
    let first = number * SEEDS;
    let mut ended = std::collections::BTreeMap::new();
    let mut broken = Vec::new();
    for seed in first..first + SEEDS {
        let report = run::seed(seed, None);
        let outcome = report.outcome.map_or("none", |outcome| outcome.words());
        *ended.entry(outcome).or_insert(0) += 1;
        if !report.violations.is_empty() {
            broken.push(show::report(&report));
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {SEEDS} seeds:\n{}",
        broken.len(),
        broken.join("\n")
    );
    // Seeds that all end alike would show little.
    for outcome in ["succeeded", "rolled back", "refused"] {
        let number = ended.get(outcome).copied().unwrap_or(0);
        assert!(number * 50 > SEEDS, "{ended:?}");
    }
}

#[test]
fn part_0_of_the_seeds_keeps_every_promise() {
    part(0);
}

#[test]
fn part_1_of_the_seeds_keeps_every_promise() {
    part(1);
}

#[test]
fn part_2_of_the_seeds_keeps_every_promise() {
    part(2);
}

#[test]
fn part_3_of_the_seeds_keeps_every_promise() {
    part(3);
}

#[test]
fn part_4_of_the_seeds_keeps_every_promise() {
    part(4);
}

#[test]
fn part_5_of_the_seeds_keeps_every_promise() {
    part(5);
}

#[test]
fn part_6_of_the_seeds_keeps_every_promise() {
    part(6);
}

#[test]
fn part_7_of_the_seeds_keeps_every_promise() {
    part(7);
}

#[test]
fn part_8_of_the_seeds_keeps_every_promise() {
    part(8);
}

#[test]
fn part_9_of_the_seeds_keeps_every_promise() {
    part(9);
}
