//! Images that are built, pushed to a real registry and read back.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use code_deploy_record::{RunOutcome, Verdict};
use nix::unistd::Pid;

use crate::docker::{build_catalog, docker, ended};
use crate::kit::Place;
use crate::stage::Part;

/// A registry of the test's own on the loopback, which ends with it.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    folder: PathBuf,
}

impl Registry {
    /// Starts one on a free port.
    #[track_caller]
    pub(crate) fn start(place: &Place) -> Self {
        Self::run(place.path().join("registry"), "127.0.0.1:0", &[])
    }

    /// Starts another one that has the same and the same address, in the network of a process.
    #[track_caller]
    pub(crate) fn also_beside(&self, process: Pid) -> Self {
        let network = format!("--net=/proc/{process}/ns/net");
        let before = ["nsenter".to_owned(), network];
        Self::run(self.folder.clone(), &self.address, &before)
    }

    #[track_caller]
    fn run(folder: PathBuf, address: &str, before: &[String]) -> Self {
        let settings = format!(
            "version: 0.1\nlog: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: {address} }}\n",
            folder.display()
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), settings).unwrap();
        let program = Part::Registry.path().display().to_string();
        let words = [before, &[program, "serve".to_owned()]].concat();
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            .arg(file.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, after)) = line.split_once("listening on ") {
                let end = after.find(['"', ',', '\n']).unwrap();
                break after[..end].to_owned();
            }
        };
        // It must not wait for somebody who reads.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self {
            process,
            address,
            folder,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn an_image_is_pushed_and_its_digest_read_back_where_the_registry_answers() {
    let place = Place::with_docker();
    place.lay_out_upgrade();
    let compose = place.demo().join("compose.yaml");
    let before = std::fs::read_to_string(&compose).unwrap();
    place.edit("  dev:\n", "  dev:\n    push_images: true\n");
    one_that_does_not_answer_ends_the_run(&place);
    std::fs::write(&compose, before).unwrap();

    let registry = Registry::start(&place);
    let name = format!("{}/shop/catalog", registry.address);
    let image = format!("{name}:${{CODE_DEPLOY_RELEASE:-1.0.0}}");
    build_catalog(&place, &image, "FROM shop:1.1.0 AS base\nFROM base\n");
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    let pushed = &state.items[&"2.2.5".parse().unwrap()];
    assert!(matches!(pushed.verdict, Verdict::Met { .. }), "{pushed:?}");
    let images = &state.steps[&"build.images".parse().unwrap()].result["images"];
    let mut images = images.as_array().unwrap().iter().map(|one| &one["image"]);
    let catalog = images.find(|one| one["service"] == "catalog").unwrap();
    let read = catalog["pushed"][0].as_str().unwrap();
    let agree = &state.items[&"2.2.7".parse().unwrap()];
    assert_eq!(agree.verdict, Verdict::Open, "{agree:?}");
    let others = "in no registry that the engine knows of";
    assert!(agree.reason.contains(others), "{agree:?}");
    assert!(!agree.reason.contains("catalog"), "{agree:?}");
    docker(&["pull", "--quiet", read]);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", read]);
    assert_eq!(catalog["id"], id.as_str());
    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
}

/// Nothing was started then.
fn one_that_does_not_answer_ends_the_run(place: &Place) {
    let address = Registry::start(place).address.clone();
    let image = format!("{address}/shop/catalog:${{CODE_DEPLOY_RELEASE:-1.0.0}}");
    build_catalog(place, &image, "FROM shop:1.1.0\n");
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    let text = format!("{}\n{}", said.out, said.err);
    assert_eq!(said.code, Some(1), "{text}");
    for words in ["CD0525", "was not pushed", &address, "push_images"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
}
