//! Clients that misbehave harm no one else.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::{exposition, web};

/// How long an operator's scrape may take while others keep the server busy.
const SCRAPE: Duration = Duration::from_secs(30);

/// An agent that watches nothing.
fn quiet() -> Result<Agent> {
    Agent::watch("comm=no-such-process", &[])
}

/// Demands a whole answer to a scrape.
fn still_answers(agent: &Agent) -> Result<()> {
    let answer = web::request(agent.address(), "GET", "/metrics", "")?;
    assert_eq!(answer.status, 200, "{}", answer.head);
    exposition::parse(&answer.body)?;
    Ok(())
}

#[test]
fn garbage() -> Result<()> {
    let agent = quiet()?;
    let noise: Vec<u8> = (0_u32..100_000).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for bytes in
        [&b"\r\n\r\n\r\n\r\n\xff\n\n"[..], b"hello\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01", &noise]
    {
        // Neither the client nor the agent waits for more.
        let mut stream = TcpStream::connect(agent.address())?;
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = std::io::read_to_string(&stream).unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
        still_answers(&agent)?;
    }
    Ok(())
}

#[test]
fn a_header_of_ten_megabytes() -> Result<()> {
    let agent = quiet()?;
    let before = resident(&agent)?;
    for _ in 0..10 {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(10_000_000));
        let answer = web::exchange(agent.address(), request.as_bytes())?;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        still_answers(&agent)?;
    }
    let grown = resident(&agent)? - before;
    assert!(grown < 8e6, "the agent keeps {grown} bytes of it");
    Ok(())
}

/// `process_resident_memory_bytes`
fn resident(agent: &Agent) -> Result<f64> {
    let families = exposition::parse(&agent.get("/metrics", "")?)?;
    let family = families.iter().find(|family| family.name == "process_resident_memory_bytes");
    Ok(family.context("no such metric")?.samples[0].value)
}

#[test]
fn a_hundred_that_say_nothing() -> Result<()> {
    let agent = quiet()?;
    let mut silent = (0..100).map(|_| TcpStream::connect(agent.address())).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    still_answers(&agent)?;
    let took = began.elapsed();
    println!("answered after {took:?}");
    assert!(took < SCRAPE, "the scrape took {took:?}");
    // Those that have sent a part of a request are no better.
    for stream in &mut silent {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
    }
    still_answers(&agent)
}

#[test]
fn a_hundred_that_read_nothing() -> Result<()> {
    let agent = quiet()?;
    // More answers than the buffers between the two hold.
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    let mut deaf = (0..100).map(|_| TcpStream::connect(agent.address())).collect::<Result<Vec<_>, _>>()?;
    for stream in &mut deaf {
        stream.write_all(requests.as_bytes())?;
    }
    let began = Instant::now();
    // This waits no longer than `SCRAPE`, give or take.
    still_answers(&agent)?;
    let took = began.elapsed();
    println!("answered after {took:?}");
    assert!(took < SCRAPE, "the scrape took {took:?}");
    Ok(())
}

#[test]
fn half_a_request() -> Result<()> {
    let agent = quiet()?;
    for half in [
        &b"G"[..],
        b"GET /met",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx",
    ] {
        TcpStream::connect(agent.address())?.write_all(half)?;
        still_answers(&agent)?;
    }
    // Nor does it harm when the answer is not waited for.
    for _ in 0..200 {
        TcpStream::connect(agent.address())?.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    }
    still_answers(&agent)
}

#[test]
fn methods_and_paths_that_are_not_there() -> Result<()> {
    let agent = quiet()?;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = web::request(agent.address(), method, "/metrics", "")?;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}: {}", answer.head);
    }
    for path in ["/nothing", "/metrics/", "/metricsx", "//", "/../etc/passwd", "*"] {
        let answer = web::request(agent.address(), "GET", path, "")?;
        assert_eq!(answer.status, 404, "{path}: {}", answer.head);
        assert!(answer.body.contains("/metrics"), "{path}: {}", answer.body);
    }
    for path in ["/metrics?x=y", "/status", "/healthz", "/readyz", "/"] {
        assert_eq!(web::request(agent.address(), "GET", path, "")?.status, 200, "{path}");
    }
    still_answers(&agent)
}

#[test]
fn head_has_no_body() -> Result<()> {
    let agent = quiet()?;
    for path in ["/metrics", "/status", "/healthz", "/nothing"] {
        let (get, head) =
            (web::request(agent.address(), "GET", path, "")?, web::request(agent.address(), "HEAD", path, "")?);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    still_answers(&agent)
}
