//! What an instance is given: variables, addresses and secrets.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use code_deploy_engine::spec::SecretRef;
use code_deploy_engine::target::Target as _;

use crate::stage::{
    SECRET, Stage, address, command_line, get, only_instance, text, wanted, with_secret,
};

#[tokio::test]
async fn variables_come_from_both_files_and_lead_to_this_machine() {
    let stage = Stage::with(|web| {
        let process = web.file.process.as_mut().unwrap();
        process.environment.extend(BTreeMap::from([
            ("API".to_owned(), "{address:api}/v2".to_owned()),
            ("FOLDER".to_owned(), "{data}/x".to_owned()),
            ("VERSION".to_owned(), "{release}".to_owned()),
        ]));
    });
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let api = address(&target.observe().await.unwrap(), "api");
    let instance = only_instance(&target).await;
    let web = instance.address.to_string();
    let data = target.places().data().display().to_string();
    for (name, expected) in [
        ("PORT", instance.address.port().to_string()),
        ("API", format!("http://{api}/v2")),
        ("API_URL", format!("http://{api}/v1")),
        ("FOLDER", format!("{data}/x")),
        ("VERSION", "1.0.0".to_owned()),
        ("HOME", "/nowhere".to_owned()),
    ] {
        let found = get(&web, &format!("/env/{name}")).await;
        assert_eq!(found, expected, "{name}");
    }
    // The test runner sets this one; it is not passed on.
    let pid = instance.pid.unwrap();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    assert!(!environment.contains("CARGO_MANIFEST_DIR"), "{environment}");
}

#[tokio::test]
async fn a_secret_stands_in_a_file_of_its_own_and_nowhere_else() {
    let stage = Stage::with(with_secret);
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let web = only_instance(&target).await.address.to_string();
    assert_eq!(get(&web, "/secret/TOKEN").await, SECRET);
    let file = std::path::PathBuf::from(get(&web, "/env/TOKEN").await);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    for pid in stage.processes() {
        assert!(!command_line(pid).contains(SECRET));
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains(SECRET));
    }
    assert_eq!(holding(stage.folder.path()), [file]);
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the files that hold the secret.
fn holding(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&entry.path()));
        } else if kind.is_file() {
            let text = std::fs::read(entry.path()).unwrap();
            if String::from_utf8_lossy(&text).contains(SECRET) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_is_started() {
    let stage = Stage::with(|web| {
        with_secret(web);
        let process = web.file.process.as_mut().unwrap();
        let reference = SecretRef::Env("NOT_THERE".to_owned());
        process.secrets.insert("ZEBRA".to_owned(), reference);
    });
    let target = stage.opened().await;
    let error = target.start(&wanted("web", "1.0.0", 2)).await.unwrap_err();
    assert!(
        text(&error).starts_with("CD0513 web: secret ZEBRA"),
        "{}",
        text(&error)
    );
    assert!(text(&error).contains("NOT_THERE"));
    assert_eq!(stage.instance_folders(), Vec::<std::path::PathBuf>::new());
    assert_eq!(stage.supervisors(), Vec::<u32>::new());
}
