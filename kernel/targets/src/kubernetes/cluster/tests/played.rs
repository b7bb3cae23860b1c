//! An API server that is played, without TLS; also a proxy that leads to it whatever it is asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// The version that it says it has.
pub const VERSION: &str = "v1.30.0";

/// What it says to a request.
pub enum Says {
    /// An answer with that status and body; the connection ends.
    Answer(u16, String),
    /// That it has too much to do, and after how many seconds it may be asked again; the connection ends.
    Later(u64),
    /// That the way is open; what comes next is asked of the server.
    Open,
    /// Nothing, on a connection that stays open.
    Nothing,
}

type Script = Arc<dyn Fn(&str) -> Says + Send + Sync>;

/// A server that answers until the test ends.
pub struct Played {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Leads to itself, and says its version to everybody.
pub fn version(head: &str) -> Says {
    if head.starts_with("CONNECT ") {
        return Says::Open;
    }
    let version = json!({
        "major": "1", "minor": "30", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    });
    Says::Answer(200, version.to_string())
}

impl Played {
    pub async fn new(script: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let script: Script = Arc::new(script);
        let seen = Arc::clone(&heads);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = head_of(&mut stream).await {
        seen.lock().unwrap().push(head.clone());
        let answer = match script(&head) {
            Says::Nothing => return std::future::pending().await,
            Says::Later(seconds) => format!(
                "HTTP/1.1 429 Said\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Says::Open => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            Says::Answer(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n");
                format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            }
        };
        // Who is gone reads no answer.
        let sent = stream.write_all(answer.as_bytes()).await;
        if sent.is_err() || answer.contains("Connection: close") {
            return;
        }
    }
}

/// Returns the head of a request, and reads its body away; nothing when there is none any more.
async fn head_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths
        .next()
        .and_then(|(_, length)| length.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}
