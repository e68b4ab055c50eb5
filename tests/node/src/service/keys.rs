//! API keys: whoever has one may do the operator's work. Without any, everybody may.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, UNIX_EPOCH};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Error, Service, edit};
use crate::model::check_id;
use crate::replica::milliseconds;
use crate::storage::Table;

/// A key as it is stored: its secret is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// SHA-256 of the secret, in hexadecimal. The secret is random, so that there is nothing to guess.
    hash: String,
    /// Milliseconds since 1970.
    created: u64,
}

/// A key that was just made. Nobody is told its secret a second time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// Its name.
    pub id: String,
    /// What to send as `authorization: Bearer SECRET`.
    pub secret: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

/// A key, without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its name.
    pub id: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

impl Service {
    /// Makes a key; one of this name is no more.
    pub async fn make_key(&self, id: &str) -> Result<NewKey, Error> {
        check_id("id", id)?;
        let secret = format!("{:032x}", rand::rng().random::<u128>());
        let stored = Stored { hash: hash(&secret), created: milliseconds() };
        self.journal.write(vec![edit(Table::Keys, id, &stored)?]).await?;
        self.measure_keys()?;
        Ok(NewKey { id: id.to_owned(), secret, created: stored.created })
    }

    /// Removes a key.
    pub async fn remove_key(&self, id: &str) -> Result<ApiKey, Error> {
        let stored: Stored = self.remove(Table::Keys, "API key", id).await?;
        self.measure_keys()?;
        Ok(ApiKey { id: id.to_owned(), created: stored.created })
    }

    /// All keys.
    pub fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        let all: Vec<(String, Stored)> = self.all(Table::Keys)?;
        Ok(all.into_iter().map(|(id, stored)| ApiKey { id, created: stored.created }).collect())
    }

    /// Whether whoever sends this secret, or none, may do the operator's work.
    pub fn authorize(&self, secret: Option<&str>) -> Result<(), Error> {
        let all: Vec<(String, Stored)> = self.all(Table::Keys)?;
        let sent = secret.map(hash);
        if all.is_empty() || sent.is_some_and(|sent| all.iter().any(|(_, key)| key.hash == sent)) {
            return Ok(());
        }
        Err(Error::Unauthorized)
    }

    /// Tells how old each key is, those of other nodes too.
    pub(super) fn measure_keys(&self) -> Result<(), Error> {
        let keys = self.keys()?;
        for key in &keys {
            self.metrics.domain.api_key(&key.id, UNIX_EPOCH + Duration::from_millis(key.created));
        }
        let now: BTreeSet<String> = keys.into_iter().map(|key| key.id).collect();
        let mut known = self.known_keys.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&now) {
            self.metrics.domain.api_key_removed(gone);
        }
        *known = now;
        Ok(())
    }
}

fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
