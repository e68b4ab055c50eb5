//! What a node does for one peer: sends it what is new, and compares from time to time whether both have the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use stemedb_metrics::{Class, Errors, Layer, Peer as Figures, SyncOutcome};
use tokio::runtime::Handle;

use super::View;
use super::client::Client;
use crate::replica::{BATCH_BYTES, Key, Path, Progress, Record, Stamp};
use crate::service::{MAX_RECORDS, Service};

/// Writes that are sent at once.
const ROWS: usize = 500;
/// How long one that does not answer is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// What is younger may be on its way, and is no difference yet.
const YOUNG: Duration = Duration::from_secs(2);
/// How soon one that differed is compared with again.
const AGAIN: Duration = Duration::from_secs(1);

/// All that it takes.
pub(super) struct Peer {
    pub(super) client: Client,
    pub(super) progress: Arc<Progress>,
    pub(super) service: Arc<Service>,
    pub(super) metrics: Figures,
    pub(super) errors: Errors,
    pub(super) view: Arc<View>,
    pub(super) runtime: Handle,
    pub(super) compare_every: Duration,
}

/// Starts its thread, which ends with the process.
pub(super) fn start(peer: Peer) -> anyhow::Result<()> {
    let name = format!("peer-{}", peer.progress.name());
    thread::Builder::new().name(name).spawn(move || peer.run()).context("cannot start a peer's thread").map(drop)
}

impl Peer {
    fn run(&self) {
        let mut compare = Instant::now() + AGAIN;
        loop {
            let sent = match self.replicate() {
                // Nobody was asked.
                Ok(0) => Some(0),
                done => self.note(done),
            };
            if Instant::now() >= compare {
                let differed = self.note(self.compare());
                self.compared(differed);
                compare = Instant::now()
                    + if differed.is_some_and(|differed| differed > 0) { AGAIN } else { self.compare_every };
            }
            match sent {
                None => thread::sleep(PAUSE),
                Some(0) => self.progress.wait(PAUSE.min(compare.saturating_duration_since(Instant::now()))),
                Some(_) => {}
            }
        }
    }

    /// Tells of what went wrong, once until it goes well again.
    fn note(&self, done: anyhow::Result<usize>) -> Option<usize> {
        let (done, error) = match done {
            Ok(done) => (Some(done), None),
            Err(error) => {
                self.errors.count(&Class { kind: "peer_failed", layer: Layer::Cluster });
                (None, Some(format!("{error:#}")))
            }
        };
        self.view.change(self.progress.name(), |peer| {
            match (&peer.error, &error) {
                (None, Some(error)) => log::warn!("{}: {error}", peer.name),
                (Some(_), None) => log::info!("{}: it answers again", peer.name),
                _ => {}
            }
            peer.error = error;
        });
        done
    }

    /// Sends what is new, and returns how many writes that were.
    fn replicate(&self) -> anyhow::Result<usize> {
        // What has failed to store something may have a part of it.
        self.service.journal().check()?;
        let replica = self.service.journal().replica();
        let mut rows = replica.unsent(&self.progress, ROWS)?;
        let records: Vec<Record> = rows.iter_mut().flat_map(|row| std::mem::take(&mut row.records)).collect();
        if records.is_empty() && !rows.is_empty() {
            // All of it has been changed again since. A peer that is not there has not acknowledged that either.
            self.client.hashes(Path::ROOT).context("cannot reach it")?;
        }
        self.send(records)?;
        replica.acknowledge(&self.progress, &rows)?;
        Ok(rows.len())
    }

    fn send(&self, records: Vec<Record>) -> anyhow::Result<()> {
        for some in parts(records) {
            self.client.send(&some).context("cannot send changes")?;
        }
        Ok(())
    }

    fn compared(&self, differed: Option<usize>) {
        let outcome = match differed {
            None => SyncOutcome::Failed,
            Some(0) => SyncOutcome::Equal,
            Some(_) => SyncOutcome::Repaired,
        };
        self.metrics.compared(outcome, differed.unwrap_or(0));
        self.view.change(self.progress.name(), |peer| peer.compared = Some(outcome));
    }

    /// Finds what differs, has the older side take the newer, and returns how many records differed.
    fn compare(&self) -> anyhow::Result<usize> {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for leaf in self.differing()? {
            for (key, (here, there)) in self.both(leaf)? {
                let newest = here.max(there);
                if here == there || newest.is_within(YOUNG) {
                    continue;
                }
                if there > here { theirs.push(key) } else { ours.push(key) }
            }
        }
        let differed = theirs.len() + ours.len();
        for keys in ours.chunks(ROWS) {
            self.send(self.service.records(keys)?)?;
        }
        for keys in theirs.chunks(ROWS) {
            for records in parts(self.client.records(keys).context("cannot fetch records")?) {
                self.runtime.block_on(self.service.take(&records))?;
            }
        }
        Ok(differed)
    }

    /// The leaves in which the trees differ.
    fn differing(&self) -> anyhow::Result<Vec<Path>> {
        let (mut paths, mut leaves) = (vec![Path::ROOT], Vec::new());
        while let Some(path) = paths.pop() {
            if path.leaf().is_some() {
                leaves.push(path);
                continue;
            }
            let there = self.client.hashes(path).context("cannot compare trees")?;
            let here = self.service.hashes(&path.text())?;
            let children = path.children().zip(here.iter().zip(&there));
            paths.extend(children.filter(|(_, (here, there))| here != there).map(|(child, _)| child));
        }
        Ok(leaves)
    }

    /// What both have below a leaf.
    fn both(&self, leaf: Path) -> anyhow::Result<BTreeMap<Key, (Stamp, Stamp)>> {
        let mut all: BTreeMap<Key, (Stamp, Stamp)> = BTreeMap::new();
        for version in self.client.versions(leaf).context("cannot compare leaves")? {
            all.entry(version.key).or_insert((Stamp::ZERO, Stamp::ZERO)).1 = version.stamp;
        }
        for version in self.service.versions(&leaf.text())? {
            all.entry(version.key).or_insert((Stamp::ZERO, Stamp::ZERO)).0 = version.stamp;
        }
        Ok(all)
    }
}

/// Records in parts that a body, and an entry of the log, have place for; none is empty.
fn parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut all, mut bytes) = (Vec::<Vec<Record>>::new(), 0);
    for record in records {
        match all.last_mut() {
            Some(last) if bytes < BATCH_BYTES && last.len() < MAX_RECORDS => last.push(record),
            _ => {
                bytes = 0;
                all.push(vec![record]);
            }
        }
        bytes += all.last().and_then(|part| part.last()?.value.as_ref()).map_or(0, String::len);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Version;
    use crate::storage::Table;

    #[test]
    fn parts_are_bounded_and_have_everything_in_order() {
        let record = |number: u64, bytes: usize| Record {
            version: Version {
                key: Key { table: Table::Votes, key: number.to_string() },
                stamp: Stamp { time: number, node: 1 },
            },
            value: Some("x".repeat(bytes)),
        };
        let large: Vec<Record> = (0..300).map(|number| record(number, 10_000)).collect();
        let split = parts(large.clone());
        assert!(split.iter().all(|part| part.len() <= BATCH_BYTES / 10_000 + 1 && !part.is_empty()));
        assert_eq!(split.concat(), large);
        let many: Vec<Record> = (0..5_000).map(|number| record(number, 0)).collect();
        assert_eq!(parts(many).iter().map(Vec::len).collect::<Vec<_>>(), [MAX_RECORDS, MAX_RECORDS, 1_000]);
        assert_eq!(parts(Vec::new()), Vec::<Vec<Record>>::new());
    }
}
