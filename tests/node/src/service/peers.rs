//! What other nodes ask of this one, and tell it.

use super::{Error, Service, not_found};
use crate::model::Invalid;
use crate::replica::{Key, Path, Record, Version};

/// Records of one message.
pub const MAX_RECORDS: usize = 2_000;

impl Service {
    /// Takes changes that were made at another node, all of them durably, before it returns.
    pub async fn take(&self, records: &[Record]) -> Result<usize, Error> {
        check_number(records.len())?;
        for record in records {
            record.check()?;
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
        let leaf = parse(path)?.leaf().ok_or_else(|| not_found("leaf", path))?;
        Ok(self.journal.replica().versions(leaf)?)
    }

    /// Records as they are here.
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        check_number(keys.len())?;
        for key in keys {
            key.check()?;
        }
        Ok(self.journal.replica().records(keys)?)
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
