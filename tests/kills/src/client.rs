//! A client outside: asks the shop again and again, whatever becomes of it, and keeps when each
//! request that failed was under way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time between two requests: they are sent whether or not those before were answered.
const PACE: Duration = Duration::from_millis(15);

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Requests under way at most: what a shop that answers nobody can gather within the limit.
const UNDER_WAY: usize = 1024;

/// What is asked, in turn.
const ASKED: [&str; 3] = ["/", "/product/1", "/product/4"];

/// A request that failed.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it was begun.
    pub began: Instant,
    /// When it had failed.
    pub ended: Instant,
    /// What it asked, and how it failed.
    pub what: String,
}

/// What became of all requests.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Requests that were answered well.
    pub answered: u64,
    /// Requests that failed.
    pub failed: Vec<Request>,
    /// When a request that was begun after that instant was answered for the first time.
    answers: BTreeMap<Instant, Instant>,
}

impl Sums {
    /// Returns how long after an instant the first request was answered that was begun after it.
    #[must_use]
    pub fn first_answer_after(&self, instant: Instant) -> Option<Duration> {
        let after = self.answers.range(instant..);
        let answered = after.map(|(_, answered)| *answered).min()?;
        Some(answered.saturating_duration_since(instant))
    }
}

/// A client that asks until it is stopped.
#[derive(Debug)]
pub struct Client {
    stop: CancellationToken,
    tasks: TaskTracker,
    sums: Arc<Mutex<Sums>>,
}

impl Client {
    /// Begins to ask.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let sums = Arc::<Mutex<Sums>>::default();
        let (ended, requests, kept) = (stop.clone(), tasks.clone(), Arc::clone(&sums));
        tasks.spawn(async move {
            let room = Arc::new(Semaphore::new(UNDER_WAY));
            let mut ticks = tokio::time::interval(PACE);
            for number in 0_usize.. {
                // Cancel safe: both arms only wait.
                tokio::select! {
                    () = ended.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                let kept = Arc::clone(&kept);
                requests.spawn(async move {
                    let path = ASKED[number % ASKED.len()];
                    let began = Instant::now();
                    let asked = tokio::time::timeout(LIMIT, ask(address, path)).await;
                    let answer = asked.unwrap_or_else(|_| Err(format!("no answer in {LIMIT:?}")));
                    let ended = Instant::now();
                    let mut sums = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(()) => {
                            sums.answered += 1;
                            sums.answers.insert(began, ended);
                        }
                        Err(how) => sums.failed.push(Request {
                            began,
                            ended,
                            what: format!("{path}: {how}"),
                        }),
                    }
                    drop(permit);
                });
            }
        });
        Self { stop, tasks, sums }
    }

    /// Stops asking, waits for what is under way, and returns what became of all requests.
    pub async fn stop(self) -> Sums {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.clone()
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") && answer.contains("</html>") {
        return Ok(());
    }
    let reason = answer.lines().find(|line| {
        line.to_ascii_lowercase()
            .starts_with("x-code-deploy-router")
    });
    Err(format!("`{status}` {}", reason.unwrap_or_default()))
}
