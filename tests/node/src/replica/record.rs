//! A change with its stamp: what the log has, and what nodes send each other.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stemedb_metrics::Label as _;

use super::Stamp;
use crate::model::Invalid;
use crate::storage::Table;

/// Characters of a key.
const MAX_KEY: usize = 256;

/// Which thing of which table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The table.
    #[serde(serialize_with = "name_of", deserialize_with = "table_of")]
    pub table: Table,
    /// The key in it.
    pub key: String,
}

/// A key as it is at one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Of what.
    #[serde(flatten)]
    pub key: Key,
    /// When it was last changed.
    pub stamp: Stamp,
}

/// A change of one key, made at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What, and when.
    #[serde(flatten)]
    pub version: Version,
    /// What it has from then on; without a value the key is removed.
    pub value: Option<String>,
}

impl Record {
    /// Whether it may come from another node.
    pub fn check(&self) -> Result<(), Invalid> {
        self.version.key.check()?;
        if self.version.stamp.is_of_the_future() {
            return Err(Invalid::new("stamp", "is of a clock that is far ahead of this node's"));
        }
        Ok(())
    }
}

impl Key {
    /// Whether nodes may tell each other of it.
    pub fn check(&self) -> Result<(), Invalid> {
        if !self.table.is_shared() {
            return Err(Invalid::new("table", format!("{} is each node's own", self.table.as_str())));
        }
        if self.key.is_empty() || self.key.len() > MAX_KEY {
            return Err(Invalid::new("key", format!("must be 1 to {MAX_KEY} bytes")));
        }
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn name_of<S: Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(table.as_str())
}

fn table_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Table, D::Error> {
    let name = String::deserialize(deserializer)?;
    let found = Table::ALL.iter().find(|table| table.as_str() == name);
    found.copied().ok_or_else(|| de::Error::custom(format!("there is no table {name}")))
}

/// The length of a value that is none.
const NONE: u32 = u32::MAX;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whether it is a write of this node, which its peers have to be told of; else they have told it.
    pub is_own: bool,
    /// What it changes.
    pub records: Vec<Record>,
}

/// An entry as the log has it: whose it is, and for each record stamp, table, length and bytes of the key, and the same of the value, whose length is [`NONE`]
/// where there is none.
#[must_use]
pub fn encode(is_own: bool, records: &[Record]) -> Vec<u8> {
    let mut out = vec![u8::from(is_own)];
    let text = |text: Option<&String>, out: &mut Vec<u8>| {
        let length = text.map_or(NONE, |text| u32::try_from(text.len()).unwrap_or(NONE));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.map(String::as_bytes).unwrap_or_default());
    };
    for Record { version: Version { key, stamp }, value } in records {
        out.extend_from_slice(&stamp.to_bytes());
        out.push(key.table.number());
        text(Some(&key.key), &mut out);
        text(value.as_ref(), &mut out);
    }
    out
}

/// A key or a value in an entry.
enum Text {
    Some(String),
    None,
}

/// An entry from these bytes; nothing where it is none.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Entry> {
    fn record(rest: &mut &[u8]) -> Option<Record> {
        let (stamp, after) = rest.split_at_checked(Stamp::SIZE)?;
        let (table, after) = after.split_first()?;
        *rest = after;
        let (stamp, table) = (Stamp::from_bytes(stamp)?, Table::numbered(*table)?);
        let Text::Some(key) = text(rest)? else { return None };
        let value = match text(rest)? {
            Text::Some(value) => Some(value),
            Text::None => None,
        };
        Some(Record { version: Version { key: Key { table, key }, stamp }, value })
    }
    fn text(rest: &mut &[u8]) -> Option<Text> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        let length = u32::from_le_bytes(*length);
        if length == NONE {
            return Some(Text::None);
        }
        let (bytes, after) = rest.split_at_checked(length as usize)?;
        *rest = after;
        Some(Text::Some(String::from_utf8(bytes.to_vec()).ok()?))
    }
    let (kind, mut rest) = bytes.split_first()?;
    let is_own = match kind {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(record(&mut rest)?);
    }
    Some(Entry { is_own, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        (any::<prop::sample::Index>(), any::<String>(), any::<Option<String>>(), any::<(u64, u32)>()).prop_map(
            |(table, key, value, (time, node))| {
                let key = Key { table: *table.get(Table::ALL), key };
                Record { version: Version { key, stamp: Stamp { time, node } }, value }
            },
        )
    }

    proptest! {
        #[test]
        fn records_are_what_they_were(is_own: bool, records in prop::collection::vec(any_record(), 0..20)) {
            let entry = Entry { is_own, records: records.clone() };
            prop_assert_eq!(decode(&encode(is_own, &records)).unwrap(), entry);
            let text = serde_json::to_string(&records).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Record>>(&text).unwrap(), records);
        }

        #[test]
        fn anything_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_may_not_come_from_another_node_is_named() {
        let record = |table, key: &str, time| Record {
            version: Version { key: Key { table, key: key.into() }, stamp: Stamp { time, node: 1 } },
            value: None,
        };
        assert_eq!(record(Table::Votes, "a", 1).check(), Ok(()));
        assert_eq!(record(Table::Meta, "applied", 1).check().unwrap_err().field, "table");
        assert_eq!(record(Table::Votes, "", 1).check().unwrap_err().field, "key");
        assert_eq!(record(Table::Votes, "a", u64::MAX).check().unwrap_err().field, "stamp");
    }
}
