//! Clients that are slow, that send too much or nonsense, and that do not listen: each is refused as it should be and counted once, in bounded
//! memory, and the others notice nothing.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stemedb_node::api::{MAX_BODY, MAX_HEAD, ROUTES};
use support::Node;

/// A generous limit.
const SOON: Duration = Duration::from_secs(30);

/// A node that is patient for a second.
fn node(folder: &tempfile::TempDir) -> Node {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Node::start_as(folder.path(), listen, &["--patience".into(), "1".into()], None)
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// All that comes until the node ends the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// The status and the error of an answer.
fn told(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}")))
}

fn errors(node: &Node, kind: &str) -> f64 {
    node.samples().value("stemedb_errors_total", &[kind])
}

/// The process's memory in KiB: what it has, and the most that it ever had.
fn memory(node: &Node) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[test]
fn a_head_that_is_too_large_is_refused_at_every_route_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder);
    for (number, route) in ROUTES.iter().enumerate() {
        let mut stream = connect(&node);
        let (method, path, junk) = (route.method, route.path.replace("{id}", "x"), "x".repeat(MAX_HEAD));
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nx-junk: {junk}\r\nconnection: close\r\n\r\n").unwrap();
        let (status, said) = told(&rest(&mut stream));
        assert_eq!((status, &said["error"]), (431, &json!("head_too_large")), "{method} {path}");
        assert_eq!(errors(&node, "head_too_large"), (number + 1) as f64, "{method} {path}");
        let of_route =
            node.samples().value("stemedb_http_request_duration_seconds_count", &[method, route.path, "431"]);
        assert_eq!(of_route, 1.0, "{method} {path}");
    }
    // Far beyond the limit it is no request any more: nobody reads on to tell what is wrong in JSON.
    let mut stream = connect(&node);
    let _ = stream.write_all(format!("GET /healthz HTTP/1.1\r\nx-junk: {}", "x".repeat(200 << 10)).as_bytes());
    rest(&mut stream);
    assert_eq!(errors(&node, "head_too_large"), (ROUTES.len() + 1) as f64);
    assert_eq!(node.get("/healthz").unwrap(), "ok\n");
}

#[test]
fn what_is_no_http_is_refused_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder);
    for (number, junk) in ["nonsense\r\n\r\n", "GET\r\n\r\n", "\0\x01\x02\x03\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n"]
        .iter()
        .enumerate()
    {
        let mut stream = connect(&node);
        stream.write_all(junk.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{junk:?}: {answer:?}");
        assert_eq!(errors(&node, "invalid_head"), (number + 1) as f64, "{junk:?}");
    }
}

#[test]
fn a_body_that_does_not_come_is_a_timeout_at_every_route_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder);
    let routes: Vec<_> = ROUTES.iter().filter(|route| matches!(route.method, "POST" | "PUT")).collect();
    let mut streams: Vec<_> = routes.iter().map(|_| connect(&node)).collect();
    for (route, stream) in routes.iter().zip(&mut streams) {
        let path = route.path.replace("{id}", "x");
        let head = format!("{} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n", route.method);
        write!(stream, "{head}content-length: 100\r\n\r\n{{\"agent\":").unwrap();
    }
    for (route, stream) in routes.iter().zip(&mut streams) {
        let (status, said) = told(&rest(stream));
        assert_eq!((status, &said["error"]), (408, &json!("request_timeout")), "{} {}", route.method, route.path);
    }
    assert_eq!(errors(&node, "request_timeout"), routes.len() as f64);
}

#[test]
fn heads_that_do_not_come_and_answers_that_are_not_read_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder);
    let mut slow: Vec<_> = (0..300).map(|_| connect(&node)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nx-").unwrap();
    }
    let deaf: Vec<_> = (0..20).map(|_| connect(&node)).collect();
    for mut stream in &deaf {
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
        // The node stops reading where nobody takes its answers.
        let _ = stream.write_all(request.as_bytes());
    }
    let begin = Instant::now();
    assert_eq!(node.get("/healthz").unwrap(), "ok\n");
    assert!(begin.elapsed() < SOON);
    for stream in &mut slow {
        // Ended by the node, whose patience is over.
        rest(stream);
    }
    drop(deaf);
    let end = Instant::now() + SOON;
    // This look at it is one itself.
    while node.samples().value("stemedb_http_requests_in_flight", &[]) > 1.0 {
        assert!(Instant::now() < end, "requests of clients that are gone are still there");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn large_bodies_of_many_clients_have_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Node::start_as(folder.path(), listen, &["--patience".into(), "5".into()], None);
    let (before, _) = memory(&node);
    let body = vec![b' '; MAX_BODY - 1];
    let clients: Vec<_> = (0..300)
        .map(|_| {
            let (mut stream, body) = (connect(&node), body.clone());
            thread::spawn(move || {
                let head =
                    "POST /v1/vote HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
                write!(stream, "{head}content-length: {MAX_BODY}\r\n\r\n").unwrap();
                // All but the last byte, so that the node has it all and waits.
                let _ = stream.write_all(&body);
                rest(&mut stream)
            })
        })
        .collect();
    let answers: Vec<String> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (_, most) = memory(&node);
    // One that is refused before it has sent all may see its connection end before it sees why.
    let statuses: Vec<u16> = answers.iter().filter(|answer| !answer.is_empty()).map(|answer| told(answer).0).collect();
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert!(statuses.iter().all(|status| [408, 503].contains(status)), "{statuses:?}");
    assert!(count(408) >= 60 && count(503) > 0, "{} timeouts, {} refused", count(408), count(503));
    // 64 MiB of bodies, and as much again while one grows into a larger place.
    assert!(most - before < 200 << 10, "{} KiB more for 300 MiB of bodies", most - before);
    assert_eq!(errors(&node, "overloaded") + errors(&node, "request_timeout"), 300.0);
    assert_eq!(node.get("/healthz").unwrap(), "ok\n");
}
