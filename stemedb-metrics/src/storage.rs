//! Storage backends, their caches and compactions, and secondary indexes.

use prometheus::core::{Desc, Describer as _};
use prometheus::proto::{self, MetricFamily};
use prometheus::{Histogram, HistogramVec, IntCounterVec, Registry};

use crate::catalog::{Id, Kind, metric};
use crate::families::{Error, Families};
use crate::labels::{Label, Operation};
use crate::timer::{Timed, Timer};

/// What a storage engine says of its cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cache {
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that it could not answer.
    pub misses: u64,
    /// Entries in it, where the engine tells.
    pub entries: Option<u64>,
    /// Bytes in it.
    pub bytes: u64,
}

/// What a storage engine says of its compactions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Compaction {
    /// Bytes that wait for one.
    pub pending_bytes: u64,
    /// Those that have ended.
    pub runs: u64,
    /// Time in them.
    pub seconds: f64,
    /// Those that run now.
    pub running: u64,
}

/// Storage metrics.
#[derive(Clone, Debug)]
pub struct Storage {
    durations: HistogramVec,
    operations: IntCounterVec,
    lookups: HistogramVec,
    families: Families,
}

impl Storage {
    pub(crate) fn new(families: &Families) -> Result<Self, Error> {
        Ok(Self {
            durations: families.histograms(Id::StorageDuration)?,
            operations: families.counters(Id::StorageOperations)?,
            lookups: families.histograms(Id::IndexLookup)?,
            families: families.clone(),
        })
    }

    /// The handle for an operation on a backend. Made once, and kept where the operation is.
    pub fn operation(&self, operation: Operation, backend: impl Label) -> Timed {
        let labels = [operation.as_str(), backend.as_str()];
        Timed { count: self.operations.with_label_values(&labels), duration: self.durations.with_label_values(&labels) }
    }

    /// The handle for look-ups in an index.
    pub fn index(&self, index: impl Label) -> Lookups {
        Lookups(self.lookups.with_label_values(&[index.as_str()]))
    }

    /// What an engine counts of its cache, asked at each scrape.
    pub fn cache(&self, backend: impl Label, read: impl Fn() -> Cache + Send + Sync + 'static) -> Result<(), Error> {
        let ids = [Id::CacheHits, Id::CacheMisses, Id::CacheEntries, Id::CacheBytes];
        self.engine(ids, backend, move || {
            let Cache { hits, misses, entries, bytes } = read();
            [Some(hits), Some(misses), entries, Some(bytes)].map(|figure| figure.map(|figure| figure as f64))
        })
    }

    /// What an engine says of its compactions, asked at each scrape.
    pub fn compaction(
        &self,
        backend: impl Label,
        read: impl Fn() -> Compaction + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let ids = [Id::CompactionPending, Id::CompactionRuns, Id::CompactionSeconds, Id::CompactionRunning];
        self.engine(ids, backend, move || {
            let Compaction { pending_bytes, runs, seconds, running } = read();
            [pending_bytes as f64, runs as f64, seconds, running as f64].map(Some)
        })
    }

    fn engine<const N: usize>(
        &self,
        ids: [Id; N],
        backend: impl Label,
        read: impl Fn() -> [Option<f64>; N] + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let registry: &Registry = &self.families.registry;
        // The label is a constant one, so that engines register one after the other.
        let opts = |id: Id| self.families.opts(id).const_label(metric(id).labels[0], backend.as_str());
        let descs = ids.map(|id| opts(id).describe());
        let descs = descs.into_iter().collect::<Result<Vec<Desc>, _>>()?;
        let kinds = ids.map(|id| metric(id).kind);
        registry.register(Box::new(Engine { descs, kinds, read }))?;
        Ok(())
    }
}

/// Figures that are an engine's own.
struct Engine<const N: usize, F> {
    descs: Vec<Desc>,
    kinds: [Kind; N],
    read: F,
}

impl<const N: usize, F: Fn() -> [Option<f64>; N] + Send + Sync> prometheus::core::Collector for Engine<N, F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let figures = (self.read)();
        let rows = self.descs.iter().zip(self.kinds).zip(figures);
        rows.filter_map(|((desc, kind), figure)| Some(family(desc, kind, figure?))).collect()
    }
}

fn family(desc: &Desc, kind: Kind, figure: f64) -> MetricFamily {
    let mut sample = proto::Metric::default();
    sample.set_label(desc.const_label_pairs.clone());
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    if kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(figure);
        sample.set_counter(counter);
        family.set_field_type(proto::MetricType::COUNTER);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(figure);
        sample.set_gauge(gauge);
        family.set_field_type(proto::MetricType::GAUGE);
    }
    family.set_metric(vec![sample]);
    family
}

/// Look-ups in one index.
#[derive(Clone, Debug)]
pub struct Lookups(Histogram);

impl Lookups {
    /// Measures one until what is returned is dropped.
    pub fn start(&self) -> Timer<'_> {
        Timer::new(&self.0)
    }
}
