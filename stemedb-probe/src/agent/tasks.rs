//! What goes on while the agent runs: events of processes and directories, the clock, HTTP.

use std::cell::RefCell;
use std::future::Future;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use anyhow::Context;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;

use super::slow::BATCH;
use super::{Agent, MEASURE, TICK, usages};
use crate::disks::uevents;
use crate::http;
use crate::probes::ring::Ring;
use crate::probes::slow;
use crate::slow::Call;

/// Keeps the agent up to date, and gives each slow call to `take` until that breaks, or `shutdown` resolves. Returns the agent, which
/// has stopped.
pub async fn trace(
    mut agent: Agent,
    shutdown: impl Future<Output = ()>,
    mut take: impl FnMut(Option<Call>) -> ControlFlow<()>,
) -> anyhow::Result<Rc<RefCell<Agent>>> {
    let ring = agent.slow_ring.take().context("the slow calls are another's already")?;
    let mut ring = polled(ring)?;
    let agent = in_background(agent)?;
    let print = async {
        loop {
            let mut guard = ring.readable_mut().await?;
            let mut is_empty = false;
            for _ in 0..BATCH {
                let Some(told) = slow::take_next(guard.get_inner_mut()) else {
                    is_empty = true;
                    break;
                };
                let call = agent.borrow_mut().named(told);
                if take(Some(call)).is_break() {
                    return Ok::<_, std::io::Error>(());
                }
            }
            if is_empty {
                guard.clear_ready();
            }
            if take(None).is_break() {
                return Ok(());
            }
            // Others have something to do as well, and somebody may want it to end, however fast calls come.
            tokio::task::yield_now().await;
        }
    };
    let is_over = tokio::select! {
        () = shutdown => false,
        done = print => done.map(|()| true)?,
    };
    agent.borrow_mut().stop();
    // What has ended until now is told as well.
    while !is_over && let Some(told) = slow::take_next(ring.get_mut()) {
        let call = agent.borrow_mut().named(told);
        if take(Some(call)).is_break() {
            break;
        }
    }
    Ok(agent)
}

/// Spawns what keeps an agent up to date.
fn in_background(mut agent: Agent) -> anyhow::Result<Rc<RefCell<Agent>>> {
    let events = agent.events.take();
    let inotify = polled(agent.directories.inotify().as_fd().try_clone_to_owned()?)?;
    let agent = Rc::new(RefCell::new(agent));
    if let Some(events) = events {
        tokio::task::spawn_local(follow_events(Rc::clone(&agent), polled(events)?));
    }
    tokio::task::spawn_local(follow_directories(Rc::clone(&agent), inotify));
    if agent.borrow().kernel.sleeps() {
        let devices = uevents::listen().and_then(polled);
        match devices {
            Ok(devices) => drop(tokio::task::spawn_local(follow_devices(Rc::clone(&agent), devices))),
            Err(error) => log::warn!("devices that appear are seen some seconds late: {error}"),
        }
    }
    tokio::task::spawn_local(keep_up_to_date(Rc::clone(&agent)));
    Ok(agent)
}

/// Serves HTTP and keeps the agent up to date until `shutdown` resolves.
pub async fn serve(mut agent: Agent, listener: TcpListener, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let slow = agent.slow_ring.take();
    let address = listener.local_addr()?;
    let agent = in_background(agent)?;
    log::info!("ready: http://{address}/metrics");
    if let Some(slow) = slow {
        tokio::task::spawn_local(follow_slow(Rc::clone(&agent), polled(slow)?));
    }
    tokio::task::spawn_local(measure(Rc::clone(&agent)));
    tokio::task::spawn_local(http::serve(Rc::clone(&agent), listener));
    shutdown.await;
    let left = agent.borrow_mut().stop();
    log::info!("stopped: {left} calls were in flight and are not counted");
    Ok(())
}

/// Lets the runtime wait for a descriptor.
fn polled<T: AsFd + AsRawFd>(owner: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: each type that comes here owns one descriptor, and answers with it for as long as it lives.
    unsafe { AsyncFd::register(owner) }.map_err(std::io::Error::from)
}

async fn follow_events(agent: Rc<RefCell<Agent>>, mut events: AsyncFd<Ring>) {
    while let Ok(mut guard) = events.readable_mut().await {
        agent.borrow_mut().drain_events(guard.get_inner_mut());
        guard.clear_ready();
    }
}

async fn follow_slow(agent: Rc<RefCell<Agent>>, mut slow: AsyncFd<Ring>) {
    while let Ok(mut guard) = slow.readable_mut().await {
        if agent.borrow_mut().drain_slow(guard.get_inner_mut()) {
            tokio::task::yield_now().await;
        } else {
            guard.clear_ready();
        }
    }
}

async fn follow_directories(agent: Rc<RefCell<Agent>>, inotify: AsyncFd<OwnedFd>) {
    while let Ok(mut guard) = inotify.readable().await {
        guard.clear_ready();
        let mut agent = agent.borrow_mut();
        match agent.directories.read_events() {
            Ok(true) => agent.refresh_directories(),
            Ok(false) => {}
            Err(error) => log::error!("cannot read directory events: {error}"),
        }
    }
}

/// Until what waits for a device has been attached.
async fn follow_devices(agent: Rc<RefCell<Agent>>, devices: AsyncFd<OwnedFd>) {
    while agent.borrow().kernel.sleeps()
        && let Ok(mut guard) = devices.readable().await
    {
        guard.clear_ready();
        if uevents::any_of_a_disk(devices.get_ref()) {
            agent.borrow_mut().kernel.wake();
        }
    }
}

async fn keep_up_to_date(agent: Rc<RefCell<Agent>>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        agent.borrow_mut().tick();
    }
}

/// Measures directories on another thread: a file system that hangs must not hang the scrape.
async fn measure(agent: Rc<RefCell<Agent>>) {
    let mut ticks = tokio::time::interval(MEASURE);
    loop {
        ticks.tick().await;
        let work = agent.borrow().measurable();
        let done = tokio::task::spawn_blocking(move || usages::measure(&work));
        if let Ok((usage, mounts)) = done.await {
            let mut agent = agent.borrow_mut();
            agent.usage = usage;
            agent.mounts = mounts;
        }
    }
}
