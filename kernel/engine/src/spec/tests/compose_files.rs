//! Compose files: what is read, refused, noted.

use super::*;
use crate::duration::Span;

#[test]
fn a_circle_of_services_is_refused_and_named() {
    insta::assert_snapshot!(
        with_compose(
            "services:\n  web: {image: w, ports: ['80'], depends_on: [api]}\n  \
             api: {image: a, ports: ['80'], depends_on: {db: {condition: service_started}}}\n  \
             db: {image: d, ports: ['80'], depends_on: [web]}\n"
        ),
        @r#"
        CD0114 compose.yaml:3:34: services need each other in a circle: api -> db -> web -> api (at `services.api.depends_on`)
        Take one of these dependencies out: none of them could be started first.
        "#
    );
}

#[test]
fn a_dependency_that_is_no_service_is_refused() {
    insta::assert_snapshot!(
        with_compose("services:\n  web:\n    image: w\n    expose: [80]\n    depends_on: [wob]\n"),
        @r#"
        CD0112 compose.yaml:5:18: `web` depends on `wob`, which is no service here (at `services.web.depends_on[0]`)
        The services are `web`.
        "#
    );
}

#[test]
fn keys_and_forms_that_compose_does_not_know_are_refused() {
    insta::assert_snapshot!(with_compose("service: {}\n"), @r#"
    CD0107 compose.yaml:1:1: the Compose specification has no key `service` (at `service`)
    Did you mean `services`? The keys here are `configs`, `include`, `models`, `name`, `networks`, `secrets`, `services`, `version` or `volumes`.
    "#);
    insta::assert_snapshot!(with_compose("services:\n  web:\n    imaeg: w\n"), @r#"
    CD0107 compose.yaml:3:5: the Compose specification has no key `imaeg` for a service (at `services.web.imaeg`)
    Did you mean `image`? Extensions begin with `x-`.
    "#);
    insta::assert_snapshot!(with_compose("services:\n  web:\n    command: {a: b}\n"), @r#"
    CD0119 compose.yaml:3:5: `command` of `web` has a form that Compose does not know (at `services.web.command`)
    See https://docs.docker.com/reference/compose-file/services/#command for its forms.
    "#);
    insta::assert_snapshot!(with_compose("services:\n  web:\n    ports: ['http']\n"), @r#"
    CD0119 compose.yaml:3:13: `http` is not a port (at `services.web.ports[0]`)
    Write "8080", "80:8080" or "127.0.0.1:80:8080", in quotes.
    "#);
    insta::assert_snapshot!(with_compose("services: {}\n"), @r#"
    CD0119 compose.yaml:1:1: the Compose file has no services (at `services`)
    Write the services under `services:`.
    "#);
    insta::assert_snapshot!(with_compose("services:\n  web:\n    restart: sometimes\n"), @r#"
    CD0119 compose.yaml:3:14: `sometimes` is not a restart policy (at `services.web.restart`)
    Write "no" (in quotes), always, unless-stopped, on-failure or on-failure:3.
    "#);
    insta::assert_snapshot!(
        with_compose("services:\n  web:\n    deploy: {resources: {limits: {memory: lots}}}\n"),
        @r#"
        CD0119 compose.yaml:3:43: `lots` is not an amount of memory (at `services.web.deploy.resources.limits.memory`)
        Write it as 256M or 1G.
        "#
    );
}

#[test]
fn what_would_be_left_out_unseen_is_refused() {
    insta::assert_snapshot!(
        with_compose("services:\n  web:\n    image: w\n    extends: {file: x.yaml, service: y}\n"),
        @r#"
        CD0121 compose.yaml:4:5: `extends` of `web` is not supported: settings of another service or file would be left out (at `services.web.extends`)
        Take it out, or write what it stands for: `docker compose config` prints a file with everything resolved.
        "#
    );
    insta::assert_snapshot!(with_compose("include: [x.yaml]\nservices: {}\n"), @r#"
    CD0121 compose.yaml:1:1: `include` is not supported: what it brings would be left out (at `include`)
    Write the services into this file: `docker compose config` prints it with everything included.
    "#);
    insta::assert_snapshot!(
        with_compose("services:\n  web:\n    image: w\n    deploy: {mode: global}\n"),
        @r#"
        CD0121 compose.yaml:4:20: `deploy.mode` of `web` is not supported (at `services.web.deploy.mode`)
        Take it out and give `deploy.replicas`.
        "#
    );
}

#[test]
fn a_variable_that_must_be_set_or_is_badly_written_is_refused() {
    insta::assert_snapshot!(
        with_compose("services:\n  web:\n    image: web:${TAG:?say which}\n"),
        @r#"
        CD0120 compose.yaml:3:12: the variable `TAG` must be set: say which (at `services.web.image`)
        Set it where the program is started, or under `environments.NAME.variables.TAG` of the deployment file.
        "#
    );
    insta::assert_snapshot!(with_compose("services:\n  web:\n    image: web:${TAG\n"), @r#"
    CD0120 compose.yaml:3:12: `${TAG` is not a variable (at `services.web.image`)
    Write ${NAME}, ${NAME:-default} or ${NAME:?message}; a dollar sign itself is $$.
    "#);
}

#[test]
fn a_service_without_a_port_is_refused() {
    insta::assert_snapshot!(with_compose("services:\n  web: {image: w}\n"), @r#"
    CD0108 deploy.yaml:6:3: nothing says on which port `web` listens (at `services.web.port`)
    Write `services.web.port`, or `expose` or `ports` in the Compose file.
    "#);
}

#[test]
fn a_secret_in_plain_text_is_refused_and_not_repeated() {
    for lines in [
        "environment: {DB_PASSWORD: hunter2}",
        "environment: [DB_PASSWORD=hunter2]",
        "environment: {DB: 'postgres://u:hunter2@db/x'}",
        "environment: {DB_PASSWORD: '${DB_PASSWORD:-hunter2}'}",
        "env_file: secret.env",
    ] {
        let project = Project::new();
        project.write("secret.env", "A=b\nDB_PASSWORD=hunter2\n");
        let text = format!("services:\n  web:\n    image: w\n    expose: [80]\n    {lines}\n");
        project.write("compose.yaml", text);
        let error = project.load().unwrap_err();
        assert_eq!(error.code, "CD0111", "{lines}");
        assert!(!format!("{error:?}").contains("hunter2"), "{lines}");
        if lines.starts_with("env_file") {
            insta::assert_snapshot!(project.shown(&error), @r#"
            CD0111 secret.env:2: `DB_PASSWORD` of `web` holds a secret in plain text
            Take the value out. Write `DB_PASSWORD: ${DB_PASSWORD}` and set it where the program is started, or name it in deploy.yaml under `services.web.process.secrets`: `DB_PASSWORD: env:DB_PASSWORD` or `DB_PASSWORD: file:PATH`.
            "#);
        }
    }
    insta::assert_snapshot!(
        with_compose(
            "services:\n  web:\n    image: w\n    environment:\n      DB_PASSWORD: hunter2\n"
        ),
        @r#"
        CD0111 compose.yaml:5:20: `DB_PASSWORD` of `web` holds a secret in plain text (at `services.web.environment.DB_PASSWORD`)
        Take the value out. Write `DB_PASSWORD: ${DB_PASSWORD}` and set it where the program is started, or name it in deploy.yaml under `services.web.process.secrets`: `DB_PASSWORD: env:DB_PASSWORD` or `DB_PASSWORD: file:PATH`.
        "#
    );
}

#[test]
fn a_secret_that_comes_from_a_variable_is_kept_as_a_reference() {
    let project = Project::new();
    project.write(
        "compose.yaml",
        "services:\n  web:\n    image: w\n    expose: [80]\n    environment:\n      \
         API_TOKEN: ${TOKEN}\n      DB_PASSWORD:\n      DB: ${DB}\n",
    );
    let vars = |name: &str| match name {
        "TOKEN" | "DB_PASSWORD" => Some("hunter2".to_owned()),
        "DB" => Some("postgres://u:hunter2@db/x".to_owned()),
        _ => None,
    };
    let spec = Spec::load(&project.path(FILE_NAME), "dev", "local", &vars).unwrap();
    assert!(!serde_json::to_string(&spec).unwrap().contains("hunter2"));
    let secrets = &spec.compose.services["web"].secret_variables;
    let names: Vec<&String> = secrets.keys().collect();
    assert_eq!(names, ["API_TOKEN", "DB", "DB_PASSWORD"]);
    assert_eq!(secrets["API_TOKEN"], SecretRef::Env("TOKEN".to_owned()));
}

#[test]
fn both_forms_of_every_key_are_read() {
    let project = Project::new();
    project.write("more.env", "# more\nexport FROM_FILE=\"a b\"\nOVER=file\n");
    project.write(
        "compose.yaml",
        r#"
name: app
x-common: &common
  restart: unless-stopped
services:
  web:
    <<: *common
    image: web:1
    ports:
      - target: 80
        published: "8080"
        protocol: tcp
    depends_on: {api: {condition: service_healthy, restart: true}}
    environment: [A=1, "B=x=y", C]
    env_file: [more.env, {path: none.env, required: false}]
    labels: [code-deploy.owner=web-team]
    stop_grace_period: 1m30s
    volumes: [data:/data, {type: bind, source: ./x, target: /x}]
    healthcheck: {test: curl -f http://localhost:80/healthz || exit 1, interval: 5s}
  api:
    build: ./api
    expose: [9000]
    environment: {N: 1, F: 1.5, ON: true, OVER: compose}
    env_file: more.env
    deploy:
      replicas: 3
      resources: {limits: {cpus: 0.5, memory: 256M}}
      restart_policy: {condition: on-failure, max_attempts: 2}
volumes: {data: }
"#,
    );
    let vars = |name: &str| (name == "C").then(|| "from outside".to_owned());
    let spec = Spec::load(&project.path(FILE_NAME), "dev", "local", &vars).unwrap();
    let names: Vec<&str> = spec.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["api", "web"]);
    let (api, web) = (&spec.services[0], &spec.services[1]);
    assert_eq!((web.port, web.published, web.replicas), (80, Some(8080), 1));
    assert_eq!(web.owner.as_deref(), Some("web-team"));
    assert_eq!(web.restart, Restart::UnlessStopped);
    assert_eq!(web.stop_grace, Span::from_secs(90));
    let environment: Vec<String> = web
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        environment,
        [
            "A=1",
            "B=x=y",
            "C=from outside",
            "FROM_FILE=a b",
            "OVER=file"
        ]
    );
    assert_eq!((api.port, api.replicas), (9000, 3));
    assert_eq!(api.restart, Restart::OnFailure(Some(2)));
    assert_eq!(api.memory_limit, Some(256 << 20));
    assert_eq!(api.processor_limit, Some(0.5));
    assert_eq!(api.environment["OVER"], "compose");
    assert_eq!(api.environment["F"], "1.5");
    let facts = &spec.compose.services["web"];
    assert_eq!(
        facts.health_url.as_deref(),
        Some("http://localhost:80/healthz")
    );
    assert_eq!(facts.volumes, ["data:/data", "./x:/x"]);
}

#[test]
fn forms_that_are_met_in_the_wild_are_read() {
    let project = Project::new();
    project.write(
        "compose.yaml",
        r#"
version: "3.8"
x-env: &env {LOG: info, EMPTY: }
services:
  web:
    image: nginx
    command: ["nginx", "-g", "daemon off;"]
    entrypoint: /entry.sh
    environment: {<<: *env, OTHER: 1_000}
    ports: [8080, "127.0.0.1:9090:90/tcp", {target: 70, published: 7070, name: admin}]
    restart: no
    labels: {a.b: true, n: 1}
    user: 1000:1000
    healthcheck: {disable: true}
    networks: {back: {aliases: [w]}, front: }
    logging: {driver: json-file, options: {max-size: 10m}}
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    sysctls: [net.core.somaxconn=1024]
    cap_drop: [ALL]
    tmpfs: /tmp
    init: true
    deploy:
      mode: replicated
      endpoint_mode: vip
      labels: {x: y}
      placement: {constraints: [node.role == worker]}
      resources: {limits: {cpus: '0.50', memory: 50M, pids: 100}, reservations: {memory: 20M}}
  api:
    build: {context: ., dockerfile: Dockerfile, args: {V: 1}, target: run}
    expose: [8000]
    depends_on:
      web: {condition: service_started, required: true}
    scale: 2
    mem_limit: 512m
    cpus: 1.5
    platform: linux/amd64
    secrets: [{source: key, target: /k}]
    configs: [conf]
    extra_hosts: ["host.docker.internal:host-gateway"]
networks: {back: {driver: bridge}, front: {external: true}}
volumes: {data: {driver: local}}
secrets: {key: {file: ./key.txt}}
configs: {conf: {content: "x"}}
"#,
    );
    let spec = project
        .load()
        .unwrap_or_else(|error| panic!("{:?}", error.problem()));
    let (web, api) = (&spec.services[0], &spec.services[1]);
    assert_eq!(
        (web.name.as_str(), web.port, web.published),
        ("web", 8080, None)
    );
    assert_eq!(web.restart, Restart::No);
    let facts = &spec.compose.services["web"];
    assert_eq!(facts.ports, [8080, 90, 70]);
    assert_eq!(facts.published, [(70, 7070), (90, 9090)].into());
    assert_eq!(web.memory_limit, Some(50 << 20));
    assert_eq!((api.replicas, api.memory_limit), (2, Some(512 << 20)));
    assert_eq!(api.processor_limit, Some(1.5));
    let facts = &spec.compose.services["api"];
    assert_eq!(
        (facts.secrets.as_slice(), facts.configs.as_slice()),
        (&["key".to_owned()][..], &["conf".to_owned()][..])
    );
}

#[test]
fn variables_come_from_the_environment_of_the_file_then_the_process_then_dot_env() {
    let project = Project::new();
    let image = |vars: &dyn Fn(&str) -> Option<String>| {
        let spec = Spec::load(&project.path(FILE_NAME), "dev", "local", vars).unwrap();
        spec.service("web").unwrap().image.clone().unwrap()
    };
    assert_eq!(image(&|_| None), "web:1");
    project.write(".env", "TAG=dotenv\n");
    assert_eq!(image(&|_| None), "web:dotenv");
    assert_eq!(image(&|_| Some("process".to_owned())), "web:process");
    let deploy = DEPLOY.replace("dev: {}", "dev: {variables: {TAG: file}}");
    project.write(FILE_NAME, deploy);
    assert_eq!(image(&|_| Some("process".to_owned())), "web:file");
}

#[test]
fn what_no_target_honours_is_noted() {
    let project = Project::new();
    project.write(
        "compose.yaml",
        "services:\n  web:\n    image: web:$MISSING\n    expose: [80]\n    links: [x]\n    \
         deploy: {update_config: {parallelism: 1}}\n  extra: {image: e, profiles: [debug]}\n",
    );
    insta::assert_snapshot!(project.load().unwrap().compose_notes.join("\n"), @r#"
    compose.yaml:3: the variable `MISSING` is not set and counts as empty
    compose.yaml:5: `links` of `web` is not honoured: services are reached by their own addresses
    compose.yaml:6: `deploy.update_config` of `web` is not honoured: the strategy of the deployment file says how releases change
    compose.yaml:7: `extra` belongs to profiles and is not deployed
    "#);
}

#[test]
fn a_dependency_that_has_to_complete_first_is_refused_with_its_line() {
    let said = |condition: &str| {
        with_compose(&format!(
            "services:\n  web:\n    image: w\n    expose: [80]\n    depends_on:\n      \
             job: {{condition: {condition}}}\n  job: {{image: j, expose: [80]}}\n"
        ))
    };
    for (condition, words) in [
        (
            "service_completed_successfully",
            [
                "CD0121 compose.yaml:6:",
                "`job` has completed",
                "`profiles`",
            ],
        ),
        (
            "service_done",
            [
                "CD0119 compose.yaml:6:",
                "`service_done`",
                "service_healthy",
            ],
        ),
    ] {
        let said = said(condition);
        for word in words {
            assert!(said.contains(word), "`{word}` is not in {said}");
        }
    }
}

#[test]
fn services_come_after_those_they_depend_on_and_what_is_not_honoured_of_that_is_noted() {
    let project = Project::new();
    project.write(
        "compose.yaml",
        "services:
  a:
    image: a
    expose: [80]
    depends_on:
      b: {condition: service_healthy}
      extra: {condition: service_started, required: false}
  b:
    image: b
    expose: [80]
    depends_on:
      c: {condition: service_started, required: false, restart: true}
  c: {image: c, expose: [80]}
  web: {image: w, expose: [80], depends_on: [a]}
  extra: {image: e, profiles: [debug]}
",
    );
    let spec = project.load().unwrap();
    let names: Vec<&str> = spec.services.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a", "web"]);
    assert_eq!(spec.service("a").unwrap().needs, ["b"]);
    for note in [
        "compose.yaml:7: `a` goes without `extra`, which belongs to profiles",
        "compose.yaml:12: `depends_on.c.restart` of `b` is not honoured",
        "compose.yaml:12: `depends_on.c.required` of `b` is not honoured",
    ] {
        let notes = &spec.compose_notes;
        assert!(notes.iter().any(|one| one.starts_with(note)), "{notes:?}");
    }
}

#[test]
fn what_the_local_target_does_not_honour_is_found_with_service_and_line() {
    let project = Project::new();
    project.write(
        "compose.yaml",
        "services:\n  web:\n    image: w\n    expose: [80]\n    privileged: true\n    \
         network_mode: host\n    volumes: ['x:/x']\n    mem_limit: 1g\n    read_only: false\n    \
         environment: {API_TOKEN: '$TOKEN'}\n    ports: ['8080:80']\n  api:\n    image: a\n    expose: [80]\n",
    );
    project.write(
        FILE_NAME,
        format!("{DEPLOY}    process: {{command: [bin/web]}}\n"),
    );
    let findings = local_limits(&project.load().unwrap());
    let lines: Vec<String> = findings
        .iter()
        .map(|limit| &limit.finding)
        .map(|f| format!("{:?} {} {}: {}", f.severity, f.rule, f.place, f.message))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Info compose/image compose.yaml:3 web: `image` of `web` is not honoured by the local target: `process.command` is run instead of the image
    Critical compose/privileged compose.yaml:5 web: `privileged` of `web` is not honoured by the local target: a process of this machine cannot be given rights of a container
    Critical compose/network_mode compose.yaml:6 web: `network_mode` of `web` is not honoured by the local target: processes of this machine share its network already, without the separation that the mode promises or gives up
    Medium compose/volumes compose.yaml:7 web: `volumes` of `web` is not honoured by the local target: it is not mounted; `{data}` in `process.environment` is a folder that is kept over releases
    Medium compose/mem_limit compose.yaml:8 web: `mem_limit` of `web` is not honoured by the local target: it is not enforced for a process of this machine
    Info compose/image compose.yaml:13 api: `image` of `api` is not honoured by the local target: `process.command` is run instead of the image
    Critical local/no-process compose.yaml:12 api: `api` has no program that this machine could start
    Critical local/secret-variable compose.yaml:2 web: `API_TOKEN` of `web` is a secret, and processes get secrets as private files only
    Low local/port compose.yaml:2 web: `web` is published at port 8080 by the Compose file, and is reached at a free port here
    "#);
}
