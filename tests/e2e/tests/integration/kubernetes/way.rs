//! A way to the API server that is closed for a while.

use serde_json::Value;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Forwards connections; its threads go with the process of the test.
pub struct Way(Arc<State>);

struct State {
    server: SocketAddr,
    closed_until: Mutex<Option<Instant>>,
    open: Mutex<Vec<TcpStream>>,
    refused: AtomicUsize,
}

impl Way {
    /// Puts itself between whoever uses that kubeconfig and its API server.
    #[track_caller]
    pub fn before(kubeconfig: &mut Value) -> Self {
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().unwrap();
        let server: SocketAddr = server.strip_prefix("https://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        cluster["server"] = format!("https://{own}").into();
        cluster["tls-server-name"] = server.ip().to_string().into();
        let state = Arc::new(State {
            server,
            closed_until: Mutex::default(),
            open: Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.accept(stream);
            }
        });
        Self(state)
    }

    /// Breaks all connections off, and takes none for that long.
    pub fn close_for(&self, time: Duration) {
        *self.0.closed_until.lock().unwrap() = Some(Instant::now() + time);
        for stream in self.0.open.lock().unwrap().drain(..) {
            // The other side may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns how many connections were not taken.
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl State {
    fn accept(&self, stream: TcpStream) {
        let closed_until = *self.closed_until.lock().unwrap();
        if closed_until.is_some_and(|until| Instant::now() < until) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else {
            return;
        };
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        forward(copy(&stream), copy(&server));
        forward(copy(&server), copy(&stream));
        self.open.lock().unwrap().extend([stream, server]);
    }
}

/// Copies one way of a connection until that side ends.
pub fn forward(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // That one side is gone is told to the other.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
