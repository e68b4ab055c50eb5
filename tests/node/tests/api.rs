//! The API: every route is measured, and whatever is sent gets an answer in JSON that is counted once.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use stemedb_metrics::Metrics;
use stemedb_node::api::{Limits, MAX_BODY, ROUTES, router};
use stemedb_node::cluster::{Config, Node, View};
use stemedb_node::service::{Folders, Service};
use tower::ServiceExt as _;

struct Api {
    router: Router,
    metrics: Metrics,
    _folder: tempfile::TempDir,
}

impl Api {
    fn new() -> Self {
        Self::limited(&Limits::default())
    }

    fn limited(limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let service = Service::open(&Folders::below(folder.path()), &metrics).unwrap();
        let node = Node { name: "node-1".into(), address: SocketAddr::from(([127, 0, 0, 1], 18180)) };
        let alone = Config { node, peers: Vec::new(), secret: Some("secret".into()), compare_every: Duration::ZERO };
        let view = Arc::new(View::new(&alone));
        Self { router: router(&service, view, &metrics, limits, Duration::from_secs(10)), metrics, _folder: folder }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Response<Body> {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let request = request.header(header::AUTHORIZATION, "Bearer secret");
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    /// The status, and what it says.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        answer(self.send(method, path, text).await).await
    }

    fn sum(&self, name: &str, parts: &[&str]) -> f64 {
        let text = self.metrics.text();
        let lines = text.lines().filter(|line| line.starts_with(name) && parts.iter().all(|part| line.contains(part)));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

async fn answer(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
    (status, value)
}

/// A body that a route takes.
fn body_of(path: &str) -> Value {
    match path {
        "/v1/vote" => json!({ "agent": "a", "claim": "c", "choice": 0 }),
        "/v1/votes" => json!([{ "agent": "a", "claim": "c", "choice": 0 }]),
        path if path.starts_with("/v1/claim") => json!({ "text": "?", "choices": 2 }),
        path if path.starts_with("/v1/agent") => json!({ "trust": 1.0 }),
        "/v1/peer/changes" => {
            json!([{ "table": "claims", "key": "c", "stamp": { "time": 1, "node": 1 }, "value": null }])
        }
        "/v1/peer/records" => json!([{ "table": "claims", "key": "c" }]),
        path if path.starts_with("/v1/gold") => json!({ "choice": 1 }),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn every_route_is_in_both_metrics_after_one_request() {
    let node = Api::new();
    assert!(ROUTES.len() >= 20);
    for route in ROUTES {
        let path = route.path.replace("{id}", "c");
        let body = if matches!(route.method, "POST" | "PUT") { body_of(route.path) } else { Value::Null };
        let (status, said) = node.ask(route.method, &path, &body).await;
        assert!(status < 500 && status != 405, "{} {path}: {status} {said}", route.method);
        let labels = [format!("method=\"{}\"", route.method), format!("path=\"{}\"", route.path)];
        let labels = [labels[0].as_str(), labels[1].as_str()];
        assert_eq!(node.sum("stemedb_http_requests_total{", &labels), 1.0, "{labels:?}");
        assert_eq!(node.sum("stemedb_http_request_duration_seconds_count{", &labels), 1.0, "{labels:?}");
    }
    let (status, all) = node.ask("GET", "/v1/routes", &Value::Null).await;
    assert_eq!((status, all.as_array().unwrap().len()), (200, ROUTES.len()));
}

#[tokio::test]
async fn votes_are_stored_listed_counted_and_taken_back() {
    let node = Api::new();
    assert_eq!(node.ask("PUT", "/v1/claim/c", &json!({ "text": "?", "choices": 3 })).await.0, 200);
    let (status, vote) = node.ask("POST", "/v1/vote", &json!({ "agent": "a", "claim": "c", "choice": 2 })).await;
    assert_eq!((status, &vote["held"]), (201, &json!(false)));
    let id = vote["id"].as_str().unwrap();
    let (status, got) = node.ask("GET", &format!("/v1/vote/{id}"), &Value::Null).await;
    assert_eq!((status, &got["choice"]), (200, &json!(2)));
    for path in ["/v1/claim/c/votes", "/v1/agent/a/votes?limit=5"] {
        assert_eq!(node.ask("GET", path, &Value::Null).await.1[0]["id"], id, "{path}");
    }
    assert_eq!(node.ask("GET", "/v1/claim/c/tally", &Value::Null).await.1["weights"], json!([0.0, 0.0, 0.5]));
    assert_eq!(node.ask("DELETE", &format!("/v1/vote/{id}"), &Value::Null).await.0, 200);
    assert_eq!(node.ask("GET", &format!("/v1/vote/{id}"), &Value::Null).await.0, 404);
    let (_, wal) = node.ask("GET", "/v1/admin/wal", &Value::Null).await;
    assert_eq!(wal["entries"], 3, "{wal}");
}

#[tokio::test]
async fn each_error_has_its_status_says_what_is_wrong_in_json_and_is_counted_once() {
    let node = Api::new();
    node.ask("PUT", "/v1/claim/c", &json!({ "text": "?", "choices": 3 })).await;
    let vote = |choice: Value| json!({ "agent": "a", "claim": "c", "choice": choice }).to_string();
    let long = format!("{{\"agent\":\"{}\"}}", "x".repeat(MAX_BODY));
    // Method, path, body; the status, the error, a word of the message, the layer.
    let cases = [
        ("POST", "/v1/vote", "{", 400, "invalid_request", "parse", "validation"),
        ("POST", "/v1/vote", "{}", 422, "invalid_request", "agent", "validation"),
        ("POST", "/v1/vote", &vote(json!("one")), 422, "invalid_request", "choice", "validation"),
        ("POST", "/v1/vote", &vote(json!(7)), 422, "invalid_request", "only 3 choices", "validation"),
        ("POST", "/v1/vote", &vote(json!(-1)), 422, "invalid_request", "choice", "validation"),
        (
            "POST",
            "/v1/vote",
            r#"{"agent":"a","claim":"c","choice":1,"x":1}"#,
            422,
            "invalid_request",
            "unknown field `x`",
            "validation",
        ),
        (
            "POST",
            "/v1/vote",
            r#"{"agent":"a","claim":"none","choice":1}"#,
            404,
            "not_found",
            "no claim none",
            "service",
        ),
        ("POST", "/v1/vote", &long, 413, "body_too_large", "longer", "http"),
        ("GET", "/v1/claims?limit=0", "", 422, "invalid_request", "limit", "validation"),
        ("GET", "/v1/claims?limit=many", "", 400, "invalid_request", "limit", "validation"),
        ("GET", "/v1/claims?size=3", "", 400, "invalid_request", "size", "validation"),
        ("PUT", "/v1/claim/a%20b", r#"{"text":"?","choices":2}"#, 422, "invalid_request", "id", "validation"),
        ("GET", "/v1/vote/none", "", 404, "not_found", "no vote none", "service"),
        ("GET", "/v1/nothing", "", 404, "not_found", "no such path", "http"),
        ("PATCH", "/v1/vote", "", 405, "method_not_allowed", "method", "http"),
    ];
    for (number, (method, path, body, status, kind, word, layer)) in cases.into_iter().enumerate() {
        let response = node.send(method, path, body.to_owned()).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{method} {path}");
        let (got, said) = answer(response).await;
        assert_eq!((got, &said["error"]), (status, &json!(kind)), "{method} {path}: {said}");
        let message = said["message"].as_str().unwrap();
        assert!(message.contains(word), "{method} {path}: {message}");
        assert_eq!(node.sum("stemedb_errors_total{", &[]), (number + 1) as f64, "{method} {path}");
        assert!(node.sum("stemedb_errors_total{", &[&format!("layer=\"{layer}\",type=\"{kind}\"")]) > 0.0);
    }
    let request = Request::builder().method("POST").uri("/v1/vote").body(Body::from("{}")).unwrap();
    let (status, said) = answer(node.router.clone().oneshot(request).await.unwrap()).await;
    assert_eq!((status, &said["error"]), (415, &json!("invalid_request")));
}

#[tokio::test]
async fn only_peers_may_say_what_peers_say_and_only_what_can_be_read() {
    let node = Api::new();
    let change = |table: &str, value: Value, time: u64| json!([{ "table": table, "key": "x", "stamp": { "time": time, "node": 7 }, "value": value }]);
    let request =
        Request::builder().method("POST").uri("/v1/peer/changes").header(header::CONTENT_TYPE, "application/json");
    let body = Body::from(change("keys", Value::Null, 1).to_string());
    let (status, said) = answer(node.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()).await;
    assert_eq!((status, &said["error"]), (403, &json!("not_a_peer")));
    let cases = [
        ("claims", json!("{\"text\":\"?\",\"choices\":2}"), 1, 200),
        ("claims", json!("nonsense"), 2, 422),
        ("keys", json!("x"), 2, 422),
        ("chores", json!("{}"), 2, 422),
        ("votes_by_agent", json!("x"), 2, 422),
        ("votes_by_agent", json!(""), 2, 200),
        ("meta", json!("x"), 2, 422),
        ("outbox", json!("x"), 2, 422),
        ("claims", json!("{\"text\":\"?\",\"choices\":2}"), u64::MAX, 422),
        ("nothing", json!("x"), 2, 422),
    ];
    for (table, value, time, expected) in cases {
        let (status, said) = node.ask("POST", "/v1/peer/changes", &change(table, value, time)).await;
        assert_eq!(status, expected, "{table}: {said}");
    }
    assert_eq!(node.ask("GET", "/v1/claim/x", &Value::Null).await.1["choices"], 2);
    // An older change changes nothing, a later one does.
    let other = json!("{\"text\":\"?\",\"choices\":3}");
    assert_eq!(node.ask("POST", "/v1/peer/changes", &change("claims", other.clone(), 0)).await.0, 200);
    assert_eq!(node.ask("GET", "/v1/claim/x", &Value::Null).await.1["choices"], 2);
    assert_eq!(node.ask("POST", "/v1/peer/changes", &change("claims", other, 9)).await.0, 200);
    assert_eq!(node.ask("GET", "/v1/claim/x", &Value::Null).await.1["choices"], 3);
}

#[tokio::test]
async fn the_operators_work_needs_an_api_key_once_there_is_one() {
    let node = Api::new();
    assert_eq!(node.ask("GET", "/v1/admin/wal", &Value::Null).await.0, 200);
    let (status, made) = node.ask("PUT", "/v1/admin/key/ops", &Value::Null).await;
    let secret = made["secret"].as_str().unwrap();
    assert_eq!((status, secret.len()), (200, 32));
    let seconds = made["created"].as_f64().unwrap() / 1e3;
    assert_eq!(node.sum("stemedb_api_key_created_timestamp_seconds{key=\"ops\"}", &[]), seconds);
    let response = node.send("GET", "/v1/admin/wal", String::new()).await;
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let (status, said) = answer(response).await;
    assert_eq!((status, &said["error"]), (401, &json!("unauthorized")));
    assert_eq!(node.sum("stemedb_errors_total{", &["layer=\"auth\",type=\"unauthorized\""]), 1.0);
    assert_eq!(node.ask("GET", "/v1/agent/a", &Value::Null).await.0, 200, "the rest is everybody's");
    let with = async |method: &str, path: &str, secret: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {secret}")).body(Body::empty()).unwrap();
        answer(node.router.clone().oneshot(request).await.unwrap()).await
    };
    assert_eq!(with("GET", "/v1/admin/wal", "wrong").await.0, 401);
    let (status, all) = with("GET", "/v1/admin/keys", secret).await;
    assert_eq!((status, &all), (200, &json!([{ "id": "ops", "created": made["created"] }])), "without secrets");
    // Rotation: a new one in the place of the old.
    let (_, new) = with("PUT", "/v1/admin/key/ops", secret).await;
    assert_eq!(with("GET", "/v1/admin/wal", secret).await.0, 401);
    assert_eq!(with("DELETE", "/v1/admin/key/ops", new["secret"].as_str().unwrap()).await.0, 200);
    assert_eq!(node.sum("stemedb_api_key_created_timestamp_seconds{", &[]), 0.0, "one that is no more has no age");
    assert_eq!(node.ask("GET", "/v1/admin/wal", &Value::Null).await.0, 200);
}

#[tokio::test]
async fn an_endpoint_has_a_limit_of_its_own() {
    let one = NonZeroU32::MIN;
    let node = Api::limited(&Limits { read: one, write: one, bulk: one, admin: one, peer: one });
    assert_eq!(node.ask("GET", "/v1/agent/a", &Value::Null).await.0, 200);
    let response = node.send("GET", "/v1/agent/b", String::new()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(answer(response).await.1["error"], "rate_limited");
    assert_eq!(node.ask("GET", "/v1/claim/c", &Value::Null).await.0, 404, "another endpoint has its own");
    for _ in 0..5 {
        assert_eq!(node.ask("GET", "/healthz", &Value::Null).await.0, 200);
    }
    assert_eq!(node.sum("stemedb_errors_total{", &["layer=\"limits\",type=\"rate_limited\""]), 1.0);
}

#[test]
fn whatever_is_sent_anywhere_gets_an_answer_and_is_counted_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = Api::limited(&Limits { admin: NonZeroU32::MAX, ..Limits::default() });
    runtime.block_on(node.ask("PUT", "/v1/claim/c", &json!({ "text": "?", "choices": 3 })));
    let value = prop_oneof![
        any::<Vec<u8>>(),
        "[ -~]{0,40}".prop_map(String::into_bytes),
        (0..ROUTES.len(), "[a-z]{1,8}", any::<i64>()).prop_map(|(route, field, number)| {
            let mut body = body_of(ROUTES[route].path);
            if let Some(fields) = body.as_object_mut() {
                fields.insert(field, number.into());
            }
            body.to_string().into_bytes()
        }),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let before = node.sum("stemedb_http_requests_total{", &[]);
    let sent = std::cell::Cell::new(before);
    let strategy = (0..ROUTES.len(), "[a-zA-Z0-9._%-]{0,12}", value);
    let result = runner.run(&strategy, |(route, id, body)| {
        let route = &ROUTES[route];
        let path = route.path.replace("{id}", &id);
        let Ok(request) = Request::builder()
            .method(route.method)
            .uri(&path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, "Bearer secret")
            .body(Body::from(body))
        else {
            return Ok(());
        };
        let (status, said) =
            runtime.block_on(async { answer(node.router.clone().oneshot(request).await.unwrap()).await });
        sent.set(sent.get() + 1.0);
        prop_assert!(status < 500, "{} {path}: {status} {said}", route.method);
        if status >= 400 {
            prop_assert!(
                said["error"].is_string() && said["message"].is_string(),
                "{} {path}: {status} {said}",
                route.method
            );
        }
        Ok(())
    });
    result.unwrap();
    assert_eq!(node.sum("stemedb_http_requests_total{", &[]), sent.get());
    let errors = node.sum("stemedb_http_request_duration_seconds_count{", &["status=\"4"]);
    assert_eq!(node.sum("stemedb_errors_total{", &[]), errors);
}
