//! What PagerDuty and Slack would be told, kept instead.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// To whom a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// An event of the Events API v2.
    PagerDuty,
    /// A message of an incoming webhook.
    Slack,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// To whom it went.
    pub service: Service,
    /// What was sent.
    pub body: Value,
}

type Kept = Arc<Mutex<Vec<Message>>>;

/// A server on loopback that keeps what it gets, until the process ends.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    kept: Kept,
}

impl Receiver {
    /// Starts it at a free port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port for the receiver")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let kept = Kept::default();
        let router = Router::new()
            .route("/pagerduty", post(pagerduty))
            .route("/slack", post(slack))
            .route("/messages/{from}", get(messages))
            .with_state(kept.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await
            })
        };
        thread::Builder::new().name("receiver".into()).spawn(serve)?;
        Ok(Self { address, kept })
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that has come so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn keep(kept: &Kept, service: Service, body: Value) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(Message { service, body });
}

/// As PagerDuty answers (Events API v2).
async fn pagerduty(State(kept): State<Kept>, Json(event): Json<Value>) -> (StatusCode, Json<Value>) {
    let key = event["dedup_key"].clone();
    keep(&kept, Service::PagerDuty, event);
    (StatusCode::ACCEPTED, Json(json!({ "status": "success", "message": "Event processed", "dedup_key": key })))
}

/// As an incoming webhook of Slack answers.
async fn slack(State(kept): State<Kept>, Json(message): Json<Value>) -> &'static str {
    keep(&kept, Service::Slack, message);
    "ok"
}

/// What has come, from a number on.
async fn messages(State(kept): State<Kept>, Path(from): Path<usize>) -> Json<Vec<Value>> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    Json(kept.iter().skip(from).map(|message| message.body.clone()).collect())
}
