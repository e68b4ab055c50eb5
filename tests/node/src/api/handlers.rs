//! From a request to the service and back, one function for each route.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use stemedb_metrics::Layer;

use super::error::Error;
use super::input::{Body, Page, Path, Query};
use super::{ROUTES, Route};
use crate::cluster::{PeerView, View};
use crate::model::{Agent, Claim, Gold, NewVote, Vote};
use crate::replica::{Key, Record, Version};
use crate::service::{ApiKey, Cast, NewKey, Tally};

type Service = Arc<crate::service::Service>;
type Answer<T> = Result<Json<T>, Error>;
type Id = Path<String>;

pub(super) async fn vote(
    State(app): State<Service>,
    Body(new): Body<NewVote>,
) -> Result<(StatusCode, Json<Cast>), Error> {
    Ok((StatusCode::CREATED, Json(app.vote(new).await?)))
}

pub(super) async fn votes(
    State(app): State<Service>,
    Body(new): Body<Vec<NewVote>>,
) -> Result<(StatusCode, Json<Vec<Cast>>), Error> {
    Ok((StatusCode::CREATED, Json(app.votes(new).await?)))
}

pub(super) async fn get_vote(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(app.get_vote(&id)?))
}

pub(super) async fn remove_vote(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(app.remove_vote(&id).await?))
}

pub(super) async fn put_claim(State(app): State<Service>, Path(id): Id, Body(claim): Body<Claim>) -> Answer<Claim> {
    app.put_claim(&id, &claim).await?;
    Ok(Json(claim))
}

pub(super) async fn claim(State(app): State<Service>, Path(id): Id) -> Answer<Claim> {
    Ok(Json(app.claim(&id)?))
}

pub(super) async fn remove_claim(State(app): State<Service>, Path(id): Id) -> Answer<Claim> {
    Ok(Json(app.remove_claim(&id).await?))
}

pub(super) async fn claims(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Value>> {
    let (after, limit) = page.checked()?;
    with_ids(app.claims(after, limit)?)
}

pub(super) async fn votes_on(State(app): State<Service>, Path(id): Id, Query(page): Query<Page>) -> Answer<Vec<Vote>> {
    let (after, limit) = page.checked()?;
    app.claim(&id)?;
    Ok(Json(app.votes_on(&id, after, limit)?))
}

pub(super) async fn tally(State(app): State<Service>, Path(id): Id) -> Answer<Tally> {
    Ok(Json(app.tally(&id)?))
}

pub(super) async fn put_agent(State(app): State<Service>, Path(id): Id, Body(agent): Body<Agent>) -> Answer<Agent> {
    app.put_agent(&id, &agent).await?;
    Ok(Json(agent))
}

pub(super) async fn agent(State(app): State<Service>, Path(id): Id) -> Answer<Agent> {
    Ok(Json(app.agent(&id)?))
}

pub(super) async fn agents(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Value>> {
    let (after, limit) = page.checked()?;
    with_ids(app.agents(after, limit)?)
}

pub(super) async fn votes_of(State(app): State<Service>, Path(id): Id, Query(page): Query<Page>) -> Answer<Vec<Vote>> {
    let (after, limit) = page.checked()?;
    Ok(Json(app.votes_of(&id, after, limit)?))
}

pub(super) async fn put_gold(State(app): State<Service>, Path(id): Id, Body(gold): Body<Gold>) -> Answer<Gold> {
    app.put_gold(&id, gold).await?;
    Ok(Json(gold))
}

pub(super) async fn gold(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Value>> {
    let (after, limit) = page.checked()?;
    with_ids(app.gold(after, limit)?)
}

pub(super) async fn remove_gold(State(app): State<Service>, Path(id): Id) -> Answer<Gold> {
    Ok(Json(app.remove_gold(&id).await?))
}

pub(super) async fn quarantine(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Vote>> {
    let (after, limit) = page.checked()?;
    Ok(Json(app.quarantine(after, limit)?.into_iter().map(|(_, vote)| vote).collect()))
}

pub(super) async fn release(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(app.release(&id).await?))
}

pub(super) async fn discard(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(app.discard(&id).await?))
}

pub(super) async fn checkpoint(State(app): State<Service>) -> Answer<Value> {
    // It waits for the disk for longer than a handler may.
    let done = tokio::task::spawn_blocking(move || app.journal().checkpoint()).await;
    let lost = |error: tokio::task::JoinError| {
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", Layer::Service, error.to_string())
    };
    Ok(Json(json!({ "segments_removed": done.map_err(lost)?? })))
}

pub(super) async fn decay(State(app): State<Service>) -> Answer<Value> {
    Ok(Json(json!({ "agents": app.decay().await? })))
}

pub(super) async fn make_key(State(app): State<Service>, Path(id): Id) -> Answer<NewKey> {
    Ok(Json(app.make_key(&id).await?))
}

pub(super) async fn remove_key(State(app): State<Service>, Path(id): Id) -> Answer<ApiKey> {
    Ok(Json(app.remove_key(&id).await?))
}

pub(super) async fn keys(State(app): State<Service>) -> Answer<Vec<ApiKey>> {
    Ok(Json(app.keys()?))
}

pub(super) async fn wal(State(app): State<Service>) -> Json<Value> {
    let wal = app.journal().wal();
    let counts = wal.counts();
    Json(json!({
        "entries": counts.entries.load(Ordering::Relaxed),
        "commits": counts.commits.load(Ordering::Relaxed),
        "bytes": counts.bytes.load(Ordering::Relaxed),
        "fsyncs": wal.fsyncs(),
        "segments": wal.segments(),
        "segments_begun": counts.segments.load(Ordering::Relaxed),
        "failures": counts.failures.load(Ordering::Relaxed),
    }))
}

pub(super) async fn cluster(State(view): State<Arc<View>>) -> Json<Vec<PeerView>> {
    Json(view.peers())
}

pub(super) async fn take(State(app): State<Service>, Body(records): Body<Vec<Record>>) -> Answer<Value> {
    Ok(Json(json!({ "taken": app.take(&records).await? })))
}

pub(super) async fn records(State(app): State<Service>, Body(keys): Body<Vec<Key>>) -> Answer<Vec<Record>> {
    Ok(Json(app.records(&keys)?))
}

pub(super) async fn hashes(State(app): State<Service>, Path(path): Id) -> Answer<Vec<String>> {
    Ok(Json(app.hashes(&path)?))
}

pub(super) async fn versions(State(app): State<Service>, Path(path): Id) -> Answer<Vec<Version>> {
    Ok(Json(app.versions(&path)?))
}

pub(super) async fn list() -> Json<&'static [Route]> {
    Json(ROUTES)
}

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(app): State<Service>) -> Result<&'static str, Error> {
    app.journal().check()?;
    Ok("ready\n")
}

/// Items with their ids among their fields.
fn with_ids<T: Serialize>(items: Vec<(String, T)>) -> Answer<Vec<Value>> {
    let item = |(id, item): (String, T)| {
        let mut value = serde_json::to_value(item)?;
        value["id"] = id.into();
        Ok(value)
    };
    let all: Result<Vec<Value>, serde_json::Error> = items.into_iter().map(item).collect();
    let failed = |error: serde_json::Error| {
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", Layer::Storage, error.to_string())
    };
    Ok(Json(all.map_err(failed)?))
}
