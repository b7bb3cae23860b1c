//! What others have on an engine, from before a run.

use std::process::Stdio;

use crate::docker::docker;
use crate::stage;

const CONTAINER: &str = "somebodys";
const NETWORK: &str = "somebodys-network";
const VOLUME: &str = "somebodys-data";
const IMAGE: &str = "somebodys/image:7";

/// Where the container has its file, in the volume.
const FILE: &str = "somebodys:/kept/note";

/// A label that Compose would give what belongs to the project that is deployed.
const LABEL: &str = "com.docker.compose.project=shop-dev";

/// A container that runs, its network, a volume with a file, and a name of an image: all somebody else's.
pub struct Foreign {
    before: Vec<String>,
}

impl Foreign {
    /// Makes all of it, from an image of the shop that the engine has.
    #[track_caller]
    pub fn make() -> Self {
        docker(&["network", "create", "--label", LABEL, NETWORK]);
        docker(&["volume", "create", "--label", LABEL, VOLUME]);
        let volume = format!("{VOLUME}:/kept");
        let started = ["run", "--detach", "--name", CONTAINER, "--label", LABEL];
        let placed = ["--network", NETWORK, "--volume", &volume];
        let given = [
            "--env",
            "PORT=8080",
            "--env",
            "CATALOG_URL=http://127.0.0.1:9",
            "--env",
            "ORDERS_URL=http://127.0.0.1:9",
        ];
        let command = ["shop:1.0.0", "shop", "storefront"];
        let words = [started.as_slice(), &placed, &given, &command];
        docker(&words.concat());
        let note = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(note.path(), "somebody's").unwrap();
        docker(&["cp", note.path().to_str().unwrap(), FILE]);
        docker(&["tag", "shop:1.0.0", IMAGE]);
        let before = look();
        assert!(before[0].contains("\"Running\": true"), "{}", before[0]);
        Self { before }
    }

    /// Asserts that nothing of it has changed: it is what it was, and runs since when it ran.
    #[track_caller]
    pub fn is_as_it_was(&self) {
        assert_eq!(look(), self.before);
    }
}

/// Returns all that the engine tells of it, and what the file holds.
#[track_caller]
fn look() -> Vec<String> {
    let copied = tempfile::tempdir().unwrap();
    let copy = copied.path().join("note");
    docker(&["cp", FILE, copy.to_str().unwrap()]);
    // An image is told with all its names, and runs give it some.
    let image = "{{.Id}} {{.Created}}";
    vec![
        docker(&["container", "inspect", CONTAINER]),
        docker(&["network", "inspect", NETWORK]),
        docker(&["volume", "inspect", VOLUME]),
        docker(&["image", "inspect", "--format", image, IMAGE]),
        std::fs::read_to_string(copy).unwrap(),
    ]
}

impl Drop for Foreign {
    /// What a failing test leaves would be in the way of the next.
    fn drop(&mut self) {
        for words in [
            ["rm", "--force", CONTAINER].as_slice(),
            &["network", "rm", NETWORK],
            &["volume", "rm", VOLUME],
            &["rmi", IMAGE],
        ] {
            let mut command = std::process::Command::new("docker");
            let command = command.args(words).env("DOCKER_HOST", stage::docker());
            command.stdout(Stdio::null()).status().ok();
        }
    }
}
