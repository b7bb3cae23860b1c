use code_deploy_notebook_gen::{report_to_text, view};
use code_deploy_record::RunFolder;

use code_deploy_synthetic::{self as synthetic, Story};

fn lessons(run: &RunFolder) -> String {
    lessons_after(run, &[])
}

fn lessons_after(run: &RunFolder, others: &[RunFolder]) -> String {
    report_to_text(&view(run, others, "lessons".parse().unwrap()).unwrap())
}

/// Writes a run that began that many hours after the first one.
fn later(project: &std::path::Path, hours: i64, story: Story) -> RunFolder {
    let begin = synthetic::start() + chrono::TimeDelta::hours(hours);
    synthetic::run_of(project, &format!("run-{hours}"), story, 90.0, begin)
}

#[test]
fn durations_are_compared_where_both_runs_did_the_same_work_to_its_end() {
    let project = crate::folder();
    let first = later(project.path(), 0, Story::Initial);
    let failed = later(project.path(), 1, Story::RolledBack);
    let whole = later(project.path(), 2, Story::Succeeded);
    let again = later(project.path(), 3, Story::Succeeded);
    let text = lessons_after(&failed, std::slice::from_ref(&first));
    assert!(text.contains("No change is given: that run was a first deployment"));
    assert!(!text.contains("+0 %"), "{text}");
    let text = lessons_after(&whole, std::slice::from_ref(&failed));
    assert!(text.contains("s, not done"), "{text}");
    let release = |text: &str| {
        let line = text.lines().find(|line| line.contains("06 Application"));
        line.unwrap().to_owned()
    };
    assert!(!release(&text).contains('%'), "{}", release(&text));
    let text = lessons_after(&again, std::slice::from_ref(&whole));
    assert!(release(&text).contains("+0 %"), "{}", release(&text));
}

#[test]
fn what_a_step_stopped_on_purpose_is_no_lesson() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let text = lessons(&run);
    assert!(
        text.contains("Health lost after it was there: by no instance that was to run."),
        "{text}"
    );
    assert!(
        text.contains("Not counted there: 3 instances whose probes failed while a step"),
        "{text}"
    );
}

#[test]
fn an_instance_that_fell_ill_by_itself_is_a_lesson() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Ill);
    let text = lessons(&run);
    assert!(text.contains("Health lost after it was there\n"), "{text}");
    assert!(text.contains("catalog-1.0.0-1"), "{text}");
}

#[test]
fn without_figures_near_misses_are_not_known_and_drift_says_how_far_it_was_looked_for() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let text = lessons(&run);
    assert!(
        text.contains("Near misses: not known, because no check"),
        "{text}"
    );
    assert!(
        text.contains("Drift: none found. What runs is what is declared"),
        "{text}"
    );
    let refused = synthetic::run(project.path(), "run-2", Story::Refused);
    assert!(lessons(&refused).contains("Drift: none found."));
}
