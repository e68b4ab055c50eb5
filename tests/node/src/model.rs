//! What is stored and what clients send, and which of that is valid.

use serde::{Deserialize, Serialize};

/// Characters of an id.
const MAX_ID: usize = 64;
/// Characters of a text.
const MAX_TEXT: usize = 2_000;
/// Choices of a claim.
const CHOICES: std::ops::RangeInclusive<u8> = 2..=16;
/// Votes of one request.
pub const MAX_BATCH: usize = 500;
/// Items of one answer.
pub const MAX_PAGE: usize = 1_000;

/// What is wrong with something that a client has sent: the field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// Which one.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Invalid {
    /// A field, and why.
    pub fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
}

/// Whether a text may be an id.
pub fn check_id(field: &'static str, id: &str) -> Result<(), Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(allowed) {
        return Err(Invalid::new(
            field,
            format!("must be 1 to {MAX_ID} letters, digits, dots, underscores or hyphens"),
        ));
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.chars().count() > MAX_TEXT {
        return Err(Invalid::new(field, format!("must be at most {MAX_TEXT} characters")));
    }
    Ok(())
}

/// A vote as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVote {
    /// Who votes.
    pub agent: String,
    /// On what.
    pub claim: String,
    /// For which of the claim's choices, from 0.
    pub choice: u8,
    /// Why.
    #[serde(default)]
    pub note: String,
}

impl NewVote {
    /// Whether it may be taken, whatever else there is.
    pub fn check(&self) -> Result<(), Invalid> {
        check_id("agent", &self.agent)?;
        check_id("claim", &self.claim)?;
        check_text("note", &self.note)?;
        if self.choice >= *CHOICES.end() {
            return Err(Invalid::new("choice", format!("must be less than {}", CHOICES.end())));
        }
        Ok(())
    }
}

/// A vote that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Its id: when it was taken and by which node, so that ids are in the order of time.
    pub id: String,
    /// What was sent.
    #[serde(flatten)]
    pub vote: NewVote,
}

/// What is voted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What it says.
    pub text: String,
    /// How many choices there are.
    pub choices: u8,
}

impl Claim {
    /// Whether it may be stored.
    pub fn check(&self) -> Result<(), Invalid> {
        check_text("text", &self.text)?;
        if !CHOICES.contains(&self.choices) {
            return Err(Invalid::new("choices", format!("must be {} to {}", CHOICES.start(), CHOICES.end())));
        }
        Ok(())
    }
}

/// Who votes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// How much its votes weigh, from 0 to 1.
    pub trust: f64,
}

impl Agent {
    /// What an agent has of which nothing is known, and what trust decays to.
    pub const NEUTRAL: f64 = 0.5;

    /// Whether it may be stored.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(0.0..=1.0).contains(&self.trust) {
            return Err(Invalid::new("trust", "must be 0 to 1"));
        }
        Ok(())
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self { trust: Self::NEUTRAL }
    }
}

/// A claim of which the right choice is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gold {
    /// The right one.
    pub choice: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_words() {
        assert!(check_id("agent", "a-B_c.9").is_ok());
        for id in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            let error = check_id("agent", id).unwrap_err().to_string();
            assert!(error.starts_with("agent: must be 1 to 64"), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let vote = NewVote { agent: "a".into(), claim: "c".into(), choice: 16, note: String::new() };
        assert_eq!(vote.check().unwrap_err().field, "choice");
        assert_eq!(NewVote { choice: 1, note: "x".repeat(2_001), ..vote }.check().unwrap_err().field, "note");
        assert_eq!(Claim { text: String::new(), choices: 1 }.check().unwrap_err().field, "choices");
        assert_eq!(Agent { trust: f64::NAN }.check().unwrap_err().field, "trust");
    }
}
