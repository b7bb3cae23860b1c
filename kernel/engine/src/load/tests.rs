//! The client against servers that really listen, stall, fail and hang up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests wait for what they spawn"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use code_deploy_record::{Sample, SampleReader, Source};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::duration::Span;
use crate::spec::LoadRequest;

/// Everything in these tests happens within this, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(60);

fn request(path: &str, weight: u32) -> LoadRequest {
    LoadRequest {
        method: "GET".into(),
        path: path.into(),
        weight,
        headers: BTreeMap::new(),
        body: None,
    }
}

/// Returns a client of `address` that sends `most` requests and writes into `folder`.
fn config(address: SocketAddr, folder: &TempDir, rate: u32, most: u64) -> ClientConfig {
    let profile = crate::spec::LoadProfile {
        service: "storefront".into(),
        rate,
        duration: Span::from_secs(50),
        timeout: Span::from_secs(40),
        requests: vec![request("/", 1)],
    };
    let url = format!("http://{address}");
    let mut config =
        ClientConfig::for_profile(&profile, &url, Source::Client, folder.path(), "client-1");
    config.max_requests = Some(most);
    config
}

async fn serve(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

async fn run(config: &ClientConfig) -> ClientTotals {
    let client = run_client(config.clone(), CancellationToken::new());
    tokio::time::timeout(LIMIT, client)
        .await
        .expect("ends in time")
        .unwrap()
}

fn samples(config: &ClientConfig) -> Vec<Sample> {
    SampleReader::open_folder(&config.samples_folder, "client")
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn failures(config: &ClientConfig) -> Vec<Value> {
    let text = std::fs::read_to_string(&config.failures_file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The totals, the samples and the list tell the same.
#[track_caller]
fn assert_sums_agree(config: &ClientConfig, totals: &ClientTotals) {
    let samples = samples(config);
    let count: u64 = samples.iter().map(|sample| sample.count).sum();
    let failed: u64 = samples.iter().map(Sample::failed).sum();
    let answered: u64 = samples.iter().map(|sample| sample.latency.len()).sum();
    assert_eq!(
        (count, failed, answered),
        (totals.due, totals.failed, totals.answered)
    );
    assert_eq!(totals.latency.len(), totals.answered);
    assert_eq!(totals.due, totals.succeeded + totals.failed);
    assert_eq!(totals.failed_by_cause.values().sum::<u64>(), totals.failed);
    assert_eq!(
        totals.by_release.values().map(|of| of.count).sum::<u64>(),
        totals.due
    );
    assert_eq!(
        u64::try_from(failures(config).len()).unwrap(),
        totals.failures_listed
    );
    let mut keys: Vec<_> = samples
        .iter()
        .map(|s| (s.second, s.release.clone()))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(
        keys.len(),
        samples.len(),
        "a second of a release was written twice"
    );
    assert_eq!(&ClientTotals::read(&config.status_file).unwrap(), totals);
}

#[tokio::test]
async fn a_stalled_server_does_not_stop_the_sending_and_shows_in_the_latency() {
    // From the 21st on, requests are answered only after 60 more have arrived: a client that waits
    // for answers would never send them.
    let arrived = watch::Sender::new(0_u64);
    let shared = arrived.clone();
    let routes = Router::new().route(
        "/",
        get(move || async move {
            let mut number = 0;
            shared.send_modify(|arrived| {
                *arrived += 1;
                number = *arrived;
            });
            if number > 20 {
                shared
                    .subscribe()
                    .wait_for(|arrived| *arrived >= 80)
                    .await
                    .unwrap();
            }
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let config = config(serve(routes).await, &folder, 200, 120);
    let totals = run(&config).await;

    assert_eq!((totals.sent, totals.answered, totals.failed), (120, 120, 0));
    assert_eq!(totals.ended, Some(EndReason::MaxRequests));
    // The 21st was due at 100 ms, the 80th at 395 ms.
    assert!(totals.latency.max_us().unwrap() >= 290_000);
    assert!(totals.latency.quantile_us(0.70).unwrap() >= 100_000);
    assert!(totals.longest_gap_us >= 250_000, "{totals:?}");
    assert!(totals.most_in_flight >= 60);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn time_by_which_the_client_itself_is_late_counts_as_latency() {
    // The server's handler blocks the only thread, and with it the client's timer.
    let number = AtomicU64::new(0);
    let number = Arc::new(number);
    let routes = Router::new().route(
        "/",
        get(move || async move {
            if number.fetch_add(1, Ordering::Relaxed) == 10 {
                std::thread::sleep(Duration::from_millis(400));
            }
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let config = config(serve(routes).await, &folder, 100, 60);
    let totals = run(&config).await;

    assert_eq!((totals.sent, totals.failed), (60, 0));
    assert!(
        totals.longest_lag_us >= 300_000,
        "{}",
        totals.longest_lag_us
    );
    // Some 40 of 60 were due while the thread was blocked, 30 of them at least 100 ms before its end.
    assert!(totals.latency.quantile_us(0.60).unwrap() >= 100_000);
    assert_sums_agree(&config, &totals);
}

/// A server that answers by hand, so that it can do what no good server does.
async fn raw_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream));
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream) {
    let mut head = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let path = String::from_utf8_lossy(&head)
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned();
        head.clear();
        let answer: &[u8] = match path.as_str() {
            "/reset" => return,
            "/hang" => return std::future::pending().await,
            "/cut" => b"HTTP/1.1 200 OK\r\nx-release: 2.0.0\r\ncontent-length: 10\r\n\r\nhalf",
            "/noise" => b"what is HTTP?\r\n\r\n",
            "/missing" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "/error" => {
                b"HTTP/1.1 503 Busy\r\nx-release: 2.0.0\r\nx-trace-id: 4bf9\r\ncontent-length: 0\r\n\r\n"
            }
            _ => b"HTTP/1.1 200 OK\r\nx-release: 1.0.0\r\ncontent-length: 2\r\n\r\nok",
        };
        stream.write_all(answer).await.unwrap();
        if matches!(path.as_str(), "/cut" | "/once") {
            return;
        }
    }
}

#[tokio::test]
async fn failed_requests_are_listed_with_cause_status_path_and_release() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(raw_server().await, &folder, 100, 14);
    let paths = [
        "/", "/reset", "/hang", "/cut", "/noise", "/missing", "/error",
    ];
    config.requests = paths.map(|path| request(path, 1)).to_vec();
    config.timeout = Span::from_millis(300);
    let totals = run(&config).await;

    let mut found: Vec<_> = failures(&config)
        .iter()
        .map(|failure| {
            let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
            (
                text("path"),
                text("cause"),
                failure["status"].as_u64(),
                text("release"),
            )
        })
        .collect();
    found.sort();
    found.dedup();
    let expected = [
        ("/cut", "reset", Some(200), "2.0.0"),
        ("/error", "5xx", Some(503), "2.0.0"),
        ("/hang", "timeout", None, ""),
        ("/missing", "4xx", Some(404), ""),
        ("/noise", "protocol", None, ""),
        ("/reset", "reset", None, ""),
    ];
    let expected = expected.map(|(path, cause, status, release)| {
        (
            path.to_owned(),
            cause.to_owned(),
            status,
            release.to_owned(),
        )
    });
    assert_eq!(found, expected);
    assert_eq!(
        (totals.succeeded, totals.failed, totals.answered),
        (2, 12, 6)
    );
    let error = failures(&config)
        .into_iter()
        .find(|failure| failure["path"] == "/error")
        .unwrap();
    assert_eq!(error["trace_id"], "4bf9");
    let times = [&error["due"], &error["time"]].map(|time| time.as_str().unwrap().to_owned());
    assert!(times[0] <= times[1]);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_every_request_to_connect() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = config(address, &folder, 100, 10);
    let totals = run(&config).await;
    assert_eq!(
        totals.failed_by_cause,
        BTreeMap::from([("connect".to_owned(), 10)])
    );
    assert_eq!(totals.by_release.keys().collect::<Vec<_>>(), [""]);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(raw_server().await, &folder, 50, 25);
    config.requests = vec![request("/once", 1)];
    let totals = run(&config).await;
    assert_eq!(
        (totals.succeeded, totals.failed),
        (25, 0),
        "{:?}",
        failures(&config)
    );
}

#[tokio::test]
async fn requests_beyond_the_bound_are_counted_as_failed_and_not_sent() {
    let gate = watch::Sender::new(false);
    let shared = gate.clone();
    let routes = Router::new().route(
        "/",
        get(move || async move {
            shared.subscribe().wait_for(|open| *open).await.unwrap();
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(serve(routes).await, &folder, 100, 30);
    config.max_in_flight = 5;
    let client = tokio::spawn(run_client(config.clone(), CancellationToken::new()));
    // The status file is replaced while requests are under way.
    let waiting = async {
        while ClientTotals::read(&config.status_file).map_or(0, |totals| totals.failed) < 25 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("totals in time");
    gate.send_replace(true);
    let totals = client.await.unwrap().unwrap();

    assert_eq!((totals.due, totals.sent, totals.succeeded), (30, 5, 5));
    assert_eq!(
        totals.failed_by_cause,
        BTreeMap::from([("client saturated".to_owned(), 25)])
    );
    assert_eq!(totals.most_in_flight, 5);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn a_stopped_client_finishes_what_is_under_way() {
    let gate = watch::Sender::new(false);
    let arrived = Arc::new(tokio::sync::Notify::new());
    let (shared, arrival) = (gate.clone(), Arc::clone(&arrived));
    let routes = Router::new().route(
        "/",
        get(move || async move {
            arrival.notify_one();
            shared.subscribe().wait_for(|open| *open).await.unwrap();
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let config = config(serve(routes).await, &folder, 100, 1_000_000);
    let stop = CancellationToken::new();
    let client = tokio::spawn(run_client(config.clone(), stop.clone()));
    tokio::time::timeout(LIMIT, arrived.notified())
        .await
        .expect("a request in time");
    stop.cancel();
    gate.send_replace(true);
    let totals = client.await.unwrap().unwrap();

    assert_eq!(totals.ended, Some(EndReason::Stopped));
    assert_eq!((totals.in_flight, totals.failed), (0, 0));
    assert!(totals.sent >= 1 && totals.succeeded == totals.sent);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn a_client_ends_by_itself_after_its_longest_duration() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(raw_server().await, &folder, 40, 1_000_000);
    config.max_duration = Span::from_millis(1_500);
    let totals = run(&config).await;
    assert_eq!(
        (totals.ended, totals.due),
        (Some(EndReason::MaxDuration), 60)
    );
    assert!(samples(&config).len() >= 2);
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn requests_are_sent_in_proportion_to_their_weights_with_ids_of_their_own() {
    let seen: Arc<std::sync::Mutex<Vec<(String, String)>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let number = Arc::new(AtomicU64::new(0));
    let routes = Router::new().fallback(move |request: axum::extract::Request| async move {
        let key = request.headers().get("idempotency-key");
        let key = key.map_or(String::new(), |key| key.to_str().unwrap().to_owned());
        shared
            .lock()
            .unwrap()
            .push((request.uri().to_string(), key));
        let even = number.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let release = if even { "1.0.0" } else { "1.1.0" };
        ([("x-release", release)], "ok").into_response() as Response
    });
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(serve(routes).await, &folder, 200, 40);
    config.requests = vec![
        request("/a", 3),
        request("/b?n={n}", 1),
        request("/never", 0),
    ];
    config.requests[1]
        .headers
        .insert("idempotency-key".into(), "key-{uuid}".into());
    let totals = run(&config).await;

    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|(path, _)| path == "/a").count(), 30);
    let keyed: std::collections::BTreeSet<_> = seen
        .iter()
        .filter(|(path, _)| path.starts_with("/b?n="))
        .collect();
    assert_eq!(keyed.len(), 10);
    assert!(
        keyed
            .iter()
            .all(|(path, key)| !path.contains('{') && key.len() == 40)
    );
    let of_release = |release: &str| totals.by_release[release].clone();
    assert_eq!(
        of_release("1.0.0"),
        ReleaseTotals {
            count: 20,
            failed: 0
        }
    );
    assert_eq!(
        of_release("1.1.0"),
        ReleaseTotals {
            count: 20,
            failed: 0
        }
    );
    assert_sums_agree(&config, &totals);
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_refused_before_anything_is_sent() {
    type Change = fn(&mut ClientConfig);
    let changes: [(&str, Change); 9] = [
        ("rate", |config| config.rate = 0),
        ("requests", |config| config.requests.clear()),
        ("requests", |config| {
            config.requests[0].path = "no-slash".into()
        }),
        ("requests", |config| {
            config.requests[0].method = "G T".into()
        }),
        ("base_url", |config| {
            config.base_url = "ftp://127.0.0.1:1".into()
        }),
        ("max_duration", |config| {
            config.max_duration = Span::from_secs(86_401)
        }),
        ("timeout", |config| config.timeout = Span::from_secs(0)),
        ("samples_name", |config| {
            config.samples_name = "load-1".into()
        }),
        ("release_header", |config| {
            config.release_header = "x release".into()
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (setting, change) in changes {
        let mut config = config(raw_server().await, &folder, 100, 10);
        change(&mut config);
        let refused = run_client(config, CancellationToken::new())
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, LoadError::Setting { setting: s, .. } if *s == setting),
            "{refused}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_configuration_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("127.0.0.1:1".parse().unwrap(), &folder, 100, 10);
    let path = folder.path().join("client.json");
    config.write(&path).unwrap();
    assert_eq!(ClientConfig::read(&path).unwrap(), config);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(
        ClientConfig::read(&path),
        Err(LoadError::Format { .. })
    ));
}
