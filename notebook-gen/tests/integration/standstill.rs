//! Time in which a run waited for a person, or nobody carried it out, is told apart from the time that was spent.

use code_deploy_notebook_gen::{report_to_markdown, view};
use code_deploy_record::RunFolder;

use code_deploy_synthetic::{self as synthetic, Story};

/// Writes a run of a quarter of an hour that began so many hours after the first one. One that was killed waited 2.5 s
/// for an approval in phase 2, and nobody carried it out for 9.4 s in phase 6.
fn run(project: &std::path::Path, hours: i64, story: Story) -> RunFolder {
    let begin = synthetic::start() + chrono::TimeDelta::hours(hours);
    synthetic::run_of(project, &format!("run-{hours}"), story, 900.0, begin)
}

fn shown(run: &RunFolder, others: &[RunFolder], name: &str) -> String {
    report_to_markdown(&view(run, others, name.parse().unwrap()).unwrap())
}

#[track_caller]
fn assert_holds(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn phases_tell_time_spent_paused_and_unattended_which_sum_up_to_the_wall() {
    let project = crate::folder();
    let killed = run(project.path(), 0, Story::Killed);
    let text = shown(&killed, &[], "phases");
    assert_holds(
        &text,
        &[
            "time spent, paused and unattended, which sum up to the time on the wall",
            "| Phase | Name | State | Began (UTC) | Spent | Paused | Unattended | Reason |",
            "| 02 | Pre Deployment Validation | done | 14:00:20 | 12.5 s | 2.5 s |  |  |",
            "| 06 | Application Deployment | done | 14:02:00 | 8 min 01 s |  | 9.4 s |  |",
            "|  | Between the phases |  |  |",
            "|  | Whole run | succeeded | 14:00:00 | 14 min 38 s | 2.5 s | 9.4 s | 14 min 50 s on the wall |",
            "Unattended is time in which no process carried it out",
        ],
    );
    // A run that never stood still has one column of time.
    let whole = run(project.path(), 1, Story::Succeeded);
    let text = shown(&whole, &[], "phases");
    assert_holds(&text, &["| Began (UTC) | Spent | Reason |"]);
    assert!(!text.contains("Paused"), "{text}");
}

#[test]
fn the_first_facts_say_the_time_on_the_wall_and_the_verdict_what_was_spent() {
    let project = crate::folder();
    let killed = run(project.path(), 0, Story::Killed);
    assert_holds(
        &shown(&killed, &[], "run"),
        &[
            "14 min 50 s on the wall: 14 min 38 s spent, 2.5 s paused, 9.4 s unattended",
            "in 14 min 38 s (without 2.5 s paused, 9.4 s unattended)",
        ],
    );
}

#[test]
fn runs_are_compared_by_the_time_that_was_spent() {
    let project = crate::folder();
    let before = run(project.path(), 0, Story::Succeeded);
    let killed = run(project.path(), 1, Story::Killed);
    let others = [before];
    let durations = shown(&killed, &others, "durations");
    assert_holds(
        &durations,
        &[
            "Time spent on each phase, against earlier runs of dev on local",
            "| 8 min 01 s | 8 min 10 s | 1 | -9.4 s (-2 %) |",
        ],
    );
    assert_holds(
        &shown(&killed, &others, "lessons"),
        &[
            "What took longest, by time spent",
            "Time spent against run run-0",
            "| 8 min 01 s | 8 min 10 s | -2 % |",
        ],
    );
    assert_holds(
        &shown(&killed, &others, "dora"),
        &["| Time spent |", "| 14 min 38 s |", "| 14 min 50 s |"],
    );
}
