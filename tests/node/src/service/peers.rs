//! What other nodes ask of this one, and tell it.

use serde::de::DeserializeOwned;

use super::keys::Stored;
use super::{Done, Error, Service, not_found};
use crate::model::{Agent, Claim, Gold, Invalid, Vote};
use crate::replica::{Key, Path, Record, Version};
use crate::storage::Table;

/// Records of one message.
pub const MAX_RECORDS: usize = 2_000;

impl Service {
    /// Takes changes that were made at another node, all of them durably, before it returns.
    pub async fn take(&self, records: &[Record]) -> Result<usize, Error> {
        check_number(records.len())?;
        for record in records {
            record.check()?;
            check_value(record)?;
        }
        self.journal.take(records).await?;
        Ok(records.len())
    }

    /// Hashes of what is below a path of the Merkle tree, in hexadecimal.
    pub fn hashes(&self, path: &str) -> Result<Vec<String>, Error> {
        // What has failed to store something has not what its tree says.
        self.journal.check()?;
        let hashes = self.journal.replica().hashes(parse(path)?).ok_or_else(|| not_found("tree below", path))?;
        Ok(hashes.iter().map(|hash| format!("{hash:032x}")).collect())
    }

    /// The versions below a leaf.
    pub fn versions(&self, path: &str) -> Result<Vec<Version>, Error> {
        self.journal.check()?;
        let leaf = parse(path)?.leaf().ok_or_else(|| not_found("leaf", path))?;
        Ok(self.journal.replica().versions(leaf)?)
    }

    /// Records as they are here.
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.journal.check()?;
        check_number(keys.len())?;
        for key in keys {
            key.check()?;
        }
        Ok(self.journal.replica().records(keys)?)
    }
}

/// Whether a value can be read again: one that cannot would be in the way of everybody who lists its table.
fn check_value(record: &Record) -> Result<(), Invalid> {
    fn is<T: DeserializeOwned>(value: &str) -> Result<(), Invalid> {
        serde_json::from_str::<T>(value).map(drop).map_err(|error| Invalid::new("value", error.to_string()))
    }
    let Some(value) = &record.value else { return Ok(()) };
    match record.version.key.table {
        Table::Votes | Table::Quarantine => is::<Vote>(value),
        Table::VotesByAgent | Table::VotesByClaim if value.is_empty() => Ok(()),
        Table::VotesByAgent | Table::VotesByClaim => Err(Invalid::new("value", "must be empty in an index")),
        Table::Claims => is::<Claim>(value),
        Table::Agents => is::<Agent>(value),
        Table::Gold => is::<Gold>(value),
        Table::Keys => is::<Stored>(value),
        Table::Chores => is::<Done>(value),
        // These are not shared, and have been refused.
        Table::Meta | Table::LogVersions | Table::TreeVersions | Table::Outbox => Ok(()),
    }
}

fn parse(path: &str) -> Result<Path, Error> {
    let why = || Invalid::new("path", "must be root, or up to three hexadecimal digits");
    Ok(Path::parse(path).ok_or_else(why)?)
}

fn check_number(number: usize) -> Result<(), Error> {
    if (1..=MAX_RECORDS).contains(&number) {
        return Ok(());
    }
    Err(Invalid::new("records", format!("must be 1 to {MAX_RECORDS}")).into())
}
