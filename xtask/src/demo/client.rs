//! Asks a running agent, or the node, over HTTP.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::status::Status;
use crate::process::{self, Agent};

/// How long an agent may take to answer, and to be ready.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const START_LIMIT: Duration = Duration::from_secs(20);

/// A port that nothing listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Asks one of them.
pub(crate) struct Client {
    /// Where it listens.
    pub(crate) address: String,
    http: ureq::Agent,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        // A proxy of the user's would not know this machine's own address.
        let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_LIMIT)).proxy(None).build();
        Self { address: format!("127.0.0.1:{port}"), http: config.into() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut answer = self.http.get(self.url(path)).call().with_context(|| format!("no answer to GET {path}"))?;
        answer.body_mut().read_to_string().with_context(|| format!("cannot read the answer to GET {path}"))
    }

    pub(crate) fn status(&self) -> Result<Status> {
        Status::parse(&self.get("/status")?)
    }

    /// Waits until the agent counts; false where the user stopped it.
    pub(crate) fn await_ready(&self, agent: &mut Agent) -> Result<bool> {
        let start = Instant::now();
        while !process::stopped() {
            agent.check()?;
            let Err(error) = self.get("/readyz") else { return Ok(true) };
            if start.elapsed() > START_LIMIT {
                bail!("the agent is not ready after {} s: {error:#}", START_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_one() {
        assert_ne!(free_port().unwrap(), 0);
    }
}
