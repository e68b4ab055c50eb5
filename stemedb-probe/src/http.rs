//! The HTTP server: small answers to few clients, and nothing that a bad client can do to the others.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::agent::Agent;
use crate::export::status::status;
use crate::export::{Format, families, write};
use crate::slow;

/// A client has this long to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection, which is for one request, ends after this long, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head; a larger one is answered with 431.
const HEAD_BYTES: usize = 32 * 1024;
/// Connections at once.
const CONNECTIONS: usize = 64;

type Answer = Response<Full<Bytes>>;

/// Takes the port.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another with --listen ADDRESS:PORT, or stop what uses it (`ss -ltnp` shows it)")
    })
}

/// Accepts connections for ever. Where there are too many, the oldest gives way: clients that say nothing, or read nothing,
/// never keep a scrape out.
pub async fn serve(agent: Rc<RefCell<Agent>>, listener: TcpListener) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    log::warn!("more than {CONNECTIONS} connections are open; closed the oldest");
                    oldest.abort();
                }
                open.push_back(tokio::task::spawn_local(connection(Rc::clone(&agent), stream)).abort_handle());
            }
            Err(error) => {
                // Out of descriptors, most likely: they come back as connections end.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(agent: Rc<RefCell<Agent>>, stream: tokio::net::TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&mut agent.borrow_mut(), &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Err(error)) => log::debug!("a connection ended badly: {error}"),
        Err(_) => log::debug!("a connection took too long"),
        Ok(Ok(())) => {}
    }
}

fn answer(agent: &mut Agent, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/metrics" => metrics(agent, request),
        "/status" => match agent.snapshot() {
            Ok(snapshot) => {
                let document = status(&snapshot, agent.uptime_seconds());
                respond(StatusCode::OK, "application/json", format!("{document}\n"))
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        "/api/v1/slow" => respond(StatusCode::OK, "application/json", format!("{}\n", slow(agent))),
        // The server runs only once everything is attached.
        "/healthz" | "/readyz" => text(StatusCode::OK, "ok\n"),
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", INDEX.to_owned()),
        _ => text(StatusCode::NOT_FOUND, "not here; there are /metrics, /status, /api/v1/slow, /healthz and /readyz\n"),
    }
}

const INDEX: &str = "<!doctype html><title>stemedb-probe</title><h1>stemedb-probe</h1><ul>\
    <li><a href=\"/metrics\">/metrics</a>: for Prometheus<li><a href=\"/status\">/status</a>: targets, files, capabilities, figures as JSON\
    <li><a href=\"/api/v1/slow\">/api/v1/slow</a>: the slowest sync calls of the last hour, with where their time went, as JSON\
    <li><a href=\"/healthz\">/healthz</a>, <a href=\"/readyz\">/readyz</a></ul>\n";

/// The slowest calls of the last hour.
fn slow(agent: &Agent) -> serde_json::Value {
    let (calls, threshold) = agent.slowest();
    serde_json::json!({
        "seconds": slow::KEPT.as_secs(),
        "capacity": slow::CAPACITY,
        "slower_than_ns": threshold,
        "calls": calls,
    })
}

fn metrics(agent: &mut Agent, request: &Request<Incoming>) -> Answer {
    let began = Instant::now();
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::negotiate(accept);
    let snapshot = match agent.snapshot() {
        Ok(snapshot) => snapshot,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    };
    let body = write(&families(&snapshot, agent.namespace()), format);
    agent.scrape_seconds = began.elapsed().as_secs_f64();
    respond(StatusCode::OK, format.content_type(), body)
}

fn text(code: StatusCode, body: &str) -> Answer {
    respond(code, "text/plain; charset=utf-8", body.to_owned())
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
