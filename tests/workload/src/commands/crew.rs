//! Threads that get ready, begin together, and bring their results.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow};

use crate::control::Control;

/// Has each of the threads prepare itself, tells `control` that all are ready, and lets them run. What one prepares stays in
/// its thread. A thread that cannot get ready keeps all from beginning.
pub(crate) fn run<P, R: Send>(
    control: &Control,
    threads: u64,
    prepare: impl Fn(u64) -> Result<P> + Sync,
    work: impl Fn(P) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let members = usize::try_from(threads)? + 1;
    let (prepared, start, failed) = (Barrier::new(members), Barrier::new(members), AtomicBool::new(false));
    let member = &|index| {
        let own = prepare(index);
        failed.fetch_or(own.is_err(), Ordering::Relaxed);
        prepared.wait();
        start.wait();
        let own = own?;
        if failed.load(Ordering::Relaxed) { Err(anyhow!("another thread is not ready")) } else { work(own) }
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|index| scope.spawn(move || member(index))).collect();
        prepared.wait();
        let ready = if failed.load(Ordering::Relaxed) { Ok(()) } else { control.ready() };
        failed.fetch_or(ready.is_err(), Ordering::Relaxed);
        start.wait();
        let results = handles.into_iter().map(|handle| handle.join().map_err(|_| anyhow!("a thread panicked"))?);
        let results: Result<Vec<R>> = results.collect();
        ready.and(results)
    })
}
