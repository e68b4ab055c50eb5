//! redb behind [`Backend`].

use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition, TableError};
use stemedb_metrics::{Cache, Compaction, Label as _};

use super::{Backend, Change, Engine, Error, Options, Pair, Table};

/// A page of redb, of which its cache's entries are.
const PAGE: u64 = 4096;

/// A database of redb.
pub(super) struct Tree {
    database: Database,
    path: PathBuf,
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.as_str())
}

impl Tree {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let make = Error::of(Engine::BTree, path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| make(error.to_string()))?;
        }
        let database = Database::builder().set_cache_size(options.cache_bytes).create(path);
        Ok(Self { database: database.map_err(|error| make(error.to_string()))?, path: path.to_owned() })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(definition(table)) {
            // One that nothing was written to yet.
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn try_scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(definition(table)) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let begin = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let mut pairs = Vec::new();
        for pair in table.range::<&[u8]>((begin, Bound::Unbounded))?.take(limit) {
            let (key, value) = pair?;
            if !key.value().starts_with(prefix) {
                break;
            }
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    fn try_count(&self, table: Table) -> Result<u64, redb::Error> {
        match self.database.begin_read()?.open_table(definition(table)) {
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            table => Ok(table?.len()?),
        }
    }

    fn try_apply(&self, changes: &[&Change], durability: Durability) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        for change in changes {
            let mut table = transaction.open_table(definition(change.table))?;
            match &change.value {
                Some(value) => drop(table.insert(change.key.as_slice(), value.as_slice())?),
                None => drop(table.remove(change.key.as_slice())?),
            }
        }
        Ok(transaction.commit()?)
    }

    fn failed(&self) -> impl Fn(redb::Error) -> Error {
        let make = Error::of(Engine::BTree, &self.path);
        move |error| make(error.to_string())
    }
}

impl Backend for Tree {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.try_get(table, key).map_err(self.failed())
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Error> {
        self.try_scan(table, prefix, after, limit).map_err(self.failed())
    }

    fn count(&self, table: Table) -> Result<u64, Error> {
        self.try_count(table).map_err(self.failed())
    }

    fn apply(&self, changes: &[&Change]) -> Result<(), Error> {
        self.try_apply(changes, Durability::None).map_err(self.failed())
    }

    fn flush(&self) -> Result<(), Error> {
        // A durable transaction makes all before it durable.
        self.try_apply(&[], Durability::Immediate).map_err(self.failed())
    }

    fn cache(&self) -> Cache {
        let stats = self.database.cache_stats();
        let bytes = stats.used_bytes() as u64;
        Cache {
            hits: stats.read_hits() + stats.write_hits(),
            misses: stats.read_misses() + stats.write_misses(),
            entries: Some(bytes / PAGE),
            bytes,
        }
    }

    fn compaction(&self) -> Option<Compaction> {
        // redb compacts when it is told to, and it is not.
        None
    }
}
