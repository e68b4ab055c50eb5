//! HTTP as little as possible, so that also what is no HTTP can be sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// A generous limit for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer, split at its empty line.
#[derive(Debug)]
pub struct Answer {
    /// The number in the first line.
    pub status: u16,
    /// The first line and the headers.
    pub head: String,
    /// What follows.
    pub body: String,
}

impl Answer {
    fn new(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {text:?}"))?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("no status: {head:?}"))?;
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.map(|(key, value)| (key, value.trim())).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

/// Sends bytes and returns all that comes back; the server may end the connection before it has read them all.
pub fn exchange(address: &str, request: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A request with a method and an `Accept` header.
pub fn request(address: &str, method: &str, path: &str, accept: &str) -> Result<Answer> {
    // HTTP/1.0 has neither chunks nor connections that stay open.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: 0\r\n\r\n");
    Answer::new(&exchange(address, request.as_bytes())?)
}

/// A text as a part of a query.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
