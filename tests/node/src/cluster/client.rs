//! A peer's API.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::replica::{Key, Path, Record, Version};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a request may take, all in all.
const LIMIT: Duration = Duration::from_secs(3);

/// Why a peer has not answered as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It could not be asked.
    #[error(transparent)]
    Http(#[from] ureq::Error),
    /// It refused.
    #[error("it answers {status}: {body}")]
    Refused { status: u16, body: String },
    /// What it says is not what it should.
    #[error("what it answers cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// A peer's API, for a thread that may block.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, secret: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            // One of the user's would not know the others of the cluster.
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            url: format!("http://{address}/v1/peer"),
            authorization: format!("Bearer {secret}"),
        }
    }

    /// Hashes of what is below a path.
    pub(super) fn hashes(&self, path: Path) -> Result<Vec<String>, Error> {
        self.get(&format!("tree/{}", path.text()))
    }

    /// Versions below a leaf.
    pub(super) fn versions(&self, leaf: Path) -> Result<Vec<Version>, Error> {
        self.get(&format!("leaf/{}", leaf.text()))
    }

    /// Records by their keys.
    pub(super) fn records(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.post("records", keys)
    }

    /// Has it take records; it has made them durable when this is over.
    pub(super) fn send(&self, records: &[Record]) -> Result<(), Error> {
        self.post::<serde_json::Value>("changes", records).map(drop)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.agent.get(format!("{}/{path}", self.url)).header("authorization", &self.authorization);
        answer(request.call()?)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<T, Error> {
        let request = self.agent.post(format!("{}/{path}", self.url)).header("content-type", "application/json");
        let request = request.header("authorization", &self.authorization);
        answer(request.send(serde_json::to_string(body)?)?)
    }
}

fn answer<T: DeserializeOwned>(mut response: ureq::http::Response<ureq::Body>) -> Result<T, Error> {
    let body = response.body_mut().read_to_string()?;
    if !response.status().is_success() {
        return Err(Error::Refused { status: response.status().as_u16(), body });
    }
    Ok(serde_json::from_str(&body)?)
}
