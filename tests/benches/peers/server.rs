//! A service for the figures beside platforms' own tools: it says which release it is and counts its requests.
//! Called as `server probe` it asks itself, as a health check of a container does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

const ADDRESS: &str = "0.0.0.0:8080";
const OK: &str = "200 OK";
/// The longest headers that are taken, in bytes.
const LONGEST: usize = 65_536;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("probe") {
        let healthy = asks_itself().unwrap_or(false);
        std::process::exit(i32::from(!healthy));
    }
    let release = std::env::var("RELEASE").unwrap_or_default();
    let listener = TcpListener::bind(ADDRESS).expect("the port is free");
    println!("{release} listens at {ADDRESS}");
    for stream in listener.incoming().flatten() {
        let release = release.clone();
        std::thread::spawn(move || answer(&stream, &release));
    }
}

fn asks_itself() -> std::io::Result<bool> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said.starts_with("HTTP/1.1 200 "))
}

/// Answers the requests of a connection, one after the other.
fn answer(stream: &TcpStream, release: &str) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        let headers = lines.by_ref().map_while(Result::ok);
        let headers: Vec<String> = headers.take_while(|line| !line.is_empty()).collect();
        let (status, body) = answered(&first, &headers, release);
        let head = format!(
            "HTTP/1.1 {status}\r\nx-release: {release}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let closes = |line: &String| line.eq_ignore_ascii_case("connection: close");
        let mut out = stream;
        let written = out.write_all((head + &body).as_bytes());
        if written.is_err() || status != OK || headers.iter().any(closes) {
            return;
        }
    }
}

/// Returns the status and the body; what is no request of a user's is refused.
fn answered(first: &str, headers: &[String], release: &str) -> (&'static str, String) {
    let lengths = headers.iter().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("content-length")
    });
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return ("400 Bad Request", String::new());
    };
    if lengths.count() > 1 {
        return ("400 Bad Request", String::new());
    }
    if headers.iter().map(String::len).sum::<usize>() > LONGEST {
        return ("431 Request Header Fields Too Large", String::new());
    }
    match (method, path) {
        ("GET", "/") => {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
            (OK, format!("{release}\n"))
        }
        ("GET", "/metrics") => (OK, counted()),
        ("GET", _) => ("404 Not Found", String::new()),
        _ => ("405 Method Not Allowed", String::new()),
    }
}

fn counted() -> String {
    let n = REQUESTS.load(Ordering::Relaxed);
    format!(
        "# TYPE server_requests_total counter\nserver_requests_total{{status=\"200\"}} {n}\n\
         # TYPE server_request_seconds histogram\nserver_request_seconds_bucket{{le=\"0.001\"}} {n}\n\
         server_request_seconds_bucket{{le=\"+Inf\"}} {n}\nserver_request_seconds_sum 0\n\
         server_request_seconds_count {n}\n"
    )
}
