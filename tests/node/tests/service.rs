//! What the node does, and what it has after a restart.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

use std::path::Path;
use std::sync::Arc;

use stemedb_metrics::Metrics;
use stemedb_node::model::{Agent, Claim, Gold, NewVote};
use stemedb_node::service::{Error, Folders, Service};

fn open(folder: &Path) -> (Arc<Service>, Metrics) {
    let metrics = Metrics::new().unwrap();
    (Service::open(&Folders::below(folder), &metrics).unwrap(), metrics)
}

fn vote(agent: &str, claim: &str, choice: u8) -> NewVote {
    NewVote { agent: agent.into(), claim: claim.into(), choice, note: String::new() }
}

fn sample(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

async fn with_claims(service: &Service) {
    for id in ["c", "known"] {
        service.put_claim(id, &Claim { text: "?".into(), choices: 3 }).await.unwrap();
    }
    service.put_gold("known", Gold { choice: 1 }).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_with_a_checkpoint_or_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids: Vec<String> = Vec::new();
    for round in 0..3 {
        let (service, metrics) = open(folder.path());
        assert_eq!(sample(&metrics, "stemedb_wal_recovery_attempts_total"), Some(1.0));
        if round == 0 {
            with_claims(&service).await;
        }
        for id in &ids {
            assert!(service.get_vote(id).is_ok(), "{id} in round {round}");
        }
        for _ in 0..20 {
            ids.push(service.vote(vote("a", "c", 2)).await.unwrap().vote.id);
        }
        if round == 1 {
            service.journal().checkpoint().unwrap();
        }
        let listed: Vec<String> = service.votes_of("a", None, 1_000).unwrap().into_iter().map(|vote| vote.id).collect();
        assert_eq!(listed, ids, "in the order of time");
    }
    let (service, metrics) = open(folder.path());
    assert_eq!(sample(&metrics, "stemedb_wal_recovered_entries_total"), Some(20.0), "those after the checkpoint");
    assert_eq!(service.tally("c").unwrap().weights, [0.0, 0.0, 60.0 * Agent::NEUTRAL]);
}

#[tokio::test]
async fn wrong_answers_cost_trust_then_votes_are_held_then_the_breaker_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (service, metrics) = open(folder.path());
    with_claims(&service).await;
    for wrong in 1..=5 {
        let held = service.vote(vote("a", "known", 0)).await.unwrap().held;
        assert_eq!(held, wrong > 3, "{wrong}");
    }
    assert!(service.agent("a").unwrap().trust < 0.05);
    assert!(matches!(service.vote(vote("a", "c", 0)).await, Err(Error::Tripped { .. })));
    assert_eq!(sample(&metrics, "stemedb_circuit_breakers{state=\"open\"}"), Some(1.0));
    assert_eq!(sample(&metrics, "stemedb_circuit_breaker_trips_total"), Some(1.0));
    assert_eq!(sample(&metrics, "stemedb_quarantine_entries"), Some(2.0));
    assert_eq!(sample(&metrics, "stemedb_quarantine_added_total"), Some(2.0));
    let (id, _) = service.quarantine(None, 10).unwrap().swap_remove(0);
    service.release(&id).await.unwrap();
    assert!(service.get_vote(&id).is_ok());
    let (id, _) = service.quarantine(None, 10).unwrap().swap_remove(0);
    service.discard(&id).await.unwrap();
    assert!(matches!(service.get_vote(&id), Err(Error::NotFound { .. })));
    assert_eq!(sample(&metrics, "stemedb_quarantine_entries"), Some(0.0));
    assert_eq!(service.tally("known").unwrap().votes, 4);
}

#[tokio::test]
async fn right_answers_give_trust_and_it_decays() {
    let folder = tempfile::tempdir().unwrap();
    let (service, metrics) = open(folder.path());
    with_claims(&service).await;
    service.vote(vote("a", "known", 1)).await.unwrap();
    assert_eq!(service.agent("a").unwrap().trust, 0.6);
    assert_eq!(sample(&metrics, "stemedb_trust_rank_decay_last_run_timestamp_seconds"), None);
    assert_eq!(service.decay().await.unwrap(), 1);
    assert!((service.agent("a").unwrap().trust - 0.59).abs() < 1e-9);
    assert!(sample(&metrics, "stemedb_trust_rank_decay_last_run_timestamp_seconds").unwrap() > 1e9);
}

#[tokio::test]
async fn votes_of_one_request_count_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (service, _) = open(folder.path());
    with_claims(&service).await;
    let cast = service.votes(vec![vote("a", "known", 0); 4]).await.unwrap();
    assert_eq!(cast.iter().map(|cast| cast.held).collect::<Vec<_>>(), [false, false, false, true]);
    assert!((service.agent("a").unwrap().trust - 0.1).abs() < 1e-9);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (service, _) = open(folder.path());
    with_claims(&service).await;
    let wrong = [vote("a b", "c", 0), vote("a", "c", 3), vote("a", "none", 0)];
    for vote in wrong {
        let all = vec![self::vote("a", "c", 0), vote.clone()];
        assert!(service.votes(all).await.is_err(), "{vote:?}");
    }
    assert_eq!(service.tally("c").unwrap().votes, 0);
    assert!(service.put_gold("c", Gold { choice: 3 }).await.is_err());
    assert!(service.votes(Vec::new()).await.is_err());
}

#[tokio::test]
async fn votes_at_the_same_time_share_commits_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (service, metrics) = open(folder.path());
    with_claims(&service).await;
    let before = sample(&metrics, "stemedb_wal_batch_size_sum").unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.vote(vote(&format!("a{n}"), "c", 0)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(service.tally("c").unwrap().votes, 200);
    assert_eq!(sample(&metrics, "stemedb_wal_batch_size_sum").unwrap() - before, 200.0);
    assert!(sample(&metrics, "stemedb_wal_batch_size_count").unwrap() < 203.0);
}
