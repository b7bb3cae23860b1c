use code_deploy_notebook_gen::{report_to_text, view};
use code_deploy_record::RunFolder;

use crate::synthetic::{self, Story};

fn lessons(run: &RunFolder) -> String {
    report_to_text(&view(run, &[], "lessons".parse().unwrap()).unwrap())
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
