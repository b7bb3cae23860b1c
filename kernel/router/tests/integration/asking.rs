//! Clients that ask on and on and forgive nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing that a crowd waits for takes this long on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two requests of a client, so that a crowd does not use up the ports of the machine.
const PAUSE: Duration = Duration::from_millis(5);

/// A client that keeps its connection for as long as the server does, and asks nothing twice.
pub struct Asking {
    address: SocketAddr,
    connection: Option<TcpStream>,
}

impl Asking {
    pub fn at(address: SocketAddr) -> Self {
        let connection = None;
        Self {
            address,
            connection,
        }
    }

    /// Returns the status of an answer that came whole.
    pub async fn ask(&mut self, path: &str) -> std::io::Result<u16> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        let question = format!("GET {path} HTTP/1.1\r\nhost: web\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut read = Vec::new();
        let head = loop {
            let end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let text = String::from_utf8(read[..head].to_vec()).unwrap();
        let text = text.to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().unwrap();
        let mut left = (head + length).saturating_sub(read.len());
        while left > 0 {
            let mut rest = vec![0; left];
            match stream.read(&mut rest).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => left -= more,
            }
        }
        if !text.contains("connection: close") {
            self.connection = Some(stream);
        }
        Ok(text.split(' ').nth(1).unwrap().parse().unwrap())
    }
}

/// Clients that ask until they are stopped; each answer must be a success.
pub struct Crowd {
    stop: CancellationToken,
    pub tracker: TaskTracker,
    tasks: Vec<JoinHandle<()>>,
    answered: Arc<AtomicU64>,
}

impl Crowd {
    /// Four clients keep their connections, and two make one for each request.
    pub fn at(address: SocketAddr, path: &'static str) -> Self {
        let mut crowd = Self {
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            tasks: Vec::new(),
            answered: Arc::default(),
        };
        for number in 0..6 {
            let (stop, answered) = (crowd.stop.clone(), Arc::clone(&crowd.answered));
            let task = crowd.tracker.spawn(async move {
                let mut asking = Asking::at(address);
                while !stop.is_cancelled() {
                    assert_eq!(asking.ask(path).await.unwrap(), 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                    if number >= 4 {
                        asking = Asking::at(address);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
            crowd.tasks.push(task);
        }
        crowd
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until so many more were answered, or one of the clients has failed.
    pub async fn more(&self, count: u64) {
        let wanted = self.answered() + count;
        let waits = async {
            while self.answered() < wanted && !self.tasks.iter().any(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waits).await;
        assert!(waited.is_ok(), "the crowd is not answered within {LIMIT:?}");
    }

    /// Returns how many were answered, none of them otherwise than with a success.
    pub async fn go(self) -> u64 {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.answered.load(Ordering::SeqCst)
    }
}
