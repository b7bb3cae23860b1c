use std::os::unix::fs::PermissionsExt;

use code_deploy_notebook_gen::{Page, ReadySettings, executed, names, ready, view, write};

use crate::{keep, text_of};
use code_deploy_synthetic::{self as synthetic, Story};

fn settings() -> ReadySettings {
    ReadySettings {
        application: "shop".to_owned(),
        environment: "dev".to_owned(),
        target: "local".to_owned(),
        release: Some("1.1.0".to_owned()),
        services: vec!["storefront".to_owned(), "catalog".to_owned()],
    }
}

pub(crate) fn pages_of(story: Story) -> (tempfile::TempDir, Vec<Page>) {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", story);
    let pages = executed(&run, &[]).unwrap();
    keep(&pages, &format!("{story:?}"));
    (project, pages)
}

pub(crate) fn page<'a>(pages: &'a [Page], name: &str) -> &'a Page {
    pages.iter().find(|page| page.name == name).unwrap()
}

/// The sections that the protocol lists, in order.
const SECTIONS: [(&str, &[&str]); 9] = [
    (
        "01_Deployment_Plan",
        &[
            "Scope and strategy",
            "Component inventory",
            "Dependency map",
            "Risk assessment",
            "Rollback procedures",
        ],
    ),
    (
        "02_Pre_Deployment_Validation",
        &[
            "System health",
            "Resource availability",
            "Dependency checks",
            "Security validation",
            "Go/no-go decision",
        ],
    ),
    (
        "03_Build_Process",
        &[
            "Build logs",
            "Artifact inventory",
            "Security scan results",
            "Quality metrics",
            "Registry status",
        ],
    ),
    (
        "04_Infrastructure_Setup",
        &[
            "Resource provisioning",
            "Network configuration",
            "Security hardening",
            "Load balancer",
            "TLS",
        ],
    ),
    (
        "05_Database_Migration",
        &[
            "Backup verification",
            "Migration execution",
            "Data validation",
            "Performance",
            "Rollback procedures",
        ],
    ),
    (
        "06_Application_Deployment",
        &[
            "Progress",
            "Health checks",
            "Traffic routing",
            "Performance",
            "Errors",
        ],
    ),
    (
        "07_Monitoring_Setup",
        &[
            "Metrics",
            "Dashboards",
            "Alert rules",
            "Log aggregation",
            "Traces",
        ],
    ),
    (
        "08_Validation_Results",
        &[
            "Functional",
            "Performance",
            "Security",
            "Integration",
            "User acceptance",
        ],
    ),
    (
        "09_Operational_Handover",
        &[
            "Runbook links",
            "Contacts",
            "Escalation",
            "Maintenance windows",
            "Known issues",
            "Documents as a notebook",
        ],
    ),
];

#[test]
fn all_eighteen_notebooks_have_all_sections_in_order_in_both_states_and_every_story() {
    let mut states = vec![ready(&settings()).unwrap()];
    for story in [
        Story::Succeeded,
        Story::RolledBack,
        Story::Refused,
        Story::Initial,
    ] {
        states.push(pages_of(story).1);
    }
    for pages in states {
        let found: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(found, names());
        assert_eq!(found.len(), 18);
        for (name, sections) in SECTIONS {
            let text = text_of(page(&pages, name));
            let mut after = 0;
            for section in sections {
                let heading = format!("\n## {section}\n");
                let place = text[after..].find(&heading);
                after += place.unwrap_or_else(|| panic!("{name}: {section}"));
            }
        }
    }
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    assert_eq!(executed(&run, &[]).unwrap(), executed(&run, &[]).unwrap());
}

#[test]
fn executed_notebooks_have_the_cells_of_the_ready_ones() {
    let sources = |page: &Page| -> Vec<String> {
        let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
        let cells = notebook["cells"].as_array().unwrap().iter();
        cells
            .filter(|cell| cell["cell_type"] == "code")
            .map(|cell| cell["source"].to_string())
            .collect()
    };
    let (_project, pages) = pages_of(Story::Succeeded);
    // An executed notebook names its run.
    let without_run = |sources: Vec<String>| -> Vec<String> {
        let sources = sources.iter();
        sources.map(|one| one.replace(" --run run-1", "")).collect()
    };
    for (ready, executed) in ready(&settings()).unwrap().iter().zip(&pages) {
        if ready.name != "Operational_Runbooks" {
            let executed = without_run(sources(executed));
            assert_eq!(sources(ready), executed, "{}", ready.name);
        }
    }
}

#[test]
fn cells_are_valid_and_counted_in_order() {
    for story in [Story::Succeeded, Story::RolledBack] {
        for page in pages_of(story).1 {
            let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
            assert_eq!(notebook["nbformat"], 4);
            assert_eq!(notebook["nbformat_minor"], 5);
            assert_eq!(notebook["metadata"]["kernelspec"]["name"], "code-deploy");
            let mut ids = std::collections::BTreeSet::new();
            let mut count = 0;
            for cell in notebook["cells"].as_array().unwrap() {
                let id = cell["id"].as_str().unwrap();
                assert!(
                    id.len() <= 64 && ids.insert(id.to_owned()),
                    "{}: {id}",
                    page.name
                );
                if let Some(number) = cell.get("execution_count").and_then(|n| n.as_i64()) {
                    count += 1;
                    assert_eq!(number, count, "{}", page.name);
                }
            }
            assert!(
                page.text.len() < 300_000,
                "{} has {} bytes",
                page.name,
                page.text.len()
            );
            assert!(!page.text.contains("image/svg") && !page.text.contains("text/html"));
        }
    }
}

/// Returns the ids of a notebook's cells of code with their order.
fn ids_of_code(page: &Page) -> Vec<String> {
    let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    let cells = notebook["cells"].as_array().unwrap().iter();
    let code = cells.filter(|cell| cell["cell_type"] == "code");
    code.map(|cell| cell["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn ids_of_cells_are_those_of_another_run_of_the_same_system() {
    let project = crate::folder();
    let begin = synthetic::start() + chrono::TimeDelta::hours(5);
    let made = |name: &str, story, begin| {
        let run = synthetic::run_of(project.path(), name, story, 90.0, begin);
        executed(&run, &[]).unwrap()
    };
    let first = made("run-1", Story::Succeeded, synthetic::start());
    let second = made(
        "20261123T190000000Z-dev-local-7f3a",
        Story::Succeeded,
        begin,
    );
    let back = made("run-3", Story::RolledBack, begin);
    for ((one, other), back) in first.iter().zip(&second).zip(&back) {
        assert_eq!(ids_of_code(one), ids_of_code(other), "{}", one.name);
        // Cells of what a run did not come to are not there; none has another id for that.
        let known = ids_of_code(one);
        let other: Vec<_> = ids_of_code(back);
        let other = other.iter().filter(|id| !known.contains(id));
        assert_eq!(other.count(), 0, "{}", one.name);
        assert!(!one.text.contains("\"id\": \"text-"), "{}", one.name);
        for id in ids_of_code(one) {
            assert!(!id.contains("run-1") && !id.contains("1-1-0"), "{id}");
        }
    }
}

#[test]
fn a_picture_stands_alone_in_its_bundle_with_its_size_and_its_sentence() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let notebooks = pages
        .iter()
        .map(|page| serde_json::from_str(&page.text).unwrap());
    let cells = notebooks
        .flat_map(|notebook: serde_json::Value| notebook["cells"].as_array().unwrap().clone());
    let mut pictures = 0;
    for cell in cells {
        let outputs = cell["outputs"].as_array().cloned().unwrap_or_default();
        for (place, output) in outputs.iter().enumerate() {
            let Some(png) = output["data"]["image/png"].as_str() else {
                continue;
            };
            pictures += 1;
            assert!(!png.contains('\n'));
            let keys: Vec<_> = output["data"].as_object().unwrap().keys().collect();
            assert_eq!(keys, ["image/png", "text/plain"]);
            let about = &output["metadata"]["image/png"];
            assert_eq!(about["alt"], output["data"]["text/plain"][0]);
            assert!(about["width"].as_u64().unwrap() <= 900);
            assert!(about["alt"].as_str().unwrap().len() > 40);
            assert!(outputs[place + 1]["data"]["text/markdown"].is_array());
        }
    }
    assert!(pictures >= 25, "{pictures}");
}

#[test]
fn a_rolled_back_run_says_what_happened_when_and_what_was_not_reached() {
    let (_project, pages) = pages_of(Story::RolledBack);
    let release = text_of(page(&pages, "06_Application_Deployment"));
    assert!(
        release.contains("was rolled back from dev (local) at 14:00:44 UTC"),
        "{release}"
    );
    assert!(release.contains("CD0412: catalog 1.1.0: 7.9 % of requests failed"));
    assert!(release.contains("Not reached: the phase ended at 14:00:38 UTC before this section"));
    let validation = text_of(page(&pages, "08_Validation_Results"));
    assert!(validation.contains("Not reached: the run was rolled back at 14:00:44 UTC"));
    let back = text_of(page(&pages, "Rollback_Procedures"));
    assert!(back.contains("Everything runs on 1.0.0 again"));
    assert!(back.contains("set off by gate"));
}

#[test]
fn runbooks_speak_of_this_system_and_run_all_changes_nothing() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "Operational_Runbooks"));
    for service in ["storefront", "catalog", "orders"] {
        assert!(text.contains(&format!("\n### {service}\n")), "{service}");
        let runbook = format!("### Runbook: {service}\n");
        assert!(text.contains(&runbook), "{runbook}");
    }
    for name in ["Operational_Runbooks", "Rollback_Procedures"] {
        let notebook: serde_json::Value = serde_json::from_str(&page(&pages, name).text).unwrap();
        for cell in notebook["cells"].as_array().unwrap() {
            let source = cell["source"][0].as_str().unwrap_or_default();
            let changes = source.contains("%rollback") || source.contains("%pause");
            let is_code = cell["cell_type"] == "code";
            assert!(
                !(is_code && changes) || source.starts_with("// "),
                "{name}: {source}"
            );
        }
    }
}

#[test]
fn deliverables_only_show() {
    for page in ready(&settings()).unwrap().iter().skip(9) {
        let notebook: serde_json::Value = serde_json::from_str(&page.text).unwrap();
        for cell in notebook["cells"].as_array().unwrap() {
            if cell["cell_type"] == "code" {
                let source = cell["source"][0].as_str().unwrap();
                let word = source.split_whitespace().next().unwrap();
                let shows = ["%code-deploy", "%record", "%chart", "%status", "//"];
                assert!(shows.contains(&word), "{}: {source}", page.name);
            }
        }
    }
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "Security_Audit_Report"));
    assert!(text.contains("Synthetic report of hardening"));
}

#[test]
fn a_refused_run_says_that_nothing_was_changed() {
    let (_project, pages) = pages_of(Story::Refused);
    let text = text_of(page(&pages, "02_Pre_Deployment_Validation"));
    assert!(text.contains("nothing was changed: storage: 2 GiB are wanted, 1 GiB is free"));
    let later = text_of(page(&pages, "04_Infrastructure_Setup"));
    assert!(later.contains("Not reached: the run was refused at 14:00:03 UTC"));
}

#[test]
fn an_initial_run_does_not_speak_of_a_release_before() {
    let (_project, pages) = pages_of(Story::Initial);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    assert!(text.contains("1.1.0, the first: nothing ran before"));
    assert!(text.contains("not applicable: no release ran before to go back to"));
}

#[test]
fn the_report_holds_the_eight_criteria_the_matrices_and_the_four_keys() {
    let project = crate::folder();
    let before = start_minus(project.path());
    let run = synthetic::run(project.path(), "run-2", Story::Succeeded);
    let pages = executed(&run, &[before, run.clone()]).unwrap();
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    assert!(
        text.contains("What every finished run must show: of 8, 6 shown, 1 not so, 1 open"),
        "{text}"
    );
    for words in [
        "Deployment readiness",
        "Environment validation",
        "Operational metrics",
        "Deployment frequency",
        "Lead time for changes",
        "Change failure rate",
        "Failed deployment recovery time",
        "50 % (1 of 2)",
    ] {
        assert!(text.contains(words), "{words}");
    }
    let lessons = text_of(page(&pages, "Lessons_Learned"));
    assert!(lessons.contains("Time spent against run run-1"));
}

fn start_minus(project: &std::path::Path) -> code_deploy_record::RunFolder {
    let begin = synthetic::start() - chrono::TimeDelta::hours(3);
    synthetic::run_of(project, "run-1", Story::RolledBack, 90.0, begin)
}

#[test]
fn the_durations_of_the_report_end_with_what_came_after_the_phases_and_the_whole() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    let (_, durations) = text.split_once("## Duration").unwrap();
    let (durations, _) = durations.split_once("## Gates").unwrap();
    assert!(durations.contains("| After the phases |"), "{durations}");
    for words in [
        "| Whole run | succeeded |",
        "| Between the phases |",
        "The run did not stand still, so the time spent is the time on the wall.",
    ] {
        assert!(durations.contains(words), "{words}\n{durations}");
    }
}

#[test]
fn report_and_handover_lead_to_every_other_notebook() {
    let (_project, pages) = pages_of(Story::Succeeded);
    for name in ["Post_Deployment_Report", "09_Operational_Handover"] {
        let text = text_of(page(&pages, name));
        let documents = text
            .lines()
            .find(|line| line.starts_with("**Notebooks of this run:**"));
        let documents = documents.unwrap();
        for other in names().into_iter().filter(|other| *other != name) {
            assert!(documents.contains(&format!("]({other}.ipynb)")), "{other}");
        }
    }
}

#[test]
fn every_notebook_says_which_release_is_live_since_when() {
    let (_project, pages) = pages_of(Story::Succeeded);
    for name in names() {
        let text = text_of(page(&pages, name));
        assert!(
            text.contains("| Live | 1.1.0 has all traffic of "),
            "{name}"
        );
        assert!(
            text.contains(" UTC, as of the end of the record |"),
            "{name}"
        );
    }
    let (_project, pages) = pages_of(Story::RolledBack);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    assert!(
        text.contains("| Live | 1.0.0 has all traffic of "),
        "{text}"
    );
    let (_project, pages) = pages_of(Story::Refused);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    assert!(text.contains("| Live | this run moved no traffic |"));
}

#[test]
fn templates_hold_no_typed_in_figure() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../templates/notebooks");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        looked_at += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().map(without_expressions) {
            let words =
                line.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '%' || c == '_'));
            for word in words {
                let digits = word.chars().filter(char::is_ascii_digit).count();
                let is_phase = word.len() <= 3 && word.starts_with('0');
                let is_file = word.ends_with(".ipynb");
                let is_list = word.ends_with('.') && digits == 1 && line.starts_with(word);
                let allowed = is_phase || is_file || is_list;
                assert!(digits == 0 || allowed, "{}: `{word}`", path.display());
            }
        }
    }
    assert_eq!(looked_at, 18);
}

/// Returns a template's line without what is filled in from the record.
fn without_expressions(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        kept.push_str(before);
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    kept + rest
}

#[test]
fn nothing_of_a_record_becomes_a_cell_or_markup() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "01_Deployment_Plan"));
    assert!(text.contains("pipes \\| and \\*stars\\* stay text."));
    let mut settings = settings();
    settings.application = "x\n```cell\n%rollback\n```\n<b>".to_owned();
    let pages = ready(&settings).unwrap();
    for page in pages {
        assert!(!text_of(&page).contains("\n%rollback\n"), "{}", page.name);
        assert!(!page.text.contains("<b>"), "{}", page.name);
    }
}

#[test]
fn files_are_private_whole_and_charts_stand_beside() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let out = crate::folder();
    let folder = out.path().join("deployments/run-1");
    let paths = write(&pages, &folder).unwrap();
    write(&pages, &folder).unwrap();
    assert_eq!(paths.len(), 18 + 11);
    for path in &paths {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(folder.join("charts/latency.svg").is_file());
    assert_eq!(
        folder.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    let all = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(all, 19, "no temporary file is left");
}

#[test]
fn a_view_with_a_wrong_word_is_refused_with_the_known_ones() {
    for word in [
        "gatez",
        "gates 03",
        "items 10",
        "items 01 02",
        "section 02 tls",
    ] {
        let error = word.parse::<code_deploy_notebook_gen::View>().unwrap_err();
        assert!(
            error.to_string().contains("the views are run, items"),
            "{error}"
        );
    }
}

#[test]
fn a_live_run_says_where_it_stands() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let journal = std::fs::read_to_string(run.journal_path()).unwrap();
    let lines: Vec<&str> = journal.lines().collect();
    let half = lines
        .iter()
        .position(|line| line.contains("canary 25 %"))
        .unwrap();
    std::fs::write(run.journal_path(), lines[..=half].join("\n") + "\n").unwrap();
    let report = view(&run, &[], "status".parse().unwrap()).unwrap();
    let text = code_deploy_notebook_gen::report_to_text(&report);
    assert!(
        text.contains("is being deployed to dev (local): the run is in phase 06"),
        "{text}"
    );
    let pages = executed(&run, &[]).unwrap();
    let validation = text_of(page(&pages, "08_Validation_Results"));
    assert!(validation.contains("Not run yet: the run has not come to this phase."));
}

#[test]
fn the_lessons_of_a_refused_run_are_as_they_were() {
    let (_project, pages) = pages_of(Story::Refused);
    let text = &page(&pages, "Lessons_Learned").text;
    let notebook: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut small = notebook.clone();
    // They change with every text of every notebook, and with every source.
    for digest in ["templates", "source"] {
        small["metadata"]["code-deploy"]["made_by"][digest] = "DIGEST".into();
    }
    // Digests of every output of every notebook; `verify` is tested with them.
    small["metadata"]["code-deploy"]["outputs"] = "PROOFS".into();
    // The picture's bytes would fill the snapshot; that they are the same is tested elsewhere.
    for cell in small["cells"].as_array_mut().unwrap() {
        for output in cell["outputs"].as_array_mut().into_iter().flatten() {
            if output["data"]["image/png"].is_string() {
                output["data"]["image/png"] = "PNG".into();
            }
        }
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&small).unwrap());
}
