//! Attached and detached many times while calls go on: each call that begins and ends while the agent is attached is counted, no
//! other is but at the edges, and nothing is left behind.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use stemedb_ebpf::Lost;
use stemedb_kernel_tests::bpf::{self, Ids};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::{binary, scaled, wait_for};
use stemedb_probe::agent::Agent;
use stemedb_probe::config::{Config, parse_toml};
use stemedb_workload::sys::monotonic_ns;

/// Lives of a round, side by side: as many as processors that tests may count on.
const AT_ONCE: usize = 2;
/// How long the agent counts in a round.
const ATTACHED: Duration = Duration::from_millis(2);
/// The kernel gives back what nobody holds a moment later; this is generous.
const GIVEN_BACK: Duration = Duration::from_secs(10);

/// A call of the load: nanoseconds of the monotonic clock.
#[derive(Deserialize)]
struct Call {
    op: String,
    begin: u64,
    end: u64,
}

/// One life of an agent: its figures after its end, and when it was what.
struct Life {
    counted: [(&'static str, u64); 2],
    in_flight: u64,
    begun: u64,
    attached: u64,
    stopping: u64,
    stopped: u64,
}

impl Life {
    fn live(config: &Config) -> Result<Self> {
        let begun = monotonic_ns();
        let mut agent = Agent::start(config.clone())?;
        let attached = monotonic_ns();
        thread::sleep(ATTACHED);
        let stopping = monotonic_ns();
        let in_flight = agent.stop() as u64;
        let stopped = monotonic_ns();
        let snapshot = agent.snapshot()?;
        let is_ours = |(reason, lost): (usize, &u64)| reason != Lost::MissedCompletion as usize && *lost != 0;
        ensure!(!snapshot.lost.iter().enumerate().any(is_ours), "lost: {:?}", snapshot.lost);
        let class = snapshot.classes.iter().position(|class| class == "wal").context("no class")?;
        let of_wal = |number: u32| usize::try_from(number) == Ok(class);
        let writes =
            snapshot.writes.iter().filter(|series| of_wal(series.class)).flat_map(|series| &series.calls).sum();
        let syncs = snapshot.syncs.iter().filter(|series| of_wal(series.class)).map(|series| series.calls).sum();
        let counted = [("pwrite64", writes), ("fdatasync", syncs)];
        Ok(Self { counted, in_flight, begun, attached, stopping, stopped })
    }

    /// Fails unless what was counted is what was called: the calls between the edges, and some of those that touch an edge.
    fn check(&self, calls: &[Call]) -> Result<()> {
        for (op, counted) in self.counted {
            let of = || calls.iter().filter(|call| call.op == op);
            let inside = of().filter(|call| call.begin >= self.attached && call.end <= self.stopping).count() as u64;
            // The agent counts from some instant during its start on.
            let touching = of().filter(|call| call.end >= self.begun && call.begin <= self.stopped).count() as u64;
            ensure!(counted >= inside, "{op}: {counted} calls counted, of {inside} inside");
            ensure!(counted <= touching, "{op}: {counted} calls counted, of {touching} at all");
        }
        ensure!(self.in_flight == 0, "{} calls on a tmpfs have lasted for a second", self.in_flight);
        Ok(())
    }
}

/// Agents that live at the same time, on a thread each.
fn at_once(config: &Config) -> Result<Vec<Life>> {
    thread::scope(|scope| {
        let lives: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| Life::live(config))).collect();
        lives.into_iter().map(|life| life.join().map_err(|_| anyhow!("an agent has panicked"))?).collect()
    })
}

/// Resident memory of this process, in kB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Open descriptors and threads of this process.
fn held() -> Result<[usize; 2]> {
    Ok([fs::read_dir("/proc/self/fd")?.count(), fs::read_dir("/proc/self/task")?.count()])
}

#[test]
fn many_times_under_load() -> Result<()> {
    under_load(usize::try_from(scaled(25))?.max(4))
}

#[test]
#[ignore = "takes minutes; a step of its own in `cargo xtask test`, and in no guest"]
fn a_thousand_times_under_load() -> Result<()> {
    under_load(1000)
}

/// The error of a call that returns 0 where it succeeds.
fn check(returned: i32) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn under_load(lives: usize) -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let rounds = lives.div_ceil(AT_ONCE);
    // Behind the agents, of which each start is most of a second of work for the kernel.
    let mut command = Command::new(binary("stemedb-workload")?);
    // SAFETY: setpriority only changes how the new process is scheduled, and may be called between fork and exec.
    unsafe { command.pre_exec(|| check(libc::setpriority(libc::PRIO_PROCESS, 0, 5))) };
    command.args(["edges", "--threads", "2", "--rounds", &(rounds + 1).to_string(), "--dir"]).arg(&wal);
    let mut load = Load::start_command(command)?;
    let text = format!("[[target]]\nname='t'\npid={}\n[target.class]\nwal='{}'\n", load.pid(), wal.display());
    let config = parse_toml(&text).and_then(Config::finish)?;
    let before: Ids = bpf::loaded();
    load.go()?;
    let (began, mut counted) = (Instant::now(), 0);
    let (mut first, mut peaks) = ([0; 2], [0, 0]);
    for round in 0..rounds {
        let lives = at_once(&config)?;
        load.go()?;
        let calls: Vec<Call> = serde_json::from_value(load.json()?)?;
        for life in lives {
            life.check(&calls).with_context(|| format!("round {round}"))?;
            counted += life.counted.iter().map(|(_, n)| n).sum::<u64>();
        }
        if round == 0 {
            first = held()?;
        }
        // The allocator keeps now more and now less, so that only the most of many rounds tells.
        let half = &mut peaks[round * 2 / rounds];
        *half = resident()?.max(*half);
    }
    println!("{lives} lives in {:?} have counted {counted} calls; memory at most {peaks:?} kB", began.elapsed());
    assert!(counted > lives as u64, "the load was hardly seen");
    assert_eq!(held()?, first, "descriptors and threads");
    assert!(peaks[1] as f64 <= peaks[0] as f64 * 1.2, "memory of the first and the second half: {peaks:?} kB");
    let mut left = Ids::new();
    let gone = wait_for("the end of all that the rounds had in the kernel", GIVEN_BACK, || {
        left = bpf::left_since(&before);
        left.extend(bpf::held_by(std::process::id()).unwrap_or_default());
        left.is_empty().then_some(())
    });
    gone.with_context(|| format!("left: {left:?}"))
}
