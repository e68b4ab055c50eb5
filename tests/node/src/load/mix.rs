//! Which requests there are, and how often each.

use std::sync::PoisonError;

use rand::RngExt as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use serde_json::json;

use super::Recent;

/// Claims that there are.
const CLAIMS: u32 = 20;
/// Agents that there are; they begin neutral.
const AGENTS: u32 = 200;
/// Of the claims, those of which the right choice is known.
const GOLD: u32 = 4;
/// Choices of a claim.
const CHOICES: u8 = 3;
/// Votes of a request that has several.
const SEVERAL: usize = 10;
/// No route has this path, and metrics say so.
pub(super) const UNMATCHED: &str = "<unmatched>";

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    pub(super) method: &'static str,
    /// The path's template, as metrics have it.
    pub(super) template: &'static str,
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: String,
}

impl Shot {
    fn get(template: &'static str, id: &str) -> Self {
        let path = template.replace("{id}", id);
        Self { method: "GET", template, path, content_type: None, body: String::new() }
    }

    fn json(method: &'static str, template: &'static str, id: &str, body: &serde_json::Value) -> Self {
        let content_type = Some("application/json");
        Self { method, content_type, body: body.to_string(), ..Self::get(template, id) }
    }
}

/// A kind of request: its weight among its like, and how one is made.
type Kind = (u32, fn(&mut StdRng, &Recent) -> Shot);

/// What clients do.
const GOOD: &[Kind] = &[
    (500, |dice, _| Shot::json("POST", "/v1/vote", "", &vote(dice))),
    (20, |dice, _| {
        let votes: Vec<_> = (0..SEVERAL).map(|_| vote(dice)).collect();
        Shot::json("POST", "/v1/votes", "", &votes.into())
    }),
    (120, |_, recent| Shot::get("/v1/vote/{id}", &vote_id(recent))),
    (10, |_, recent| Shot { method: "DELETE", ..Shot::get("/v1/vote/{id}", &vote_id(recent)) }),
    (100, |dice, _| Shot::get("/v1/claim/{id}", &claim(dice))),
    (20, |dice, _| Shot::json("PUT", "/v1/claim/{id}", &claim(dice), &a_claim())),
    (30, |dice, _| Shot {
        path: format!("/v1/claim/{}/votes?limit=20", claim(dice)),
        ..Shot::get("/v1/claim/{id}/votes", "")
    }),
    (100, |dice, _| Shot::get("/v1/agent/{id}", &agent(dice))),
    (10, |dice, _| Shot::json("PUT", "/v1/agent/{id}", &agent(dice), &json!({ "trust": 0.9 }))),
    (30, |dice, _| Shot {
        path: format!("/v1/agent/{}/votes?limit=20", agent(dice)),
        ..Shot::get("/v1/agent/{id}/votes", "")
    }),
    (10, |_, _| Shot::get("/v1/claims", "")),
    (10, |_, _| Shot::get("/v1/gold", "")),
    (10, |_, _| Shot::get("/v1/quarantine", "")),
    (20, |_, _| Shot::get("/readyz", "")),
];

/// What clients do that are wrong: each is refused, and harms nobody.
const BAD: &[Kind] = &[
    (30, |_, _| Shot { body: "{\"agent\":".into(), ..Shot::json("POST", "/v1/vote", "", &json!(null)) }),
    (30, |_, _| Shot::json("POST", "/v1/vote", "", &json!({ "agent": "a" }))),
    (20, |dice, _| {
        Shot::json("POST", "/v1/vote", "", &json!({ "agent": agent(dice), "claim": claim(dice), "choice": 9 }))
    }),
    (20, |dice, _| Shot::json("POST", "/v1/vote", "", &json!({ "agent": agent(dice), "claim": "none", "choice": 0 }))),
    (20, |_, _| Shot { content_type: None, ..Shot::json("POST", "/v1/vote", "", &json!({})) }),
    (20, |_, _| Shot::get("/v1/vote/{id}", "none")),
    (20, |_, _| Shot { method: "PATCH", ..Shot::get("/v1/vote", "") }),
    (20, |_, _| Shot { template: UNMATCHED, ..Shot::get("/v2/vote", "") }),
    (10, |_, _| Shot { path: "/v1/claims?limit=0".into(), ..Shot::get("/v1/claims", "") }),
];

/// What must be there before.
pub(super) fn prepare() -> Vec<Shot> {
    let claims = (0..CLAIMS).map(|number| Shot::json("PUT", "/v1/claim/{id}", &format!("claim-{number}"), &a_claim()));
    let gold =
        (0..GOLD).map(|number| Shot::json("PUT", "/v1/gold/{id}", &format!("claim-{number}"), &json!({ "choice": 0 })));
    claims.chain(gold).collect()
}

fn a_claim() -> serde_json::Value {
    json!({ "text": "Which of these is it?", "choices": CHOICES })
}

fn claim(dice: &mut StdRng) -> String {
    format!("claim-{}", dice.random_range(0..CLAIMS))
}

fn agent(dice: &mut StdRng) -> String {
    format!("agent-{}", dice.random_range(0..AGENTS))
}

/// Most are right where it is known what is.
fn vote(dice: &mut StdRng) -> serde_json::Value {
    let choice = if dice.random_bool(0.7) { 0 } else { dice.random_range(0..CHOICES) };
    json!({ "agent": agent(dice), "claim": claim(dice), "choice": choice, "note": "because it is" })
}

/// The id of a vote that there was.
fn vote_id(recent: &Recent) -> String {
    let recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    recent.back().cloned().unwrap_or_else(|| "none".into())
}

/// Draws requests.
pub(super) struct Mix {
    bad: f64,
    good: Option<WeightedIndex<u32>>,
    wrong: Option<WeightedIndex<u32>>,
}

impl Mix {
    pub(super) fn new(bad: f64) -> Self {
        let weights = |kinds: &[Kind]| WeightedIndex::new(kinds.iter().map(|(weight, _)| *weight)).ok();
        Self { bad: bad.clamp(0.0, 1.0), good: weights(GOOD), wrong: weights(BAD) }
    }

    pub(super) fn shot(&self, dice: &mut StdRng, recent: &Recent) -> Shot {
        let (kinds, weights) = if dice.random_bool(self.bad) { (BAD, &self.wrong) } else { (GOOD, &self.good) };
        let place = weights.as_ref().map_or(0, |weights| weights.sample(dice));
        (kinds[place].1)(dice, recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ROUTES;
    use rand::SeedableRng as _;

    #[test]
    fn every_request_is_of_a_route_or_wrong_on_purpose() {
        let mut dice = StdRng::seed_from_u64(1);
        let recent = Recent::default();
        let good = GOOD.iter().map(|(_, make)| make(&mut dice, &recent)).collect::<Vec<_>>();
        for shot in good.iter().chain(&prepare()) {
            let known = ROUTES.iter().any(|route| (route.method, route.path) == (shot.method, shot.template));
            assert!(known, "{} {}", shot.method, shot.template);
        }
        for (_, make) in BAD {
            let shot = make(&mut dice, &recent);
            assert!(shot.template == UNMATCHED || ROUTES.iter().any(|route| route.path == shot.template), "{shot:?}");
        }
        let writes = good.iter().zip(GOOD).filter(|(shot, _)| shot.method != "GET").map(|(_, (weight, _))| weight);
        assert!(writes.sum::<u32>() * 2 > GOOD.iter().map(|(weight, _)| weight).sum(), "more than half of them write");
    }

    #[test]
    fn the_share_of_wrong_ones_is_what_was_asked_for() {
        let mut dice = StdRng::seed_from_u64(1);
        let mix = Mix::new(0.1);
        let shots = (0..10_000).map(|_| mix.shot(&mut dice, &Recent::default()));
        let unmatched = shots.filter(|shot| shot.template == UNMATCHED).count();
        let expected = 10_000.0 * 0.1 * 20.0 / BAD.iter().map(|(weight, _)| f64::from(*weight)).sum::<f64>();
        assert!((unmatched as f64 / expected - 1.0).abs() < 0.3, "{unmatched} of {expected}");
    }
}
