//! The health of the service's own matters: breakers, quarantine, trust, keys, certificates, memory.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounter};

use crate::catalog::Id;
use crate::families::{Error, Families, OneGauge};
use crate::labels::{BreakerState, Label};

/// Metrics of the domain.
#[derive(Clone, Debug)]
pub struct Domain {
    breakers: GaugeVec,
    trips: IntCounter,
    half_open: OneGauge,
    quarantined: OneGauge,
    quarantine_added: IntCounter,
    decay: OneGauge,
    gold: OneGauge,
    keys: GaugeVec,
    certificates: GaugeVec,
    memory: OneGauge,
}

impl Domain {
    pub(crate) fn new(families: &Families) -> Result<Self, Error> {
        Ok(Self {
            breakers: families.gauges(Id::Breakers)?,
            trips: families.counter(Id::BreakerTrips)?,
            half_open: families.gauge(Id::BreakerHalfOpen)?,
            quarantined: families.gauge(Id::Quarantined)?,
            quarantine_added: families.counter(Id::QuarantineAdded)?,
            decay: families.gauge(Id::TrustDecay)?,
            gold: families.gauge(Id::GoldStandards)?,
            keys: families.gauges(Id::ApiKeyCreated)?,
            certificates: families.gauges(Id::CertificateExpiry)?,
            memory: families.gauge(Id::MemoryLimit)?,
        })
    }

    /// How many breakers are in each state, and for how many seconds the one that has been half open for longest has been so.
    pub fn breakers(&self, count: impl Fn(BreakerState) -> usize, half_open_seconds: f64) {
        for state in BreakerState::ALL {
            self.breakers.with_label_values(&[state.as_str()]).set(count(*state) as f64);
        }
        self.half_open.set(half_open_seconds);
    }

    /// A breaker has opened.
    pub fn tripped(&self) {
        self.trips.inc();
    }

    /// So many entries are in quarantine.
    pub fn quarantined(&self, entries: usize) {
        self.quarantined.set(entries as f64);
    }

    /// So many entries were put into quarantine.
    pub fn quarantine_added(&self, entries: usize) {
        self.quarantine_added.inc_by(entries as u64);
    }

    /// The decay of trust ranks has run to its end.
    pub fn trust_decayed(&self, at: SystemTime) {
        self.decay.set(timestamp(at));
    }

    /// There are so many gold standards.
    pub fn gold_standards(&self, number: usize) {
        self.gold.set(number as f64);
    }

    /// There is an API key of that name. A name is the operator's, and no secret.
    pub fn api_key(&self, name: &str, created: SystemTime) {
        self.keys.with_label_values(&[name]).set(timestamp(created));
    }

    /// An API key is no more.
    pub fn api_key_removed(&self, name: &str) {
        // It may never have been there.
        let _ = self.keys.remove_label_values(&[name]);
    }

    /// A certificate expires.
    pub fn certificate(&self, name: &str, expires: SystemTime) {
        self.certificates.with_label_values(&[name]).set(timestamp(expires));
    }

    /// The process may use so much memory.
    pub fn memory_limit(&self, bytes: u64) {
        self.memory.set(bytes as f64);
    }
}

/// Seconds since 1970, as Prometheus has times.
fn timestamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
