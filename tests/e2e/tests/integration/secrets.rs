//! A hundred and twenty planted secrets, which a service writes into its log in every form it can, are
//! nowhere in what the program says, keeps or shows.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use code_deploy_kills::processes_of;

use crate::kit::{Place, Said};

/// The secrets that the deployment file refers to.
const BY_REFERENCE: usize = 100;

/// The secrets that nobody told of: only their form gives them away.
const BY_FORM: usize = 20;

/// Writes what it knows into its log, as itself, in a URL, in JSON and in base64, and is then the
/// program that it is given, or ends.
const LEAK: &str = r#"#!/bin/sh
if [ "$1" = crash ]; then
    name=$(env | grep -o '^PLANTED_[0-9]*' | head -n 1)
    eval "path=\$$name"
    printf 'connecting with %s\n' "$(cat "$path")"
    tail -n 5 "$(dirname "$0")/forms.txt"
    exit 1
fi
cat "$(dirname "$0")/forms.txt"
for name in $(env | grep -o '^PLANTED_[0-9]*'); do
    eval "path=\$$name"
    value=$(cat "$path")
    printf 'connecting with %s\n' "$value"
    printf '{"level":"error","message":"refused","url":"https://app:%s@db/shop"}\n' "$value" >&2
    printf 'Authorization: Basic %s\n' "$(printf '%s' "$value" | base64 -w0)"
    printf 'digest of %s\n' "$(printf '%s' "$value" | base64 -w0)"
done
exec "$@"
"#;

/// A value that is secret, and the parts of it of which none may be seen.
struct Planted {
    value: String,
    parts: Vec<String>,
}

/// Returns letters and digits that stand nowhere else.
fn unique(number: usize, length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (number as u64 + 1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRSTUVWXYZ23456789"[(state >> 33) as usize % 54],
        )
    };
    (0..length).map(|_| next()).collect()
}

fn by_reference(number: usize) -> Planted {
    let core = unique(number, 24);
    let other = unique(number + 1000, 48);
    let value = match number % 10 {
        0 => format!("{core}\"quoted'{{}}"),
        1 => format!("first line {core}\nsecond line {other}"),
        2 => format!("-----BEGIN PRIVATE KEY-----\n{other}\n{core}\n-----END PRIVATE KEY-----"),
        3 => format!("postgres://app:{core}@db.internal:5432/shop?sslmode=require"),
        4 => format!("пароль-{core}-密码"),
        5 => format!("{core}/+=="),
        6 => format!("C:\\keys\\{core}"),
        7 => format!("sk_live_{core}"),
        8 => format!("two words {core} and more"),
        _ => format!("100%{core}%&="),
    };
    let mut parts = vec![
        core,
        STANDARD.encode(&value).trim_end_matches('=').to_owned(),
    ];
    if value.contains(&other) {
        parts.push(other);
    }
    Planted { value, parts }
}

/// Returns a line of a log that holds a secret, and the secret.
fn by_form(number: usize) -> Planted {
    let core = unique(number + 5000, 40);
    let (value, part) = match number % 10 {
        0 => (format!("pushing with ghp_{core}"), core),
        1 => {
            let key = core.to_uppercase()[..16].to_owned();
            (format!("access key AKIA{key}"), key)
        }
        2 => (
            format!("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{core}"),
            core,
        ),
        3 => (format!("password={core}"), core),
        4 => (format!("> Authorization: Bearer {core}"), core),
        5 => (format!("opening mysql://root:{core}@db/shop"), core),
        6 => (format!("{{\"client_secret\": \"{core}\"}}"), core),
        7 => (
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{core}\n-----END OPENSSH PRIVATE KEY-----"
            ),
            core,
        ),
        8 => (format!("glpat-{core}"), core),
        _ => (format!("api_key: {core}"), core),
    };
    Planted {
        value,
        parts: vec![part],
    }
}

/// The demonstration with a service that gives everything away.
struct Leaking {
    place: Place,
    planted: Vec<Planted>,
    environment: BTreeMap<String, String>,
}

impl Leaking {
    fn new() -> Self {
        let place = Place::new();
        place.lay_out_upgrade();
        let mut planted: Vec<Planted> = (0..BY_REFERENCE).map(by_reference).collect();
        let (mut secrets, mut environment) = (String::new(), BTreeMap::new());
        for (number, one) in planted.iter().enumerate() {
            // One half is given in the environment, the other in private files.
            let reference = if number % 2 == 0 {
                environment.insert(format!("GIVEN_{number}"), one.value.clone());
                format!("env:GIVEN_{number}")
            } else {
                place.write(&format!("given/{number}"), &one.value);
                format!("file:../given/{number}")
            };
            secrets.push_str(&format!("        PLANTED_{number}: {reference}\n"));
        }
        let forms: Vec<Planted> = (0..BY_FORM).map(by_form).collect();
        let lines: Vec<&str> = forms.iter().map(|one| one.value.as_str()).collect();
        place.write("leak/forms.txt", lines.join("\n") + "\n");
        place.write("leak/leak.sh", LEAK);
        let script = place.path().join("leak/leak.sh");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        planted.extend(forms);
        place.edit(
            "      command: [\"{program}\", \"internal\", \"shop\", \"orders\"]\n",
            &format!(
                "      secrets:\n{secrets}      command: [\"{}\", \"{{program}}\", \"internal\", \
                 \"shop\", \"orders\"]\n",
                script.display()
            ),
        );
        Self {
            place,
            planted,
            environment,
        }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.place.command(&self.place.demo(), arguments);
        command.envs(&self.environment);
        Said::from(command.output().unwrap())
    }

    /// Returns the secrets of which a part stands in a text.
    fn seen_in(&self, text: &[u8]) -> Vec<usize> {
        let text = String::from_utf8_lossy(text);
        let shows = |one: &Planted| one.parts.iter().any(|part| text.contains(part.as_str()));
        let all = self.planted.iter().enumerate();
        all.filter(|(_, one)| shows(one))
            .map(|(at, _)| at)
            .collect()
    }

    #[track_caller]
    fn assert_unseen(&self, where_: &str, text: &[u8]) {
        assert_eq!(self.seen_in(text), Vec::<usize>::new(), "in {where_}");
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), all);
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
}

/// What a service has of its own: the private files with its secrets, and its own log.
fn is_the_services_own(path: &Path) -> bool {
    let has = |name: &str| path.components().any(|part| part.as_os_str() == name);
    let log = path.file_name().is_some_and(|name| name == "log.jsonl");
    has("secrets") || has("logs") || log
}

#[test]
fn planted_secrets_are_nowhere_in_what_is_said_kept_and_shown() {
    let leaking = Leaking::new();
    let said = leaking.run(&["dev", "local", "--yes"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    leaking.assert_unseen(
        "what a run says",
        format!("{}{}", said.out, said.err).as_bytes(),
    );
    for words in [
        &["status"][..],
        &["record"],
        &["plan", "-e", "dev", "-t", "local", "--json"],
        &["notebooks", "--out", "again"],
    ] {
        let said = leaking.run(words);
        let text = format!("{}{}", said.out, said.err);
        leaking.assert_unseen(&words.join(" "), text.as_bytes());
    }
    let processes = processes_of(leaking.place.path()).unwrap();
    assert!(processes.len() > 6, "{}", processes.len());
    for process in processes {
        let folder = PathBuf::from(format!("/proc/{}", process.pid));
        for name in ["cmdline", "environ"] {
            if let Ok(text) = std::fs::read(folder.join(name)) {
                leaking.assert_unseen(&format!("{name} of {}", process.line), &text);
            }
        }
    }
    // A service that ends at once, and is started again and again: its last words are part of what
    // the program says.
    leaking.place.edit("leak.sh\", ", "leak.sh\", \"crash\", ");
    let said = leaking.run(&["dev", "local", "--to", "1.0.0", "--yes"]);
    assert_ne!(said.code, Some(0));
    let text = format!("{}{}", said.out, said.err);
    for hidden in ["[secret PLANTED_", "[secret: "] {
        assert!(text.contains(hidden), "{text}");
    }
    leaking.assert_unseen("what a failed run says", text.as_bytes());

    let mut all = Vec::new();
    files(leaking.place.path(), &mut all);
    let (mut looked, mut own) = (0, 0);
    for path in all {
        let inside = path.strip_prefix(leaking.place.path()).unwrap();
        if inside.starts_with("given") || inside.starts_with("leak") {
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        if is_the_services_own(inside) {
            let seen = leaking.seen_in(&text).len();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", inside.display());
            own += seen;
            continue;
        }
        leaking.assert_unseen(&inside.display().to_string(), &text);
        looked += 1;
    }
    // They were there to be seen.
    assert!(own >= BY_REFERENCE + BY_FORM, "{own}");
    assert!(looked > 100, "{looked}");
}
