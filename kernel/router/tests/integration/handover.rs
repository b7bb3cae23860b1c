//! One router takes over from another while clients ask without pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use code_deploy_record::SampleReader;
use code_deploy_router::{Error, HealthStatus, run};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kit::{App, LIMIT, Router, eventually, fast_health};

/// A client that keeps its connection for as long as the server does, and asks nothing twice.
struct Asking {
    address: SocketAddr,
    connection: Option<TcpStream>,
}

impl Asking {
    fn at(address: SocketAddr) -> Self {
        let connection = None;
        Self {
            address,
            connection,
        }
    }

    /// Returns the status of an answer that came whole.
    async fn ask(&mut self, path: &str) -> std::io::Result<u16> {
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
struct Crowd {
    stop: CancellationToken,
    tracker: TaskTracker,
    tasks: Vec<JoinHandle<()>>,
    answered: Arc<AtomicU64>,
}

impl Crowd {
    /// Four clients keep their connections, and two make one for each request.
    fn at(address: SocketAddr) -> Self {
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
                    assert_eq!(asking.ask("/id").await.unwrap(), 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                    if number >= 4 {
                        asking = Asking::at(address);
                    }
                }
            });
            crowd.tasks.push(task);
        }
        crowd
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until so many more were answered.
    async fn more(&self, count: u64) {
        let wanted = self.answered() + count;
        eventually("the crowd is answered", || async {
            self.answered() >= wanted
        })
        .await;
    }

    /// Returns how many were answered, none of them otherwise than with a success.
    async fn go(self) -> u64 {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.answered.load(Ordering::SeqCst)
    }
}

async fn ended(task: JoinHandle<Result<(), Error>>) {
    let ended = tokio::time::timeout(LIMIT, task).await;
    ended.unwrap().unwrap().unwrap();
}

async fn settled(router: &Router) {
    eventually("the router before has ended", || async {
        router.status().await.predecessor.is_none()
    })
    .await;
}

async fn texts_of(router: &Router, kind: &str) -> Vec<String> {
    let events = router.control.events(0).await.unwrap().into_iter();
    let events = events.filter(|event| event.kind == kind);
    events.map(|event| event.text).collect()
}

#[tokio::test]
async fn no_request_is_lost_while_one_router_takes_over_from_another_twice() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let folder = router.folder.as_ref().unwrap().path().join("samples");
    router.control.record(Some(folder.clone())).await.unwrap();
    let crowd = Crowd::at(address);
    crowd.more(50).await;

    let mut slow = Asking::at(address);
    let slow = crowd.tracker.spawn(async move { slow.ask("/gated").await });
    app.waiting(1).await;
    let (router, first) = router.succeed(LIMIT).await;
    crowd.more(50).await;
    // The one before waits for its slow request, and hands over to nobody else meanwhile.
    assert!(router.status().await.predecessor.is_some());
    let mut third = router.config.clone();
    third.take_over = Some(LIMIT);
    let third = run(third, CancellationToken::new()).await;
    assert!(matches!(third, Err(Error::HandOver { .. })), "{third:?}");
    app.shared.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), 200);
    ended(first).await;
    settled(&router).await;
    let told = texts_of(&router, "predecessor-ended").await;
    assert!(told[0].contains("none was cut"), "{told:?}");

    let (router, second) = router.succeed(LIMIT).await;
    crowd.more(50).await;
    ended(second).await;
    settled(&router).await;
    let asked = crowd.go().await + 1;

    let status = router.status().await;
    assert_eq!(status.services["web"].address, address);
    let counts = status.services["web"].releases[0].counts;
    assert_eq!((counts.requests, counts.failed), (asked, 0));
    router.control.record(None).await.unwrap();
    let samples = SampleReader::open(&folder.join("router.jsonl")).unwrap();
    let measured = samples.map(|sample| sample.unwrap().count).sum::<u64>();
    assert_eq!(measured, asked);
    router.stop().await;
}

#[tokio::test]
async fn a_router_whose_successor_fails_goes_on_as_before() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let crowd = Crowd::at(address);
    let before = router.status().await;

    // One that breaks off before it is ready.
    let mut asking = UnixStream::connect(&router.config.control_socket)
        .await
        .unwrap();
    let question = b"{\"op\":\"hand_over\",\"limit_ms\":1000}\n";
    asking.write_all(question).await.unwrap();
    asking.read_u8().await.unwrap();
    drop(asking);
    eventually("it is told", || async {
        !texts_of(&router, "hand-over-failed").await.is_empty()
    })
    .await;

    // One that cannot read what was saved.
    let saved = std::fs::read(&router.config.state_file).unwrap();
    std::fs::write(&router.config.state_file, "{\"services\": 7}").unwrap();
    let mut config = router.config.clone();
    config.take_over = Some(LIMIT);
    let failed = run(config, CancellationToken::new()).await;
    assert!(
        matches!(failed, Err(Error::StateUnreadable { .. })),
        "{failed:?}"
    );
    std::fs::write(&router.config.state_file, saved).unwrap();

    crowd.more(50).await;
    crowd.go().await;
    let after = router.status().await;
    assert_eq!(after.started_us, before.started_us);
    assert_eq!(
        after.services["web"].weights,
        before.services["web"].weights
    );
    let other = App::start("other").await;
    router.release("web", "1.1.0", &[&other]).await;
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    assert_eq!(router.get(address, "/id").await.text(), "other");
    router.stop().await;
}

#[tokio::test]
async fn a_tunnel_goes_on_until_the_limit_and_is_told_as_cut() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    let (router, first) = router.succeed(Duration::from_secs(2)).await;
    socket.send(Message::text("still here")).await.unwrap();
    let echo = socket.next().await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap().as_str(), "still here");
    ended(first).await;
    let end = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    settled(&router).await;
    let told = texts_of(&router, "predecessor-cut").await;
    assert!(
        told[0].contains("of 1 requests and tunnels in flight 1 went on"),
        "{told:?}"
    );
    assert_eq!(router.get(address, "/id").await.text(), "app");
    router.stop().await;
}

#[tokio::test]
async fn the_next_router_goes_on_with_shares_lease_and_health_and_takes_changes() {
    let (old, new, ill) = (
        App::start("old").await,
        App::start("new").await,
        App::start("ill").await,
    );
    let router = Router::start().await;
    let address = router
        .service_with("web", |c| c.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new, &ill]).await;
    for release in ["1.0.0", "1.1.0"] {
        let healthy = router.control.wait_healthy("web", release, LIMIT);
        healthy.await.unwrap();
    }
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 80), ("1.1.0", 20)])
        .await
        .unwrap();
    ill.shared.healthy.store(false, Ordering::SeqCst);
    eventually("it is found ill", || async {
        router.health_of("web", "ill").await == Some(HealthStatus::Unhealthy)
    })
    .await;
    let build = router.control.build().await.unwrap();
    assert_eq!(build.unwrap().len(), 64);

    let (router, first) = router.succeed(LIMIT).await;
    let status = router.status().await;
    assert_eq!(status.services["web"].weights["1.1.0"], 20);
    assert_eq!(status.lease.unwrap().lease.stable["web"], "1.0.0");
    let health = router.health_of("web", "ill").await;
    assert_eq!(health, Some(HealthStatus::Unhealthy));
    ended(first).await;
    settled(&router).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    router.control.lease(None).await.unwrap();
    // What was changed since is on disk, and the ports are this one's to close.
    let router = Router::start_in(router.stop().await).await;
    let status = router.status().await;
    assert_eq!(status.services["web"].address, address);
    assert_eq!(status.services["web"].weights["1.0.0"], 100);
    assert_eq!(status.lease, None);
}
