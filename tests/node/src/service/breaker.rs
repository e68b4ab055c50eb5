//! Circuit breakers: an agent that was wrong too often in a row is not listened to for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use stemedb_metrics::BreakerState;

/// Wrong answers in a row that open a breaker.
const WRONG: u32 = 5;
/// For how long it stays open.
pub(super) const OPEN: Duration = Duration::from_secs(30);
/// How long one is kept of which nothing is heard.
const KEPT: Duration = Duration::from_mins(10);
/// Breakers that are kept; the one of which nothing was heard for longest makes room.
const MOST: usize = 10_000;

/// One agent's.
#[derive(Debug, Clone, Copy)]
struct Breaker {
    state: BreakerState,
    wrong: u32,
    since: Instant,
    /// When its agent last said something.
    heard: Instant,
}

/// Those of all agents that were wrong.
#[derive(Debug, Default)]
pub(super) struct Breakers(HashMap<String, Breaker>);

impl Breakers {
    /// Whether a vote of an agent may pass; else for how long not. An open one is half open when its time is over.
    pub(super) fn admit(&mut self, agent: &str, now: Instant) -> Result<(), Duration> {
        let Some(breaker) = self.0.get_mut(agent) else { return Ok(()) };
        breaker.heard = now;
        if breaker.state == BreakerState::Open {
            let left = OPEN.saturating_sub(now.saturating_duration_since(breaker.since));
            if !left.is_zero() {
                return Err(left);
            }
            (breaker.state, breaker.since) = (BreakerState::HalfOpen, now);
        }
        Ok(())
    }

    /// Notes an answer of which it is known whether it was right. Returns whether that has opened the breaker.
    pub(super) fn answered(&mut self, agent: &str, is_right: bool, now: Instant) -> bool {
        if is_right {
            self.0.remove(agent);
            return false;
        }
        if self.0.len() >= MOST && !self.0.contains_key(agent) {
            self.make_room(now);
        }
        let new = Breaker { state: BreakerState::Closed, wrong: 0, since: now, heard: now };
        let breaker = self.0.entry(agent.to_owned()).or_insert(new);
        breaker.heard = now;
        breaker.wrong += 1;
        let opens = match breaker.state {
            BreakerState::Closed => breaker.wrong >= WRONG,
            BreakerState::HalfOpen => true,
            BreakerState::Open => false,
        };
        if opens {
            (breaker.state, breaker.since) = (BreakerState::Open, now);
        }
        opens
    }

    /// Forgets those of which nothing was heard for long: whoever comes back then begins anew.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, breaker| now.saturating_duration_since(breaker.heard) < KEPT);
    }

    fn make_room(&mut self, now: Instant) {
        self.forget(now);
        if self.0.len() >= MOST
            && let Some(quietest) =
                self.0.iter().min_by_key(|(_, breaker)| breaker.heard).map(|(agent, _)| agent.clone())
        {
            self.0.remove(&quietest);
        }
    }

    /// How many are in a state. Agents that were never wrong have none.
    pub(super) fn count(&self, state: BreakerState) -> usize {
        self.0.values().filter(|breaker| breaker.state == state).count()
    }

    /// For how long the one that has been half open for longest has been so.
    pub(super) fn half_open(&self, now: Instant) -> Duration {
        let half_open = self.0.values().filter(|breaker| breaker.state == BreakerState::HalfOpen);
        half_open.map(|breaker| now.saturating_duration_since(breaker.since)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_opens_is_half_open_and_closes() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        assert!((1..WRONG).all(|_| !breakers.answered("a", false, now)));
        assert!(breakers.answered("a", false, now), "the last one opens it");
        assert_eq!(breakers.admit("a", now), Err(OPEN));
        assert_eq!(breakers.admit("b", now), Ok(()));
        assert_eq!(breakers.admit("a", now + OPEN), Ok(()));
        assert_eq!((breakers.count(BreakerState::HalfOpen), breakers.half_open(now + 2 * OPEN)), (1, OPEN));
        assert!(breakers.answered("a", false, now + OPEN), "one more wrong one opens it again");
        assert_eq!(breakers.admit("a", now + 2 * OPEN), Ok(()));
        assert!(!breakers.answered("a", true, now + 2 * OPEN));
        assert_eq!(breakers.count(BreakerState::Closed) + breakers.count(BreakerState::HalfOpen), 0);
    }

    #[test]
    fn there_are_never_too_many_and_quiet_ones_are_forgotten() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        for agent in 0..MOST + 100 {
            for _ in 0..WRONG {
                breakers.answered(&agent.to_string(), false, now + Duration::from_millis(agent as u64));
            }
        }
        assert_eq!(breakers.count(BreakerState::Open), MOST);
        assert_eq!(breakers.admit("0", now), Ok(()), "the quietest made room");
        assert!(breakers.admit(&MOST.to_string(), now + OPEN / 2).is_err());
        breakers.forget(now + KEPT + Duration::from_mins(1));
        assert_eq!(breakers.count(BreakerState::Open), 0);
    }

    #[test]
    fn a_right_answer_between_begins_anew() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        for _ in 0..10 {
            assert!((1..WRONG).all(|_| !breakers.answered("a", false, now)));
            breakers.answered("a", true, now);
        }
    }
}
