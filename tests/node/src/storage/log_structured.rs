//! fjall behind [`Backend`].

use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use stemedb_metrics::{Cache, Compaction, Label as _};

use super::{Backend, Change, Engine, Error, Options, Pair, Table};

/// A database of fjall, with a keyspace for each of its tables.
pub(super) struct Log {
    database: Database,
    tables: Vec<(Table, Keyspace)>,
    path: PathBuf,
}

impl Log {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let failed = |error: fjall::Error| Error::of(Engine::LogStructured, path)(error.to_string());
        let database = Database::builder(path).cache_size(options.cache_bytes as u64).open().map_err(failed)?;
        let ours = Table::ALL.iter().filter(|table| table.engine() == Engine::LogStructured);
        let create = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
        let open = |table: &Table| Ok((*table, database.keyspace(table.as_str(), create)?));
        let tables = ours.map(open).collect::<Result<_, fjall::Error>>().map_err(failed)?;
        Ok(Self { database, tables, path: path.to_owned() })
    }

    fn failed(&self) -> impl Fn(fjall::Error) -> Error {
        let make = Error::of(Engine::LogStructured, &self.path);
        move |error| make(error.to_string())
    }

    fn table(&self, table: Table) -> Result<&Keyspace, Error> {
        let found = self.tables.iter().find(|(one, _)| *one == table);
        let missing = || Error::of(Engine::LogStructured, &self.path)(format!("no table {}", table.as_str()));
        found.map(|(_, keyspace)| keyspace).ok_or_else(missing)
    }
}

impl Backend for Log {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.table(table)?.get(key).map_err(self.failed())?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Error> {
        // Not `prefix`: a page far behind must not read all before it.
        let begin = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let pairs = self.table(table)?.range::<&[u8], _>((begin, Bound::Unbounded)).map(fjall::Guard::into_inner);
        let pairs = pairs.take_while(|pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))).take(limit);
        let pairs = pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())));
        pairs.collect::<Result<_, _>>().map_err(self.failed())
    }

    fn count(&self, table: Table) -> Result<u64, Error> {
        Ok(self.table(table)?.len().map_err(self.failed())? as u64)
    }

    fn apply(&self, changes: &[&Change]) -> Result<(), Error> {
        let mut batch = self.database.batch();
        for change in changes {
            let table = self.table(change.table)?;
            match &change.value {
                Some(value) => batch.insert(table, change.key.as_slice(), value.as_slice()),
                None => batch.remove(table, change.key.as_slice()),
            }
        }
        batch.commit().map_err(self.failed())
    }

    fn flush(&self) -> Result<(), Error> {
        self.database.persist(PersistMode::SyncAll).map_err(self.failed())
    }

    fn cache(&self) -> Cache {
        let blocks = |figure: fn(&Keyspace) -> usize| {
            self.tables.iter().map(|(_, keyspace)| figure(keyspace) as u64).sum::<u64>()
        };
        Cache {
            hits: blocks(|keyspace| keyspace.metrics().block_load_cached_count()),
            misses: blocks(|keyspace| keyspace.metrics().block_load_io_count()),
            // fjall counts bytes only.
            entries: None,
            bytes: self.database.cache_size(),
        }
    }

    fn compaction(&self) -> Option<Compaction> {
        Some(Compaction {
            // What is in memory is to be written out, as tables of the first level; they are to be merged into the next.
            pending_bytes: self.database.write_buffer_size()
                + self.tables.iter().map(|(_, table)| first_level(table)).sum::<u64>(),
            runs: self.database.compactions_completed() as u64,
            seconds: self.database.time_compacting().as_secs_f64(),
            running: self.database.active_compactions() as u64,
        })
    }
}

/// Bytes of the tables that have been written out, and not been merged yet. (fjall itself tells their number only.)
fn first_level(keyspace: &Keyspace) -> u64 {
    let version = keyspace.tree.current_version();
    let Some(first) = version.iter_levels().next() else { return 0 };
    first.size()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use super::*;

    #[test]
    fn what_has_been_written_out_still_waits_to_be_merged() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), &Options::new(folder.path())).unwrap();
        let (_, keyspace) = &log.tables[0];
        // The first table has nothing to be merged with; the second has keys of the first.
        for round in 1..=2_u8 {
            keyspace.insert("key", [round; 10_000]).unwrap();
            assert!(log.compaction().unwrap().pending_bytes >= 10_000, "in memory");
            keyspace.rotate_memtable_and_wait().unwrap();
        }
        let on_disk = first_level(keyspace);
        assert!(on_disk > 10_000, "{on_disk} bytes on the disk");
        assert!(log.compaction().unwrap().pending_bytes >= on_disk);
    }
}
