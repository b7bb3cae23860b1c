//! Ports of the machine that two services of a Compose file ask for.

use super::*;

/// Reads a project of two services whose Compose file lists those ports, for a target.
fn with_ports(web: &str, api: &str, deploy: &str, target: &str) -> Result<Spec, String> {
    let project = Project::new();
    let compose = format!(
        "services:\n  web:\n    image: w\n    ports: {web}\n  api:\n    image: a\n    ports: {api}\n"
    );
    project.write("compose.yaml", compose);
    project.write(FILE_NAME, format!("{DEPLOY}{deploy}"));
    let spec = Spec::load(&project.path(FILE_NAME), "dev", target, &|_| None);
    spec.map_err(|error| project.shown(&error))
}

#[test]
fn a_port_at_which_docker_would_publish_two_services_is_refused_with_both_lines() {
    let said = |web: &str, api: &str| with_ports(web, api, "", "docker-desktop").unwrap_err();
    let short = said("['8080:80']", "['127.0.0.1:8080:90']");
    for word in [
        "CD0121 compose.yaml:7:",
        "`api` asks for port 8080",
        "`web` has in line 4 already",
        "services.api.routing.port",
    ] {
        assert!(short.contains(word), "`{word}` is not in {short}");
    }
    let long = said(
        "[{target: 80, published: 53}]",
        "[{target: 90, published: '53'}]",
    );
    assert!(long.contains("`api` asks for port 53"), "{long}");
}

#[test]
fn a_port_that_two_services_ask_for_and_that_is_not_published_is_noted() {
    let noted = |web: &str, api: &str, deploy: &str, target: &str| {
        let spec = with_ports(web, api, deploy, target).unwrap();
        let notes = spec.compose_notes.into_iter();
        let mut notes = notes.filter(|note| note.contains("of the machine"));
        notes.next()
    };
    let (web, api) = ("['8080:80']", "['8080:90']");
    for (target, why) in [("local", "free ports"), ("k8s", "in a cluster")] {
        let note = noted(web, api, "", target).unwrap();
        let begin =
            "compose.yaml:7: `api` asks for port 8080 of the machine, which `web` has in line 4";
        assert!(note.starts_with(begin), "{note}");
        assert!(note.contains(why), "{note}");
    }
    let docker = |web: &str, api: &str, deploy: &str| noted(web, api, deploy, "docker-desktop");
    let elsewhere = "  api: {routing: {port: 9090}}\n";
    assert!(docker(web, api, elsewhere).is_some());
    // What is not routed is not published there, and what is not the same port is nothing to tell.
    assert!(docker("['80', '8080:81']", api, "").is_some());
    assert!(docker("['8080:80', '8080:81']", "['90']", "").is_some());
    assert!(docker(web, "['8081:90']", "").is_none());
}
