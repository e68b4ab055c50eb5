//! What the tests share: a server on loopback, raw requests, and a reader of the exposition.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::Router;
use stemedb_metrics::Metrics;

/// A server that ends with the test's runtime.
pub struct Server {
    pub metrics: Metrics,
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Serves what `routes` makes, measured.
    pub fn start(routes: impl FnOnce(&Metrics) -> Router) -> Self {
        let metrics = Metrics::new().unwrap();
        let app = routes(&metrics).layer(metrics.http());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { metrics, address, _runtime: runtime }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends one request on a connection of its own, and gives all that comes back.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = self.connect();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
            .unwrap();
        let mut answer = Vec::new();
        // A connection that the server drops may end in an error.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn status(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let answer = self.ask(method, path, headers, body);
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Waits for a sample to have a value: some come a moment after the client has what it wants.
    pub fn wait_for(&self, sample: &str, value: f64) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let samples = samples(&self.metrics.text());
            if samples.get(sample).copied() == Some(value) {
                return;
            }
            assert!(Instant::now() < end, "{sample} is not {value}:\n{}", self.metrics.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Every sample by its name with labels.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sum of all samples whose name with labels begins like this and contains all of these.
pub fn sum(text: &str, begin: &str, parts: &[&str]) -> f64 {
    let fits = |name: &str| name.starts_with(begin) && parts.iter().all(|part| name.contains(part));
    samples(text).iter().filter(|(name, _)| fits(name)).map(|(_, value)| value).sum()
}
