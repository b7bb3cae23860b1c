//! The first process of a router's container, without a container.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use code_deploy_router::{
    BackendAddress, CHOSEN_PROGRAM, ControlClient, Error, HostClient, Program, RouterConfig,
    ServiceConfig, program_build,
};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::asking::Crowd;
use crate::stage::{LIMIT, PROGRAM, another_build, eventually, signal};

/// An instance that says `ok` to everything.
async fn instance() -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (tracker, ended) = (TaskTracker::new(), stop.clone());
    let answers = tracker.clone();
    tracker.spawn(ended.run_until_cancelled_owned(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            answers.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                stream.write_all(answer).await.ok();
            });
        }
    }));
    (address, stop.drop_guard())
}

struct Hosted {
    config: PathBuf,
    control: ControlClient,
    host: Option<Child>,
}

impl Drop for Hosted {
    /// A failing test leaves no process behind.
    fn drop(&mut self) {
        if let Some(mut host) = self.host.take() {
            signal(host.id(), Signal::SIGTERM);
            host.wait().unwrap();
        }
    }
}

impl Hosted {
    fn start(folder: &Path) -> Self {
        let folder = folder.join("router");
        let settings = RouterConfig::new(folder.join("state.json"), folder.join("control.sock"));
        let config = folder.join("config.json");
        std::fs::create_dir_all(&folder).unwrap();
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&folder, private).unwrap();
        std::fs::write(&config, serde_json::to_vec(&settings).unwrap()).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["internal", "router-host", "--config"]);
        Self {
            host: Some(command.arg(&config).spawn().unwrap()),
            control: ControlClient::new(settings.control_socket),
            config,
        }
    }

    async fn answers(&self) {
        eventually("the router answers", || async {
            self.control.status().await.ok().map(drop)
        })
        .await;
    }

    async fn build(&self) -> String {
        self.control.build().await.unwrap().unwrap()
    }

    async fn go_over(&self, program: &Path) -> Result<(), Error> {
        let program = Program {
            command: vec![program.to_owned()],
            file: program.to_owned(),
        };
        let host = HostClient::of(self.control.socket());
        host.go_over(program, LIMIT).await
    }

    /// Ends it as Docker does.
    async fn stop(mut self) {
        let mut host = self.host.take().unwrap();
        signal(host.id(), Signal::SIGTERM);
        let ended = tokio::task::spawn_blocking(move || host.wait().unwrap());
        let ended = tokio::time::timeout(LIMIT, ended).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test]
async fn a_host_goes_over_to_other_builds_while_clients_ask_and_begins_with_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let [second, third] = ["second", "third"].map(|name| another_build(folder.path(), name));
    let (backend, _instance) = instance().await;
    let hosted = Hosted::start(folder.path());
    hosted.answers().await;
    let own = program_build(Path::new(PROGRAM)).unwrap();
    assert_eq!(hosted.build().await, own);
    let control = &hosted.control;
    let service = ServiceConfig::new("web", "127.0.0.1:0".parse().unwrap());
    let address = control.put_service(service).await.unwrap().address;
    let backends = vec![BackendAddress::new("web-1", backend)];
    let put = control.put_release("web", "1.0.0", backends);
    put.await.unwrap();
    let all = [("1.0.0".to_owned(), 100)].into();
    let set = control.set_weights([("web".to_owned(), all)].into());
    set.await.unwrap();
    let crowd = Crowd::at(address, "/");
    crowd.more(20).await;

    hosted.go_over(&second).await.unwrap();
    assert_eq!(hosted.build().await, program_build(&second).unwrap());
    crowd.more(20).await;
    eventually("the one before has ended", || async {
        let status = hosted.control.status().await.unwrap();
        status.predecessor.is_none().then_some(())
    })
    .await;
    let failed = hosted.go_over(Path::new("/bin/false")).await;
    assert!(matches!(failed, Err(Error::HandOver { .. })), "{failed:?}");
    assert_eq!(hosted.build().await, program_build(&second).unwrap());
    crowd.more(20).await;
    hosted.go_over(&third).await.unwrap();
    crowd.more(20).await;
    crowd.go().await;

    hosted.stop().await;
    let hosted = Hosted::start(folder.path());
    hosted.answers().await;
    assert_eq!(hosted.build().await, program_build(&third).unwrap());
    hosted.stop().await;

    // A program that does not run any more is forgotten.
    std::fs::write(&third, "no program").unwrap();
    let hosted = Hosted::start(folder.path());
    hosted.answers().await;
    assert_eq!(hosted.build().await, own);
    assert!(!hosted.config.with_file_name(CHOSEN_PROGRAM).exists());
    let status = hosted.control.status().await.unwrap();
    assert_eq!(status.services["web"].address, address);
    hosted.stop().await;
}
