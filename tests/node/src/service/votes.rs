//! Votes: taken, held back, counted.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Instant;

use serde::Serialize;

use super::journal::Edit;
use super::{Error, Service, edit, not_found, removal, text, within};
use crate::model::{Agent, Gold, Invalid, MAX_BATCH, MAX_PAGE, NewVote, Vote};
use crate::replica::Key;
use crate::storage::Table;

/// Votes of agents with less trust are held back.
const TRUSTED: f64 = 0.3;
/// What a right answer gives to an agent's trust, and a wrong one takes.
const STEP: f64 = 0.1;
/// Between the two ids of a key of an index; no id has it.
const SEPARATOR: char = '/';

/// What became of a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cast {
    /// The vote as it is stored.
    #[serde(flatten)]
    pub vote: Vote,
    /// Whether it is in quarantine, and counts for nothing until it is released.
    pub held: bool,
}

/// The votes on a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tally {
    /// How many votes there are.
    pub votes: usize,
    /// The sum of the trust in those who voted, for each choice.
    pub weights: Vec<f64>,
}

impl Service {
    /// Takes a vote.
    pub async fn vote(&self, new: NewVote) -> Result<Cast, Error> {
        let mut all = self.votes(vec![new]).await?;
        all.pop().ok_or_else(|| Invalid::new("votes", "must not be empty").into())
    }

    /// Takes votes, all or none.
    pub async fn votes(&self, new: Vec<NewVote>) -> Result<Vec<Cast>, Error> {
        if new.is_empty() || new.len() > MAX_BATCH {
            return Err(Invalid::new("votes", format!("must be 1 to {MAX_BATCH}")).into());
        }
        for vote in &new {
            vote.check()?;
            self.check_choice(&vote.claim, vote.choice)?;
            self.admit(&vote.agent)?;
        }
        let gold: Vec<Option<Gold>> =
            new.iter().map(|vote| self.get(Table::Gold, &vote.claim)).collect::<Result<_, _>>()?;
        // Trust is read and written, so one after the other; all other votes come together.
        let _change = if gold.iter().any(Option::is_some) { Some(self.change.lock().await) } else { None };
        let (mut edits, mut cast, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        // As the votes before in the same request have left them.
        let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
        for (new, gold) in new.into_iter().zip(gold) {
            let agent = agents.get(&new.agent).map_or_else(|| self.agent(&new.agent), |agent| Ok(agent.clone()))?;
            let held = agent.trust < TRUSTED;
            if let Some(gold) = gold {
                let is_right = gold.choice == new.choice;
                let trust = (agent.trust + if is_right { STEP } else { -STEP }).clamp(0.0, 1.0);
                agents.insert(new.agent.clone(), Agent { trust });
                answers.push((new.agent.clone(), is_right));
            }
            let vote = Vote { id: self.new_id(), vote: new };
            edits.extend(if held { vec![edit(Table::Quarantine, &vote.id, &vote)?] } else { counted(&vote)? });
            cast.push(Cast { vote, held });
        }
        for (id, agent) in &agents {
            edits.push(edit(Table::Agents, id, agent)?);
        }
        self.journal.write(edits).await?;
        self.answered(&answers);
        let held = cast.iter().filter(|cast| cast.held).count();
        if held > 0 {
            self.metrics.domain.quarantine_added(held);
            self.measure()?;
        }
        Ok(cast)
    }

    /// A vote that counts.
    pub fn get_vote(&self, id: &str) -> Result<Vote, Error> {
        self.get(Table::Votes, id)?.ok_or_else(|| not_found("vote", id))
    }

    /// Takes a vote back.
    pub async fn remove_vote(&self, id: &str) -> Result<Vote, Error> {
        let _change = self.change.lock().await;
        let vote = self.get_vote(id)?;
        let keys = counted(&vote)?;
        self.journal.write(keys.into_iter().map(|edit| Edit { value: None, ..edit }).collect()).await?;
        Ok(vote)
    }

    /// Votes of an agent, in the order of time.
    pub fn votes_of(&self, agent: &str, after: Option<&str>, limit: usize) -> Result<Vec<Vote>, Error> {
        let _timer = self.by_agent.start();
        self.look_up(Table::VotesByAgent, agent, after, limit)
    }

    /// Votes on a claim, in the order of time.
    pub fn votes_on(&self, claim: &str, after: Option<&str>, limit: usize) -> Result<Vec<Vote>, Error> {
        let _timer = self.by_claim.start();
        self.look_up(Table::VotesByClaim, claim, after, limit)
    }

    /// Counts the votes on a claim.
    pub fn tally(&self, claim: &str) -> Result<Tally, Error> {
        let choices = self.claim(claim)?.choices;
        let mut tally = Tally { votes: 0, weights: vec![0.0; usize::from(choices)] };
        let mut after: Option<String> = None;
        // Page by page: a claim may have more votes than there is memory.
        loop {
            let votes = self.votes_on(claim, after.as_deref(), MAX_PAGE)?;
            for vote in &votes {
                if let Some(weight) = tally.weights.get_mut(usize::from(vote.vote.choice)) {
                    *weight += self.agent(&vote.vote.agent)?.trust;
                }
            }
            tally.votes += votes.len();
            let Some(last) = votes.into_iter().next_back() else { return Ok(tally) };
            after = Some(last.id);
        }
    }

    /// Lets a vote count that was held back.
    pub async fn release(&self, id: &str) -> Result<Vote, Error> {
        let _change = self.change.lock().await;
        let vote: Vote = self.get(Table::Quarantine, id)?.ok_or_else(|| not_found("vote in quarantine", id))?;
        let mut edits = counted(&vote)?;
        edits.push(removal(Table::Quarantine, id));
        self.journal.write(edits).await?;
        self.measure()?;
        Ok(vote)
    }

    /// Throws a vote away that was held back.
    pub async fn discard(&self, id: &str) -> Result<Vote, Error> {
        let vote = self.remove(Table::Quarantine, "vote in quarantine", id).await?;
        self.measure()?;
        Ok(vote)
    }

    fn look_up(&self, index: Table, id: &str, after: Option<&str>, limit: usize) -> Result<Vec<Vote>, Error> {
        let prefix = format!("{id}{SEPARATOR}");
        let after = after.map(|after| format!("{prefix}{after}"));
        let keys = self.journal.store().of(index).scan(
            index,
            prefix.as_bytes(),
            after.as_deref().map(str::as_bytes),
            limit,
        )?;
        let ids = keys.iter().map(|(key, _)| text(&key[prefix.len()..]));
        // One that is taken back between the two look-ups is left out.
        let votes = ids.filter_map(|id| self.get::<Vote>(Table::Votes, &id).transpose());
        within(votes, |vote| vote.as_ref().map_or(0, |vote| vote.vote.note.len() + vote.id.len())).collect()
    }

    fn admit(&self, agent: &str) -> Result<(), Error> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = breakers.admit(agent, Instant::now());
        admitted.map_err(|left| Error::Tripped { agent: agent.to_owned(), seconds: left.as_secs() + 1 })
    }

    fn answered(&self, answers: &[(String, bool)]) {
        if answers.is_empty() {
            return;
        }
        {
            let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
            for (agent, is_right) in answers {
                if breakers.answered(agent, *is_right, Instant::now()) {
                    self.metrics.domain.tripped();
                }
            }
        }
        self.measure_breakers();
    }

    /// A time and this node's number, so that ids are in the order in which they were made, and no two are the same.
    fn new_id(&self) -> String {
        let stamp = self.journal.replica().stamp();
        format!("{:016x}-{:08x}", stamp.time, stamp.node)
    }
}

/// What is stored of a vote that counts.
fn counted(vote: &Vote) -> Result<Vec<Edit>, Error> {
    let index = |table, id: &str| Edit {
        key: Key { table, key: format!("{id}{SEPARATOR}{}", vote.id) },
        value: Some(String::new()),
    };
    Ok(vec![
        edit(Table::Votes, &vote.id, vote)?,
        index(Table::VotesByAgent, &vote.vote.agent),
        index(Table::VotesByClaim, &vote.vote.claim),
    ])
}
