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
    Ok((StatusCode::CREATED, Json(whole(async move { app.vote(new).await }).await?)))
}

pub(super) async fn votes(
    State(app): State<Service>,
    Body(new): Body<Vec<NewVote>>,
) -> Result<(StatusCode, Json<Vec<Cast>>), Error> {
    Ok((StatusCode::CREATED, Json(whole(async move { app.votes(new).await }).await?)))
}

pub(super) async fn get_vote(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(app.get_vote(&id)?))
}

pub(super) async fn remove_vote(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(whole(async move { app.remove_vote(&id).await }).await?))
}

pub(super) async fn put_claim(State(app): State<Service>, Path(id): Id, Body(claim): Body<Claim>) -> Answer<Claim> {
    Ok(Json(whole(async move { app.put_claim(&id, &claim).await.map(|()| claim) }).await?))
}

pub(super) async fn claim(State(app): State<Service>, Path(id): Id) -> Answer<Claim> {
    Ok(Json(app.claim(&id)?))
}

pub(super) async fn remove_claim(State(app): State<Service>, Path(id): Id) -> Answer<Claim> {
    Ok(Json(whole(async move { app.remove_claim(&id).await }).await?))
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
    Ok(Json(whole(async move { app.put_agent(&id, &agent).await.map(|()| agent) }).await?))
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
    Ok(Json(whole(async move { app.put_gold(&id, gold).await.map(|()| gold) }).await?))
}

pub(super) async fn gold(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Value>> {
    let (after, limit) = page.checked()?;
    with_ids(app.gold(after, limit)?)
}

pub(super) async fn remove_gold(State(app): State<Service>, Path(id): Id) -> Answer<Gold> {
    Ok(Json(whole(async move { app.remove_gold(&id).await }).await?))
}

pub(super) async fn quarantine(State(app): State<Service>, Query(page): Query<Page>) -> Answer<Vec<Vote>> {
    let (after, limit) = page.checked()?;
    Ok(Json(app.quarantine(after, limit)?.into_iter().map(|(_, vote)| vote).collect()))
}

pub(super) async fn release(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(whole(async move { app.release(&id).await }).await?))
}

pub(super) async fn discard(State(app): State<Service>, Path(id): Id) -> Answer<Vote> {
    Ok(Json(whole(async move { app.discard(&id).await }).await?))
}

pub(super) async fn checkpoint(State(app): State<Service>) -> Answer<Value> {
    // It waits for the disk for longer than a handler may.
    let done = tokio::task::spawn_blocking(move || app.journal().checkpoint()).await;
    Ok(Json(json!({ "segments_removed": done.map_err(|error| lost(&error))?? })))
}

pub(super) async fn decay(State(app): State<Service>) -> Answer<Value> {
    Ok(Json(json!({ "agents": whole(async move { app.decay().await }).await? })))
}

pub(super) async fn make_key(State(app): State<Service>, Path(id): Id) -> Answer<NewKey> {
    Ok(Json(whole(async move { app.make_key(&id).await }).await?))
}

pub(super) async fn remove_key(State(app): State<Service>, Path(id): Id) -> Answer<ApiKey> {
    Ok(Json(whole(async move { app.remove_key(&id).await }).await?))
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
    Ok(Json(json!({ "taken": whole(async move { app.take(&records).await }).await? })))
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

/// Does something as a whole, whether or not the client waits for it: half of it would be a write that nothing has been told of.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, crate::service::Error>> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::spawn(work).await.map_err(|error| lost(&error))??)
}

/// A task has panicked.
fn lost(error: &tokio::task::JoinError) -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", Layer::Service, error.to_string())
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
