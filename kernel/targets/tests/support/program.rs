//! What the tests have the local target start: the program's inner processes as the real one has
//! them, and a small HTTP service that misbehaves on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::print_stdout, reason = "the output of a service is its log")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use code_deploy_router::RouterConfig;
use code_deploy_targets::local;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["internal", "router", "--config", config, rest @ ..] => {
            router(Path::new(config), rest).await
        }
        ["internal", "router-host", "--config", config] => host(PathBuf::from(config)).await,
        [
            "internal",
            "router-keeper",
            "--environment-folder",
            root,
            "--runtime-folder",
            runtime,
        ] => exit_of(local::keep_router(PathBuf::from(root), PathBuf::from(runtime)).await),
        ["internal", "instance", "--folder", folder] => {
            exit_of(local::supervise(PathBuf::from(folder)).await)
        }
        ["serve", ways @ ..] => serve(ways).await,
        ["is-well"] => ExitCode::SUCCESS,
        ["idle"] => {
            std::future::pending::<()>().await;
            ExitCode::SUCCESS
        }
        ["eat"] => eat(),
        other => panic!("unknown arguments: {other:?}"),
    }
}

fn exit_of(ended: std::io::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn host(config: PathBuf) -> ExitCode {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let hosting = code_deploy_router::host(config, stop.clone());
    let mut hosting = std::pin::pin!(hosting);
    tokio::select! {
        ended = hosting.as_mut() => return exit_of(ended),
        _ = terminate.recv() => stop.cancel(),
    }
    exit_of(hosting.await)
}

/// The words after the configuration: `--take-over` and `--program`, each with its value.
async fn router(config: &Path, rest: &[&str]) -> ExitCode {
    if let Err(error) = nix::unistd::setsid() {
        println!("no session of its own: {error}");
    }
    let folder = config.parent().unwrap();
    let value = |name: &str| {
        let at = rest.iter().position(|word| *word == name)?;
        rest.get(at + 1).copied()
    };
    let read: RouterConfig = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    let config = RouterConfig {
        take_over: value("--take-over").map(|ms| Duration::from_millis(ms.parse().unwrap())),
        program: value("--program").map(PathBuf::from),
        ..read
    };
    let runtime = config.control_socket.parent().unwrap().to_owned();
    let has_keeper = config.keeper_socket.is_some();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let tasks = TaskTracker::new();
    let asked = stop.clone();
    let watch = tasks.spawn(async move {
        terminate.recv().await;
        asked.cancel();
    });
    tokio::select! {
        ended = code_deploy_router::run(config, stop) => ended.unwrap(),
        () = local::keep_keeper(folder, &runtime), if has_keeper => {
            panic!("nobody looks after the keeper")
        }
    }
    watch.abort();
    ExitCode::SUCCESS
}

/// Takes memory until there is none left; half a gigabyte where nothing sets a limit.
fn eat() -> ExitCode {
    let mut eaten = Vec::new();
    for _ in 0..512 {
        eaten.push(vec![1_u8; 1 << 20]);
    }
    println!("{} MiB eaten", std::hint::black_box(&eaten).len());
    ExitCode::SUCCESS
}

/// The ways: `ignore-term`, `exit-at-once`, `run-out-of-memory`, `never-listen`, `never-ready`, `with-child` and
/// `let-another-take-the-port`.
#[expect(
    clippy::zombie_processes,
    reason = "the children outlive this process on purpose"
)]
async fn serve(ways: &[&str]) -> ExitCode {
    println!("a line of the log");
    if ways.contains(&"exit-at-once") {
        println!("cannot open the database");
        return ExitCode::from(7);
    }
    if ways.contains(&"run-out-of-memory") {
        let program = std::env::current_exe().unwrap();
        let ended = std::process::Command::new(program).arg("eat").status();
        println!("what needs the memory ended: {}", ended.unwrap());
        return ExitCode::from(9);
    }
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    if ways.contains(&"with-child") {
        let program = std::env::current_exe().unwrap();
        std::process::Command::new(program)
            .arg("idle")
            .spawn()
            .unwrap();
    }
    if ways.contains(&"let-another-take-the-port") {
        let program = std::env::current_exe().unwrap();
        let another = std::process::Command::new("setsid")
            .arg(program)
            .arg("serve")
            .spawn();
        another.unwrap();
        println!("waits while another has the port");
    }
    if ways.contains(&"never-listen") || ways.contains(&"let-another-take-the-port") {
        terminate.recv().await;
        return ExitCode::SUCCESS;
    }
    let port = std::env::var("PORT").unwrap();
    let ip = std::env::var("BIND").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let listener = TcpListener::bind(format!("{ip}:{port}")).await;
    let listener = listener.unwrap();
    // One wish to exit is enough; the sender of a second does not matter.
    let (exit, mut exits) = mpsc::channel::<u8>(1);
    let tasks = TaskTracker::new();
    let ready = !ways.contains(&"never-ready");
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                tasks.spawn(answer(stream, exit.clone(), ready));
            }
            Some(code) = exits.recv() => return ExitCode::from(code),
            _ = interrupt.recv() => {
                println!("interrupted");
                break;
            }
            _ = terminate.recv() => {
                println!("asked to end");
                if !ways.contains(&"ignore-term") {
                    break;
                }
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    ExitCode::SUCCESS
}

/// Asks another service by its name for its environment variable `RELEASE`.
async fn ask(host: &str) -> Option<String> {
    let mut stream = TcpStream::connect((host, 8080)).await.ok()?;
    let head = format!("GET /env/RELEASE HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

async fn answer(mut stream: TcpStream, exit: mpsc::Sender<u8>, ready: bool) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let found = |value: Option<String>| value.map_or((404, String::new()), |value| (200, value));
    let (status, body) = match path.split(['/', '?', '=']).collect::<Vec<_>>().as_slice() {
        ["", "startupz" | "readyz"] if !ready => (503, "not yet".to_owned()),
        ["", "livez" | "readyz" | "startupz"] => (200, "ok".to_owned()),
        ["", "pid"] => (200, std::process::id().to_string()),
        ["", "env", name] => found(std::env::var(name).ok()),
        ["", "secret", name] => {
            let path = std::env::var(name).unwrap();
            found(std::fs::read_to_string(path).ok())
        }
        ["", "file", parts @ ..] => {
            found(std::fs::read_to_string(format!("/{}", parts.join("/"))).ok())
        }
        ["", "ask", host] => found(ask(host).await),
        ["", "status", status] => (status.parse::<u16>().unwrap(), String::new()),
        ["", "slow", "ms", ms] => {
            println!("slow request begins");
            tokio::time::sleep(Duration::from_millis(ms.parse().unwrap())).await;
            (200, "slow".to_owned())
        }
        ["", "exit", "code", code] => {
            exit.send(code.parse().unwrap()).await.ok();
            (200, "exits".to_owned())
        }
        _ => (404, String::new()),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}
