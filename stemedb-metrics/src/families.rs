//! Metrics as the `prometheus` crate has them, made from the rows of the catalogue and registered.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::bounds;
use crate::catalog::{Id, Kind, metric};

/// What went wrong when metrics were made or registered: a namespace that is no name, a collector that is there already.
#[derive(Debug)]
pub struct Error(prometheus::Error);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot make the metrics: {}", self.0)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<prometheus::Error> for Error {
    fn from(error: prometheus::Error) -> Self {
        Self(error)
    }
}

/// See [`Families::gauge`].
#[derive(Clone, Debug)]
pub(crate) struct OneGauge(GaugeVec);

impl OneGauge {
    pub(crate) fn set(&self, value: f64) {
        self.0.with_label_values::<&str>(&[]).set(value);
    }
}

/// Makes families and registers them.
#[derive(Clone, Debug)]
pub(crate) struct Families {
    pub(crate) registry: Registry,
    namespace: String,
}

impl Families {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { registry: Registry::new(), namespace: namespace.to_owned() }
    }

    /// Name, help and namespace of a metric.
    pub(crate) fn opts(&self, id: Id) -> Opts {
        let row = metric(id);
        Opts::new(row.name, row.help).namespace(self.namespace.clone())
    }

    pub(crate) fn registered<C: Collector + Clone + 'static>(&self, family: C) -> Result<C, Error> {
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(crate) fn counter(&self, id: Id) -> Result<IntCounter, Error> {
        self.registered(IntCounter::with_opts(self.opts(id))?)
    }

    pub(crate) fn counters(&self, id: Id) -> Result<IntCounterVec, Error> {
        self.registered(IntCounterVec::new(self.opts(id), metric(id).labels)?)
    }

    /// One without labels that is not there before it is set: a zero that nobody has said would be a lie.
    pub(crate) fn gauge(&self, id: Id) -> Result<OneGauge, Error> {
        Ok(OneGauge(self.gauges(id)?))
    }

    pub(crate) fn gauges(&self, id: Id) -> Result<GaugeVec, Error> {
        self.registered(GaugeVec::new(self.opts(id), metric(id).labels)?)
    }

    /// One that is kept by its owner from the start, at zero.
    pub(crate) fn level(&self, id: Id) -> Result<IntGauge, Error> {
        self.registered(IntGauge::with_opts(self.opts(id))?)
    }

    pub(crate) fn histogram(&self, id: Id) -> Result<Histogram, Error> {
        self.registered(Histogram::with_opts(self.histogram_opts(id))?)
    }

    pub(crate) fn histograms(&self, id: Id) -> Result<HistogramVec, Error> {
        self.registered(HistogramVec::new(self.histogram_opts(id), metric(id).labels)?)
    }

    fn histogram_opts(&self, id: Id) -> HistogramOpts {
        let buckets = if metric(id).kind == Kind::Latency { bounds::latency() } else { bounds::size() };
        HistogramOpts { common_opts: self.opts(id), buckets }
    }
}
