//! An engine whose operations are counted and timed, whichever it is.

use std::sync::Arc;

use stemedb_metrics::{Cache, Compaction, Metrics, Operation, Timed};

use super::{Backend, Change, Engine, Error, Pair, Table};

/// An engine and the handles of its metrics.
pub(super) struct Measured<B> {
    inner: Arc<B>,
    get: Timed,
    scan: Timed,
    put: Timed,
    delete: Timed,
    batch: Timed,
    flush: Timed,
}

impl<B: Backend + 'static> Measured<B> {
    pub(super) fn new(inner: B, engine: Engine, metrics: &Metrics) -> Result<Self, stemedb_metrics::Error> {
        let inner = Arc::new(inner);
        let asked = inner.clone();
        metrics.storage.cache(engine, move || asked.cache())?;
        if inner.compaction().is_some() {
            let asked = inner.clone();
            metrics.storage.compaction(engine, move || asked.compaction().unwrap_or_default())?;
        }
        let handle = |operation| metrics.storage.operation(operation, engine);
        Ok(Self {
            get: handle(Operation::Get),
            scan: handle(Operation::Scan),
            put: handle(Operation::Put),
            delete: handle(Operation::Delete),
            batch: handle(Operation::Batch),
            flush: handle(Operation::Flush),
            inner,
        })
    }
}

impl<B: Backend> Backend for Measured<B> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let _timer = self.get.start();
        self.inner.get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Error> {
        let _timer = self.scan.start();
        self.inner.scan(table, prefix, after, limit)
    }

    fn count(&self, table: Table) -> Result<u64, Error> {
        self.inner.count(table)
    }

    fn apply(&self, changes: &[&Change]) -> Result<(), Error> {
        let timed = match changes {
            [Change { value: Some(_), .. }] => &self.put,
            [Change { value: None, .. }] => &self.delete,
            _ => &self.batch,
        };
        let _timer = timed.start();
        self.inner.apply(changes)
    }

    fn flush(&self) -> Result<(), Error> {
        let _timer = self.flush.start();
        self.inner.flush()
    }

    fn cache(&self) -> Cache {
        self.inner.cache()
    }

    fn compaction(&self) -> Option<Compaction> {
        self.inner.compaction()
    }
}
