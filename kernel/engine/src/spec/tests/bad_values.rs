//! Keys and values that cannot be meant.

use super::*;

#[test]
fn a_misspelt_key_names_the_nearest_one() {
    insta::assert_snapshot!(with_deploy("    owners: team\n"), @r#"
    CD0107 deploy.yaml:8:5: there is no key `owners` here (at `services.web.owners`)
    Did you mean `owner`?
    "#);
    insta::assert_snapshot!(with_deploy("xyzzy: 1\n"), @r#"
    CD0107 deploy.yaml:8:1: there is no key `xyzzy` here (at `xyzzy`)
    The keys here are `application`, `release`, `releases`, `compose`, `services`, `strategy`, `environments`, `databases`, `objectives`, `journeys`, `client`, `load`, `monitoring`, `security`, `seal`, `approvals`, `contacts`, `escalation`, `maintenance`, `known_issues`, `attestations` or `waivers`.
    "#);
}

#[test]
fn a_missing_key_is_named_with_its_place() {
    let project = Project::new();
    project.write(FILE_NAME, "environments: {dev: {}}\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0108 deploy.yaml:1:1: the key `application` is missing (at `application`)
    Write `application:`; the file that `code-deploy init` writes shows what it is for.
    "#);
    insta::assert_snapshot!(with_deploy("client:\n  rate: 5\n  requests:\n    - {path: /}\n"), @r#"
    CD0108 deploy.yaml:8:1: the key `service` is missing (at `client.service`)
    Write `service:`; the file that `code-deploy init` writes shows what it is for.
    "#);
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    insta::assert_snapshot!(with_deploy("    port: eighty\n"), @r#"
    CD0109 deploy.yaml:8:11: a whole number is needed here (at `services.web.port`)
    Write a whole number within its range, without quotes.
    "#);
    insta::assert_snapshot!(with_deploy("contacts: Anna\n"), @r#"
    CD0109 deploy.yaml:8:11: a list is needed here (at `contacts`)
    Write `- item` lines, or [a, b].
    "#);
    insta::assert_snapshot!(with_deploy("strategy: {kind: canery}\n"), @r#"
    CD0109 deploy.yaml:8:18: `canery` is not a value that this key takes (at `strategy.kind`)
    Did you mean `canary`? The values are `blue-green`, `canary` or `rolling`.
    "#);
}

#[test]
fn a_length_of_time_without_a_unit_is_refused() {
    insta::assert_snapshot!(with_deploy("strategy:\n  health:\n    interval: 10\n"), @r#"
    CD0110 deploy.yaml:10:15: `10` is not a length of time (at `strategy.health.interval`)
    Write a whole number with a unit, such as 500ms, 10s, 5m, 1h.
    "#);
}

#[test]
fn a_secret_given_as_a_value_is_refused_and_not_repeated() {
    let text = with_deploy("    process:\n      command: [x]\n      secrets: {DB: hunter2}\n");
    insta::assert_snapshot!(text, @r#"
    CD0111 deploy.yaml:10:21: a secret is a reference, never a value (at `services.web.process.secrets.DB`)
    Write env:NAME or file:PATH.
    "#);
    assert!(!text.contains("hunter2"));
    let text = with_deploy(
        "    process:\n      command: [x]\n      environment: {DB_PASSWORD: hunter2}\n",
    );
    insta::assert_snapshot!(text, @r#"
    CD0111 deploy.yaml:10:34: `DB_PASSWORD` holds a secret in plain text (at `services.web.process.environment.DB_PASSWORD`)
    Move it to `services.web.process.secrets`: `DB_PASSWORD: env:DB_PASSWORD` or `DB_PASSWORD: file:PATH`. The service then gets the path of a private file.
    "#);
    let text = with_deploy("databases:\n  main:\n    url: postgres://u:hunter2@db/x\n");
    insta::assert_snapshot!(text, @r#"
    CD0111 deploy.yaml:10:10: a secret is a reference, never a value (at `databases.main.url`)
    Write `url: sqlite:PATH` for a file, or `url: {from: env:NAME}` for a server, which this version does not migrate.
    "#);
    assert!(!text.contains("hunter2"));
}

#[test]
fn an_error_about_a_secret_keeps_no_text_to_show() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        format!("{DEPLOY}databases: {{main: {{url: 'postgres://u:hunter2@db/x'}}}}\n"),
    );
    assert_eq!(project.load().unwrap_err().text, None);
}

#[test]
fn a_service_that_the_compose_file_lacks_is_refused_with_the_nearest() {
    insta::assert_snapshot!(with_deploy("  apu: {}\n"), @r#"
    CD0112 deploy.yaml:8:3: compose.yaml has no service `apu` (at `services.apu`)
    Did you mean `api`? The services there are `api` or `web`.
    "#);
    insta::assert_snapshot!(
        with_deploy("databases: {main: {url: 'sqlite:x', used_by: [wep]}}\n"),
        @r#"
        CD0112 deploy.yaml:8:47: compose.yaml has no service `wep` (at `databases.main.used_by[0]`)
        Did you mean `web`? The services there are `api` or `web`.
        "#
    );
    insta::assert_snapshot!(
        with_deploy("    process: {command: ['x', '{address:apii}']}\n"),
        @r#"
        CD0112 deploy.yaml:8:30: compose.yaml has no service `apii` (at `services.web.process.command[1]`)
        Did you mean `api`? The services there are `api` or `web`.
        "#
    );
}

#[test]
fn an_environment_that_is_not_there_is_refused_with_those_that_are() {
    let project = Project::new();
    let path = project.path(FILE_NAME);
    let error = Spec::load(&path, "prod", "local", &|_| None).unwrap_err();
    insta::assert_snapshot!(project.shown(&error), @r#"
    CD0113 deploy.yaml:2:1: there is no environment `prod` (at `environments`)
    The environments are `dev` or `qa`.
    "#);
}

#[test]
fn an_environment_of_an_unknown_name_must_say_its_policy() {
    let project = Project::new();
    project.write(FILE_NAME, DEPLOY.replace("dev: {}", "dev: {}\n  demo: {}"));
    let path = project.path(FILE_NAME);
    let error = Spec::load(&path, "demo", "local", &|_| None).unwrap_err();
    insta::assert_snapshot!(project.shown(&error), @r#"
    CD0108 deploy.yaml:4:3: the environment `demo` does not say which policy it has (at `environments.demo.policy`)
    Write `policy:` with `dev`, `test`, `staging` or `prod`; only environments of these names have it by themselves.
    "#);
}

#[test]
fn environments_that_require_each_other_are_refused() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        "application: app\nenvironments:\n  dev: {requires: [test]}\n  test: {requires: [dev]}\n",
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0114 deploy.yaml:3:9: environments require each other in a circle: dev -> test -> dev (at `environments.dev.requires`)
    Take one of them out: none could ever be deployed first.
    "#);
}

#[test]
fn steps_must_grow_up_to_100() {
    let steps = |steps: &str| with_deploy(&format!("strategy:\n  steps: [{steps}]\n"));
    insta::assert_snapshot!(steps("{percent: 5, soak: 1s}, {percent: 50, soak: 1s}"), @r#"
    CD0115 deploy.yaml:9:45: the last step moves 50 % of the traffic, not 100 % (at `strategy.steps[1].percent`)
    Write shares that grow up to 100, such as 5, 25, 50, 100, each with its `soak`.
    "#);
    insta::assert_snapshot!(steps("{percent: 50, soak: 1s}, {percent: 25, soak: 1s}"), @r#"
    CD0115 deploy.yaml:9:46: the share must grow, but 25 follows 50 (at `strategy.steps[1].percent`)
    Write shares that grow up to 100, such as 5, 25, 50, 100, each with its `soak`.
    "#);
    insta::assert_snapshot!(steps("{percent: 150, soak: 1s}"), @r#"
    CD0115 deploy.yaml:9:21: 150 is not a share in percent (at `strategy.steps[0].percent`)
    Write shares that grow up to 100, such as 5, 25, 50, 100, each with its `soak`.
    "#);
    insta::assert_snapshot!(steps(""), @r#"
    CD0115 deploy.yaml:9:3: there are no steps (at `strategy.steps`)
    Write shares that grow up to 100, such as 5, 25, 50, 100, each with its `soak`.
    "#);
}

#[test]
fn numbers_outside_their_range_are_refused() {
    insta::assert_snapshot!(with_deploy("strategy: {health: {passes: 0}}\n"), @r#"
    CD0116 deploy.yaml:8:29: 0 is not a number of passes (at `strategy.health.passes`)
    Give a number from 1 to 1000.
    "#);
    insta::assert_snapshot!(
        with_deploy("objectives: [{name: up, service: web, availability: 120}]\n"),
        @r#"
        CD0116 deploy.yaml:8:53: 120 is not a share in percent (at `objectives[0].availability`)
        Give a number from 0 to 100.
        "#
    );
    insta::assert_snapshot!(
        with_deploy("client: {service: web, rate: 0, requests: [{path: /}]}\n"),
        @r#"
        CD0116 deploy.yaml:8:30: 0 is not a number of requests a second (at `client.rate`)
        Give a number from 1 to 100000.
        "#
    );
}

#[test]
fn names_must_exist() {
    insta::assert_snapshot!(
        with_deploy(
            "contacts: [{name: Anna, role: all, reach: x}]\n\
             escalation: [{after: 0s, contact: Ana}]\n"
        ),
        @r#"
        CD0118 deploy.yaml:9:35: there is no contact `Ana` (at `escalation[0].contact`)
        Did you mean `Anna`? The contacts are `Anna`.
        "#
    );
    insta::assert_snapshot!(
        with_deploy("waivers: [{item: 99.1.1, by: Anna, reason: x, expires: 2027-01-01}]\n"),
        @r#"
        CD0118 deploy.yaml:8:18: the catalogue has no item 99.1.1 (at `waivers[0].item`)
        `code-deploy record items` lists those of a run.
        "#
    );
    insta::assert_snapshot!(
        with_deploy("databases: {main: {url: 'sqlite:x', migrations: nowhere}}\n"),
        @r#"
        CD0102 deploy.yaml:8:49: the folder of migrations `nowhere` cannot be read: No such file or directory (os error 2) (at `databases.main.migrations`)
        Write its path, relative to this file.
        "#
    );
    insta::assert_snapshot!(with_deploy("    process: {command: ['x', '{prot}']}\n"), @r#"
    CD0118 deploy.yaml:8:30: `{prot}` stands for nothing here (at `services.web.process.command[1]`)
    Did you mean `port`? The placeholders are `address:SERVICE`, `data`, `port`, `program` or `release`.
    "#);
}

#[test]
fn a_request_of_the_client_must_be_one() {
    let request = |request: &str| {
        with_deploy(&format!(
            "client:\n  service: web\n  rate: 1\n  requests:\n    - {request}\n"
        ))
    };
    insta::assert_snapshot!(request("path: /thing/{id}"), @r#"
    CD0118 deploy.yaml:12:13: `{id}` stands for nothing here (at `client.requests[0].path`)
    The placeholders are `n` or `uuid`.
    "#);
    insta::assert_snapshot!(request("path: thing"), @r#"
    CD0109 deploy.yaml:12:13: `thing` is not the path of a request (at `client.requests[0].path`)
    Write what follows the host and port, beginning with `/`.
    "#);
    insta::assert_snapshot!(request("{path: /, method: get}"), @r#"
    CD0109 deploy.yaml:12:25: `get` is not a method (at `client.requests[0].method`)
    Did you mean `GET`? The methods are `DELETE`, `GET`, `HEAD`, `OPTIONS`, `PATCH`, `POST` or `PUT`.
    "#);
    insta::assert_snapshot!(request("{path: /, weight: 0}"), @r#"
    CD0108 deploy.yaml:11:3: nothing would be requested (at `client.requests`)
    Write at least one request with its `path` and a `weight` above 0.
    "#);
}

#[test]
fn an_application_is_named_so_that_every_target_can_use_the_name() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        DEPLOY.replace("application: app", "application: My App"),
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0109 deploy.yaml:1:14: `My App` is not a name for an application (at `application`)
    Write lower-case letters, digits and `-`, a letter first, at most 40.
    "#);
}

#[test]
fn lines_that_end_as_on_windows_have_the_same_places() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        format!("{DEPLOY}xyzzys: 1\n").replace('\n', "\r\n"),
    );
    let error = project.load().unwrap_err();
    assert_eq!(
        (error.code, error.line, error.column),
        ("CD0107", Some(8), Some(1))
    );
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    let project = Project::new();
    project.write(FILE_NAME, format!("\u{feff}{DEPLOY}"));
    project.load().unwrap();
}

#[test]
fn an_environment_without_settings_needs_no_braces() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        "application: app\nenvironments:\n  dev:\n  test:\n",
    );
    project.load().unwrap();
}

#[test]
fn a_gateway_names_services_that_are_told_apart_by_hosts() {
    let refused = |routes: &str, words: &str| {
        let gateway = format!("{{gateway: {{name: public, routes: {{{routes}}}}}}}");
        let project = Project::new();
        let dev = format!("dev: {{kubernetes: {gateway}}}");
        project.write(FILE_NAME, DEPLOY.replace("dev: {}", &dev));
        let said = project.refused();
        assert!(said.contains(words), "{words}: {said}");
    };
    refused("", "leads to no service");
    refused("wep: {url: 'http://shop.example'}", "Did you mean `web`?");
    for url in [
        "ftp://shop.example",
        "http://shop.example/path",
        "shop.example",
        "http://u@host",
    ] {
        refused(
            &format!("web: {{url: '{url}'}}"),
            "is not where a client asks",
        );
    }
    let upper = "web: {url: 'http://shop.example', hostnames: [Shop.example]}";
    refused(upper, "is not the name of a host");
    let same = "web: {url: 'http://10.0.0.1'}, api: {url: 'http://10.0.0.2'}";
    refused(same, "are reached by the same host (any)");
}
