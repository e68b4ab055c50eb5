//! Every request is counted once, whatever becomes of it; over real connections.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

mod support;

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Json, Path};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Router, body::Bytes};
use serde::Deserialize;
use stemedb_metrics::{Classify, Layer};
use support::{Server, samples, sum};

const REQUESTS: &str = "stemedb_http_requests_total";
const DURATIONS: &str = "stemedb_http_request_duration_seconds_count";
const ERRORS: &str = "stemedb_errors_total";

struct Refused;

impl Classify for Refused {
    fn kind(&self) -> &'static str {
        "invalid_request"
    }

    fn layer(&self) -> Layer {
        Layer::Validation
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = StatusCode::BAD_REQUEST.into_response();
        self.mark(response.extensions_mut());
        response
    }
}

#[derive(Deserialize)]
struct Vote {
    choice: u32,
}

async fn vote(Json(vote): Json<Vote>) -> Result<StatusCode, Refused> {
    if vote.choice > 3 { Err(Refused) } else { Ok(StatusCode::CREATED) }
}

/// Three parts with 100 ms between.
fn streamed() -> Body {
    let parts = futures_util::stream::unfold(0, |part| async move {
        if part == 3 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"part")), part + 1))
    });
    Body::from_stream(parts)
}

async fn panics() {
    panic!("a handler's own");
}

/// Method, path, headers, body; then the label of the path, the status, and the error.
type Case<'c> = ((&'c str, &'c str, &'c str, &'c str), (&'c str, u16, Option<(&'c str, &'c str)>));

fn server() -> Server {
    Server::start(|_| {
        let inner = Router::new().route("/things/{id}", get(|Path(id): Path<u32>| async move { id.to_string() }));
        Router::new()
            .route("/v1/vote", post(vote))
            .route("/v1/health", get(|| async { "ok" }))
            .route("/v1/empty", get(|| async { StatusCode::NO_CONTENT }))
            .route("/v1/stream", get(|| async { streamed() }))
            .route("/v1/never", get(std::future::pending::<()>))
            .route("/v1/any", any(|| async { "any" }))
            .route("/v1/panic", get(panics))
            .route("/v1/internal", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .nest("/v2", inner)
            .layer(DefaultBodyLimit::max(1_000))
    })
}

/// What a request must have counted: in which series, and as which error.
fn counted(server: &Server, method: &str, path: &str, status: u16, error: Option<(&str, &str)>) {
    server.wait_for(&format!("{DURATIONS}{{method=\"{method}\",path=\"{path}\",status=\"{status}\"}}"), 1.0);
    let text = server.metrics.text();
    assert_eq!(sum(&text, REQUESTS, &[]), 1.0, "{text}");
    assert_eq!(samples(&text)[&format!("{REQUESTS}{{method=\"{method}\",path=\"{path}\"}}")], 1.0);
    assert_eq!(sum(&text, DURATIONS, &[]), 1.0);
    assert_eq!(samples(&text)["stemedb_http_requests_in_flight"], 0.0);
    assert_eq!(sum(&text, ERRORS, &[]), f64::from(u8::from(error.is_some())), "{text}");
    if let Some((kind, layer)) = error {
        assert_eq!(samples(&text)[&format!("{ERRORS}{{layer=\"{layer}\",type=\"{kind}\"}}")], 1.0, "{text}");
    }
}

#[test]
fn every_way_that_a_request_can_go_is_counted_once() {
    const JSON: &str = "content-type: application/json\r\n";
    let long = format!("{{\"choice\":1,\"x\":\"{}\"}}", "x".repeat(2_000));
    let invalid = Some(("invalid_request", "validation"));
    let none = Some(("not_found", "http"));
    let method = Some(("method_not_allowed", "http"));
    let cases: &[Case<'_>] = &[
        (("GET", "/v1/health", "", ""), ("/v1/health", 200, None)),
        (("GET", "/v1/health?a=b", "", ""), ("/v1/health", 200, None)),
        (("HEAD", "/v1/health", "", ""), ("/v1/health", 200, None)),
        (("GET", "/v1/empty", "", ""), ("/v1/empty", 204, None)),
        (("OPTIONS", "/v1/health", "", ""), ("/v1/health", 405, method)),
        (("OPTIONS", "/v1/any", "", ""), ("/v1/any", 200, None)),
        (("POST", "/v1/vote", JSON, "{\"choice\":1}"), ("/v1/vote", 201, None)),
        (("POST", "/v1/vote", JSON, "{\"choice\":9}"), ("/v1/vote", 400, invalid)),
        (("POST", "/v1/vote", JSON, "{"), ("/v1/vote", 400, invalid)),
        (("POST", "/v1/vote", JSON, "{}"), ("/v1/vote", 422, invalid)),
        (("POST", "/v1/vote", "", "{}"), ("/v1/vote", 415, invalid)),
        (("POST", "/v1/vote", JSON, &long), ("/v1/vote", 413, Some(("body_too_large", "http")))),
        (("GET", "/v1/vote", "", ""), ("/v1/vote", 405, method)),
        (("GET", "/v2/things/17", "", ""), ("/v2/things/{id}", 200, None)),
        (("GET", "/v2/things/no-number", "", ""), ("/v2/things/{id}", 400, invalid)),
        (("GET", "/v1/nothing-here", "", ""), ("<unmatched>", 404, none)),
        (("GET", "/v2/things/17/more", "", ""), ("<unmatched>", 404, none)),
        (("GET", "/v1/internal", "", ""), ("/v1/internal", 500, Some(("internal", "service")))),
        (("GET", "/v1/stream", "", ""), ("/v1/stream", 200, None)),
    ];
    for ((verb, path, headers, body), (label, status, error)) in cases {
        let server = server();
        assert_eq!(server.status(verb, path, headers, body), *status, "{verb} {path}");
        counted(&server, verb, label, *status, *error);
        assert_eq!(sum(&server.metrics.text(), "stemedb_http_responses_aborted_total", &[]), 0.0, "{verb} {path}");
    }
}

#[test]
fn unknown_methods_are_one_label() {
    let server = server();
    assert_eq!(server.status("BREW", "/v1/any", "", ""), 200);
    counted(&server, "<other>", "/v1/any", 200, None);
}

#[test]
fn a_panic_is_a_500_although_the_connection_ends() {
    let server = server();
    assert_eq!(server.ask("GET", "/v1/panic", "", ""), "", "the server has caught it by ending the connection");
    counted(&server, "GET", "/v1/panic", 500, Some(("internal", "service")));
}

#[test]
fn a_client_that_goes_before_there_is_a_response_is_a_499() {
    let server = server();
    let mut stream = server.connect();
    stream.write_all(b"GET /v1/never HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    server.wait_for("stemedb_http_requests_in_flight", 1.0);
    drop(stream);
    counted(&server, "GET", "/v1/never", 499, None);
    server.wait_for("stemedb_http_responses_aborted_total{method=\"GET\",path=\"/v1/never\"}", 1.0);
}

#[test]
fn a_client_that_goes_within_a_response_is_told_by_its_status_and_as_aborted() {
    let server = server();
    let mut stream = server.connect();
    stream.write_all(b"GET /v1/stream HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    drop(stream);
    server.wait_for("stemedb_http_responses_aborted_total{method=\"GET\",path=\"/v1/stream\"}", 1.0);
    counted(&server, "GET", "/v1/stream", 200, None);
}

#[test]
fn the_duration_is_that_to_the_last_byte() {
    let server = server();
    let begin = Instant::now();
    server.ask("GET", "/v1/stream", "", "");
    let took = begin.elapsed().as_secs_f64();
    counted(&server, "GET", "/v1/stream", 200, None);
    let measured = sum(&server.metrics.text(), "stemedb_http_request_duration_seconds_sum", &[]);
    assert!((0.3..=took).contains(&measured), "{measured} of {took}");
}

#[test]
fn many_at_once_are_counted_exactly_and_none_is_left_in_flight() {
    const CLIENTS: usize = 8;
    const EACH: usize = 200;
    let server = server();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                for n in 0..EACH {
                    let path = ["/v1/health".into(), format!("/v2/things/{n}"), format!("/nothing/{client}/{n}")];
                    server.status("GET", &path[n % 3], "", "");
                }
            });
        }
    });
    server.wait_for("stemedb_http_requests_in_flight", 0.0);
    let text = server.metrics.text();
    let all = (CLIENTS * EACH) as f64;
    assert_eq!((sum(&text, REQUESTS, &[]), sum(&text, DURATIONS, &[])), (all, all));
    assert_eq!(sum(&text, REQUESTS, &["<unmatched>"]), sum(&text, ERRORS, &["not_found"]));
    let series = samples(&text).keys().filter(|name| name.starts_with(REQUESTS)).count();
    assert_eq!(series, 3, "one for each template:\n{text}");
}

/// A service without a router, whose first answer is an error of its own.
#[tokio::test]
async fn any_service_is_measured_by_a_function_that_tells_the_route() {
    use http::{Extensions, Request, Uri};
    use tower::{Layer as _, ServiceExt as _};

    fn template<'r>(_: &'r Extensions, uri: &'r Uri) -> Option<&'r str> {
        uri.path().starts_with("/things/").then_some("/things/{id}")
    }
    let metrics = stemedb_metrics::Metrics::with_namespace("other").unwrap();
    let service = tower::service_fn(|request: Request<()>| async move {
        if request.uri().path() == "/things/0" {
            return Err(std::io::Error::other("broken"));
        }
        Ok(http::Response::new(http_body_util::Empty::<Bytes>::new()))
    });
    let service = metrics.http_with(template).layer(service);
    for (path, fine) in [("/things/0", false), ("/things/1", true), ("/elsewhere", true)] {
        let request = Request::builder().uri(path).body(()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.is_ok(), fine, "{path}");
    }
    let text = metrics.text();
    let samples = samples(&text);
    let duration = |path: &str, status: &str| {
        samples[&format!(
            "other_http_request_duration_seconds_count{{method=\"GET\",path=\"{path}\",status=\"{status}\"}}"
        )]
    };
    assert_eq!(duration("/things/{id}", "500"), 1.0);
    assert_eq!(duration("/things/{id}", "200"), 1.0);
    assert_eq!(duration("<unmatched>", "200"), 1.0);
    assert_eq!(samples["other_errors_total{layer=\"service\",type=\"internal\"}"], 1.0);
    assert_eq!(samples["other_http_responses_aborted_total{method=\"GET\",path=\"/things/{id}\"}"], 1.0);
}
