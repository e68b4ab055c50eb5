//! A service that is measured: `cargo run -p stemedb-metrics --example service`, then `curl -d '{"choice":1}' -H 'content-type: application/json'
//! 127.0.0.1:18180/v1/vote` and `curl 127.0.0.1:18180/metrics`.
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::post};
use serde::Deserialize;
use stemedb_metrics::{Classify, Layer, Metrics, Operation, Timed, label_values};

label_values! {
    /// Storage backends.
    enum Backend {
        /// The only one.
        Memory = "memory",
    }
}

/// Every error of the service, and what each counts as.
enum ApiError {
    NoSuchChoice(u32),
}

impl Classify for ApiError {
    fn kind(&self) -> &'static str {
        "invalid_request"
    }

    fn layer(&self) -> Layer {
        Layer::Validation
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self::NoSuchChoice(choice) = &self;
        let body = Json(serde_json::json!({ "error": self.kind(), "message": format!("there is no choice {choice}") }));
        let mut response = (StatusCode::UNPROCESSABLE_ENTITY, body).into_response();
        // From here on the response and its count are one.
        self.mark(response.extensions_mut());
        response
    }
}

#[derive(Deserialize)]
struct Vote {
    choice: u32,
}

async fn vote(State(puts): State<Timed>, Json(vote): Json<Vote>) -> Result<StatusCode, ApiError> {
    if vote.choice > 3 {
        return Err(ApiError::NoSuchChoice(vote.choice));
    }
    let _timer = puts.start();
    Ok(StatusCode::CREATED)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new()?;
    let app = Router::new()
        .route("/v1/vote", post(vote))
        .with_state(metrics.storage.operation(Operation::Put, Backend::Memory))
        .merge(metrics.routes())
        .layer(metrics.http());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:18180").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
