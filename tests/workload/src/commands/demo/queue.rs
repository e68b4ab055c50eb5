//! The entries that wait for the next group commit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// An entry of the log.
pub(super) type Entry = Vec<u8>;

/// Where clients leave their entries and wait until they are durable.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    waiting: Condvar,
    durable: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    submitted: u64,
    committed: u64,
    closed: bool,
}

impl Queue {
    /// Submits an entry and waits until it is durable; whether it is.
    pub(super) fn commit(&self, entry: Entry) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.entries.push(entry);
        state.submitted += 1;
        let ticket = state.submitted;
        self.waiting.notify_one();
        let state = self
            .durable
            .wait_while(state, |state| state.committed < ticket && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.committed >= ticket
    }

    /// Waits for entries and takes all there are; `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Entry>> {
        let mut state = self
            .waiting
            .wait_while(self.lock(), |state| state.entries.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        (!state.entries.is_empty()).then(|| std::mem::take(&mut state.entries))
    }

    /// The `count` entries that were taken last are durable.
    pub(super) fn committed(&self, count: usize) {
        self.lock().committed += count as u64;
        self.durable.notify_all();
    }

    /// Takes no more entries, and lets go of everyone who waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.waiting.notify_all();
        self.durable.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
