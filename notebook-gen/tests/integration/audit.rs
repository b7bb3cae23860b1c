//! What an auditor must be able to trust: a page says no more than the record does.

use code_deploy_notebook_gen::{Page, ReadySettings, executed, ready};
use code_deploy_record::{PreviousRun, RunFolder};

use crate::text_of;
use code_deploy_synthetic::{self as synthetic, Story};

fn text(pages: &[Page], name: &str) -> String {
    text_of(pages.iter().find(|page| page.name == name).unwrap())
}

fn of(story: Story, name: &str) -> String {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", story);
    text(&executed(&run, &[]).unwrap(), name)
}

/// The record that stands in the repository, of a real run.
fn shipped() -> RunFolder {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../notebooks/record");
    RunFolder::at(std::path::Path::new(folder)).unwrap()
}

/// Returns the line of a table whose first entry is this.
#[track_caller]
fn line<'a>(text: &'a str, first: &str) -> &'a str {
    let start = format!("| {first} |");
    text.lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("no line `{first}` in\n{text}"))
}

#[test]
fn a_criterion_with_open_items_is_open_whatever_its_gate_said() {
    let report = of(Story::Succeeded, "Post_Deployment_Report");
    let observability = line(&report, "100 % observability");
    assert!(observability.contains("| open |"), "{observability}");
    assert!(
        observability.contains("12 of 18 met, 6 open (8.3.1,"),
        "{observability}"
    );
    let scans = line(&report, "all scans clean");
    assert!(scans.contains("| not so |"), "{scans}");
    assert!(scans.contains("0 critical, 0 high, 1 medium"), "{scans}");
    assert!(scans.contains("7 open (7.2.6, 9.3.1,"), "{scans}");
    let objectives = line(&report, "objectives met or exceeded");
    assert!(objectives.contains("| shown |"), "{objectives}");
}

#[test]
fn a_first_deployment_has_criteria_that_cannot_apply_and_says_so() {
    let report = of(Story::Initial, "Post_Deployment_Report");
    let rehearsal = line(&report, "rollback verified");
    assert!(rehearsal.contains("| not applicable |"), "{rehearsal}");
}

#[test]
fn readiness_counts_verdicts_not_finished_steps() {
    let report = of(Story::Succeeded, "Post_Deployment_Report");
    let matrix = report.split("**Deployment readiness**").nth(1).unwrap();
    let storefront = line(matrix, "storefront");
    assert!(
        storefront.contains("open: 7 of 13 met, 6 open (2.3.1,"),
        "{storefront}"
    );
    assert!(storefront.contains("| met: 100 % of its traffic goes to 1.1.0 |"));
    assert!(storefront.contains("| team shop |"), "{storefront}");
    assert!(storefront.ends_with("| open |"), "{storefront}");
    assert!(!matrix.contains("done:"), "{matrix}");
    let database = line(matrix, "shop-db");
    assert!(database.contains("not applicable: a store of data is not made by a run"));

    let report = of(Story::RolledBack, "Post_Deployment_Report");
    let matrix = report.split("**Deployment readiness**").nth(1).unwrap();
    let storefront = line(matrix, "storefront");
    let back = "| taken back: 1.1.0 was stopped; its traffic goes 100 % to 1.0.0 |";
    assert!(storefront.contains(back), "{storefront}");
    assert!(storefront.ends_with("| taken back |"), "{storefront}");
}

#[test]
fn the_dashboard_counts_the_endpoints_of_the_release_that_is_live() {
    let pages = executed(&shipped(), &[]).unwrap();
    let dashboard = text(&pages, "System_Health_Dashboard");
    let (_, dashboard) = dashboard.split_once("**Components**").unwrap();
    let to = shipped().started().unwrap().to;
    assert!(dashboard.contains(&format!("| Endpoints of {to} |")));
    let functional = text(&pages, "08_Validation_Results");
    let (_, functional) = functional
        .split_once("**Operations of the OpenAPI documents**")
        .unwrap();
    let (functional, _) = functional.split_once("\n\n**").unwrap();
    for service in ["catalog", "orders", "storefront"] {
        let entry = line(dashboard, service).split(" | ").nth(6).unwrap();
        let asked = functional.matches(&format!("\n| {service} |")).count();
        assert_eq!(entry.parse::<usize>().unwrap(), asked, "{service}");
        assert!(asked > 0, "{service}");
    }
    let back = of(Story::RolledBack, "System_Health_Dashboard");
    assert!(back.contains("| Endpoints of 1.0.0 |"), "{back}");
}

/// Words that make an item one about security, or its group, or its phase.
const ON_SECURITY: [&str; 22] = [
    "secur",
    "secret",
    "vulnerab",
    "scan",
    "signature",
    "signed",
    "tls",
    "certificate",
    "firewall",
    "encrypt",
    "access control",
    "privilege",
    "authent",
    "authoriz",
    "penetration",
    "complian",
    "permission",
    "advisor",
    "vpn",
    "bill of materials",
    "ddos",
    "image integrity",
];

#[test]
fn the_security_report_leaves_out_no_item_on_security() {
    for story in [Story::Succeeded, Story::Refused] {
        let report = of(story, "Security_Audit_Report");
        let catalog = code_deploy_record::Catalog::shipped().unwrap();
        let mut looked_for = 0;
        for phase in &catalog.phases {
            for group in &phase.groups {
                for item in &group.items {
                    let texts = [&phase.title, &group.title, &item.text];
                    let about = texts.iter().any(|text| {
                        let text = text.to_lowercase();
                        ON_SECURITY.iter().any(|word| text.contains(word))
                    });
                    if about {
                        looked_for += 1;
                        line(&report, item.id.as_ref());
                    }
                }
            }
        }
        assert!(looked_for >= 40, "{looked_for}");
        for item in ["2.4.2", "2.4.3", "9.3.2"] {
            line(&report, item);
        }
    }
}

/// Returns the sources of a notebook's cells of code.
fn sources(page: &Page) -> Vec<String> {
    let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    let cells = notebook["cells"].as_array().unwrap().iter();
    let code = cells.filter(|cell| cell["cell_type"] == "code");
    let source = code.map(|cell| cell["source"].as_array().unwrap().iter());
    source
        .map(|lines| lines.map(|line| line.as_str().unwrap()).collect())
        .collect()
}

#[test]
fn the_first_cell_names_the_release_of_the_record_or_of_the_deployment_file() {
    let pages = executed(&shipped(), &[]).unwrap();
    let started = shipped().started().unwrap();
    crate::keep(&pages, "shipped");
    for page in &pages {
        let first = format!(
            "%code-deploy dev local --to {} --run {}",
            started.to, started.run
        );
        assert_eq!(sources(page)[0], first, "{}", page.name);
    }
    let mut settings = ReadySettings {
        application: "shop".to_owned(),
        environment: "prod".to_owned(),
        target: "local".to_owned(),
        release: Some("2.0.0-rc.1+7 --yes".to_owned()),
        services: Vec::new(),
    };
    for page in ready(&settings).unwrap() {
        assert_eq!(
            sources(&page)[0],
            "%code-deploy prod local --to 2.0.0-rc.1+7--yes"
        );
        assert!(text_of(&page).contains("It deploys release **2.0.0-rc.1+7 --yes**"));
    }
    settings.release = None;
    for page in ready(&settings).unwrap() {
        assert_eq!(sources(&page)[0], "%code-deploy prod local");
        let said = "It deploys the release that the deployment file names when the cell is run.";
        assert!(text_of(&page).contains(said), "{}", page.name);
    }
}

fn hours(from_start: i64) -> chrono::DateTime<chrono::Utc> {
    synthetic::start() + chrono::TimeDelta::hours(from_start)
}

/// Returns how a record names a run before it.
fn named(run: &RunFolder) -> PreviousRun {
    let mut events = run.events().unwrap();
    while events.next_event().unwrap().is_some() {}
    PreviousRun {
        run: run.started().unwrap().run,
        head: events.head(),
        checkpoint: None,
    }
}

#[test]
fn runs_that_had_not_ended_before_do_not_change_the_pages() {
    let project = crate::folder();
    let make = |name: &str, at: i64, previous| {
        let story = Story::Succeeded;
        synthetic::run_after(project.path(), name, story, 90.0, hours(at), previous)
    };
    let first = make("run-1", -3, None);
    let second = make("run-2", 0, Some(named(&first)));
    let third = make("run-3", 3, Some(named(&second)));
    let then = executed(&second, std::slice::from_ref(&first)).unwrap();
    let now = executed(&second, &[first.clone(), second.clone(), third]).unwrap();
    assert_eq!(then, now);

    let report = text(&now, "Post_Deployment_Report");
    let head = named(&first).head;
    let line = line(&report, "run-1");
    assert!(line.contains(&format!(
        "| {} | the record of the run after it |",
        head.short()
    )));
    let notebook: serde_json::Value = serde_json::from_str(&now[0].text).unwrap();
    let made = &notebook["metadata"]["code-deploy"];
    assert_eq!(made["compared_with"][0]["run"], "run-1");
    assert_eq!(made["compared_with"][0]["journal_head"], head.to_string());
    assert_eq!(made["compared_with"].as_array().unwrap().len(), 1);
    assert_eq!(made["made_by"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_run_before_that_is_not_as_the_record_names_it_does_not_count_and_the_page_says_so() {
    let project = crate::folder();
    let (story, begin) = (Story::Succeeded, hours(-3));
    let first = synthetic::run_of(project.path(), "run-1", story, 90.0, begin);
    let wrong = PreviousRun {
        head: code_deploy_record::Digest::of(b"another"),
        ..named(&first)
    };
    let previous = Some(wrong.clone());
    let second = synthetic::run_after(project.path(), "run-2", story, 90.0, hours(0), previous);
    let report = text(
        &executed(&second, &[first]).unwrap(),
        "Post_Deployment_Report",
    );
    assert!(report.contains("The four DORA keys of shop in dev, from 1 run"));
    let said = format!(
        "names run-1 as the run before, whose journal ended with the digest {}",
        wrong.head
    );
    assert!(report.contains(&said), "{report}");
}

/// Returns what stands between a heading and the next of its kind.
#[track_caller]
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    after
        .split_once("\n## ")
        .map_or(after, |(section, _)| section)
}

#[test]
fn a_finished_run_is_not_said_to_be_undone_by_rollback() {
    let pages = executed(&shipped(), &[]).unwrap();
    let back = text(&pages, "Rollback_Procedures");
    let during = section(&back, "While the run is under way");
    assert!(
        during.contains("its steps are not undone any more"),
        "{during}"
    );
    assert!(during.contains("Undo up to the end of the run, in order"));
    let after = section(&back, "After the run has ended");
    let state = shipped().state().unwrap();
    let started = state.started.as_ref().unwrap();
    let (from, to) = (started.from.as_ref().unwrap(), &started.to);
    assert!(
        after.contains(&format!("It deploys {from} over {to}")),
        "{after}"
    );
    assert!(after.contains("It undoes no step of this run"));
    assert!(after.contains("database orders at version 2 stays as it is"));
    assert!(after.contains(&format!("{from} had traffic on the migrated data from ")));
    let taken = &state.steps[&"migrate.backup".parse().unwrap()].result;
    let backup = &taken["databases"]["orders"]["backup"];
    for key in ["path", "digest"] {
        assert!(after.contains(backup[key].as_str().unwrap()), "{after}");
    }
    assert!(!after.contains("take the migrations back"), "{after}");
}

#[test]
fn going_back_from_a_first_or_a_rolled_back_run_is_said_to_be_refused() {
    let first = of(Story::Initial, "Rollback_Procedures");
    let after = section(&first, "After the run has ended");
    assert!(after.contains("1.1.0 is the first release"), "{after}");
    assert!(after.contains("`code-deploy dev local --stop`"));
    let back = of(Story::RolledBack, "Rollback_Procedures");
    let during = section(&back, "While the run is under way");
    assert!(
        during.contains("Everything runs on 1.0.0 again"),
        "{during}"
    );
    let after = section(&back, "After the run has ended");
    assert!(after.contains("is refused (CD0418)"), "{after}");
}

#[test]
fn runbooks_tell_going_back_during_a_run_from_going_back_after_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../templates/runbooks");
    for name in ["service", "recovery"] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.md")).unwrap();
        assert!(text.contains("is under way"), "{name}");
        assert!(text.contains("Migrations are not taken back"), "{name}");
    }
}

#[test]
fn each_service_has_one_runbook_and_it_is_the_one_handed_over() {
    let pages = executed(&shipped(), &[]).unwrap();
    let runbooks = text(&pages, "Operational_Runbooks");
    for name in ["catalog", "orders", "storefront"] {
        let heading = format!("\n### {name}\n");
        assert_eq!(runbooks.matches(&heading).count(), 1, "{name}");
        let own = format!("\n### Runbook: {name} of shop in dev\n");
        assert_eq!(runbooks.matches(&own).count(), 1, "{name}");
    }
    assert!(runbooks.contains("\n### Alert: OrdersDown\n"));
    assert!(runbooks.contains("\n### Maintenance: shop in dev\n"));
    assert!(!runbooks.contains("No text of this name"), "{runbooks}");
    for another in [
        "What going back does for",
        "Calls or stores data in",
        "Is called by",
    ] {
        assert!(!runbooks.contains(another), "{another}");
    }
    let early = of(Story::RolledBack, "Operational_Runbooks");
    assert!(early.contains("it is written at the handover, to which this run has not come"));
}

#[test]
fn what_was_stopped_on_purpose_is_not_shown_as_unhealthy() {
    let pages = executed(&shipped(), &[]).unwrap();
    let dashboard = text(&pages, "System_Health_Dashboard");
    let (_, health) = dashboard.split_once("**Health when last seen**").unwrap();
    let mut old = health.lines().filter(|line| line.contains("-1.0.0-"));
    assert!(old.clone().count() > 0, "{health}");
    assert!(
        old.all(|line| line.contains("ed, then stopped |")),
        "{health}"
    );
    let new = "| catalog | 1.1.0 | shop-dev-catalog-1.1.0-1 | readiness | passed |";
    assert!(health.contains(new), "{health}");
    assert!(health.contains("stopped on purpose, by finish.old-release"));
    let serves = health.find(new).unwrap();
    let stopped = health.find(", then stopped |").unwrap();
    assert!(serves < stopped, "{health}");
    assert!(!dashboard.contains("## Resources"), "{dashboard}");
    assert!(dashboard.contains("No section on resources: no figures"));
}

#[test]
fn releases_that_answered_at_different_times_are_not_said_to_be_measured_alike() {
    let pages = executed(&shipped(), &[]).unwrap();
    let page = text(&pages, "Performance_Validation");
    assert!(!page.contains("measured the same way"), "{page}");
    assert!(page.contains("did not answer over the same time"));
}

#[test]
fn each_figure_stands_once_in_the_matrix_of_metrics() {
    let pages = executed(&shipped(), &[]).unwrap();
    let report = text(&pages, "Post_Deployment_Report");
    let matrix = section(&report, "Objectives");
    let figures = matrix
        .matches("| catalog: p99 latency of the new release (")
        .count();
    assert_eq!(figures, 1, "{matrix}");
    assert!(matrix.contains("| catalog: p99 latency of the new release (promotion at 100 %) |"));
}

#[test]
fn a_finished_step_is_not_said_to_be_a_good_verdict() {
    let log = of(Story::Succeeded, "Deployment_Execution_Log");
    let stages = section(&log, "The delivery loop");
    assert!(
        stages.contains("is said by the verdicts of the items"),
        "{stages}"
    );
    let monitoring = of(Story::Succeeded, "07_Monitoring_Setup");
    assert!(!monitoring.contains("shows the set-up that it waited for"));
}

#[test]
fn what_is_not_in_order_names_the_failed_gate_and_the_failed_requests() {
    let report = of(Story::RolledBack, "Post_Deployment_Report");
    let wrong = section(&report, "Not in order");
    for words in [
        "the analysis gate of canary at 25 % did not pass",
        "7.9 % of requests to 1.1.0 failed",
        "the run went back",
        "37 of 1850 requests of the outside client failed",
        "37 5xx, 37 with 1.1.0",
    ] {
        assert!(wrong.contains(words), "no `{words}` in\n{wrong}");
    }
    let release = of(Story::RolledBack, "06_Application_Deployment");
    let wrong = section(&release, "Not in order");
    assert!(
        wrong.contains("the analysis gate of canary at 25 %"),
        "{wrong}"
    );
    let migration = of(Story::RolledBack, "05_Database_Migration");
    let wrong = section(&migration, "Not in order");
    assert!(!wrong.contains("analysis gate"), "{wrong}");
    let well = of(Story::Succeeded, "Post_Deployment_Report");
    assert!(!section(&well, "Not in order").contains("What went wrong"));
}

#[test]
fn a_gate_that_had_nothing_to_compare_with_is_not_counted_as_passed() {
    let report = of(Story::Initial, "Post_Deployment_Report");
    assert!(
        report.contains("with a pass, and 1 with nothing to compare with"),
        "{report}"
    );
    assert!(!report.contains("each time with a pass"), "{report}");
    assert!(report.contains("did not pass, 1 had nothing to compare with"));
    let objectives = line(&report, "objectives met or exceeded");
    assert!(
        objectives.contains("0 passed, 1 had nothing to compare with"),
        "{objectives}"
    );
    assert!(
        objectives.contains("1 check of objectives, all hold"),
        "{objectives}"
    );
    assert!(report.contains("not compared: 1 of 1"), "{report}");
}

#[test]
fn the_criterion_on_runbooks_leaves_out_no_item_of_the_documentation() {
    let report = of(Story::Succeeded, "Post_Deployment_Report");
    let runbooks = line(&report, "runbooks complete");
    assert!(
        runbooks.contains("all items of 10.1 and 10.2"),
        "{runbooks}"
    );
    assert!(runbooks.contains("of 12 "), "{runbooks}");
}

#[test]
fn each_step_counts_in_one_stage_of_the_loop() {
    let log = of(Story::Succeeded, "Deployment_Execution_Log");
    let stages = [
        "plan", "code", "build", "test", "deploy", "secure", "operate", "monitor",
    ];
    let steps = stages.map(|stage| {
        let line = line(&log, stage);
        let (_, after) = line
            .split_once(" done of ")
            .or(line.split_once(" of "))
            .unwrap();
        after.split(' ').next().unwrap().parse::<u32>().unwrap_or(0)
    });
    let all: u32 = steps.iter().sum();
    let said = format!("Of {all} steps, each counts in one stage.");
    assert!(log.contains(&said), "no `{said}` for {steps:?}");
}

#[test]
fn failed_requests_are_told_with_their_cause() {
    let release = of(Story::RolledBack, "06_Application_Deployment");
    assert!(release.contains("Failed requests by cause"), "{release}");
    assert!(
        release.contains("| router | storefront | 1.1.0 |"),
        "{release}"
    );
}
