//! A server for a pod: it answers every request with its release and the name of its pod.

use std::io::{BufRead, BufReader, Write};

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let body = format!("{} {}", variable("RELEASE"), variable("POD"));
    let listener = std::net::TcpListener::bind("0.0.0.0:8080").expect("the port is free");
    for stream in listener.incoming().flatten() {
        let mut lines = BufReader::new(&stream).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let _ = (&stream).write_all((head + &body).as_bytes());
    }
}
