//! What the scheduler's events cost: while no sync call is in flight, and while one is.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _, pipe};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::{Bench, Beside, Costs, NOBODY, median};

const WAYS: [Beside; 3] = [Beside::Nothing, Beside::WithoutSched, Beside::Elsewhere];
/// The programs on these events.
const PROGRAMS: [&str; 2] = ["sched_switch", "sched_wakeup"];

/// Switches of threads a second, for each way.
pub(super) fn measure(bench: &Bench, rounds: u32) -> Result<BTreeMap<Beside, Vec<f64>>> {
    let mut rates: BTreeMap<Beside, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds as usize {
        for place in 0..WAYS.len() {
            let beside = WAYS[(place + round) % WAYS.len()];
            let (rate, _) = bench.with(beside, NOBODY, || switches(bench.seconds))?;
            println!("round {} of {rounds}: {:<36} {rate:>9.0} switches/s", round + 1, name(beside));
            rates.entry(beside).or_default().push(rate);
        }
    }
    Ok(rates)
}

/// What one run of each program costs without a sync call in flight, and while a thread does nothing but sync.
pub(super) fn costs(bench: &Bench) -> Result<[Costs; 2]> {
    let (_, idle) = bench.with(Beside::Elsewhere, NOBODY, || switches(bench.seconds))?;
    let own = format!("pid={}", std::process::id());
    let (_, syncing) = bench.with(Beside::Watching, &own, || syncs(bench))?;
    Ok([idle, syncing])
}

fn name(beside: Beside) -> &'static str {
    if beside == Beside::Elsewhere { "with the agent, no sync call in flight" } else { beside.name() }
}

/// Two threads hand a byte to and fro; how often a second.
fn switches(seconds: u32) -> Result<f64> {
    let (mut there_out, mut there_in) = pipe()?;
    let (mut back_out, mut back_in) = pipe()?;
    let other = thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        while there_out.read(&mut byte)? != 0 {
            back_in.write_all(&byte)?;
        }
        Ok(())
    });
    let began = Instant::now();
    let end = Duration::from_secs(u64::from(seconds));
    let mut count = 0_u32;
    let mut byte = [0];
    while began.elapsed() < end {
        there_in.write_all(&byte)?;
        back_out.read_exact(&mut byte)?;
        count += 2;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    drop(there_in);
    other.join().map_err(|_| anyhow!("a thread panicked"))??;
    Ok(rate)
}

/// Writes and syncs all the time; how often a second.
fn syncs(bench: &Bench) -> Result<f64> {
    let path = bench.disk.folder.join("syncs");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let began = Instant::now();
    let end = Duration::from_secs(u64::from(bench.seconds));
    let mut count = 0_u32;
    while began.elapsed() < end {
        if count.is_multiple_of(10_000) {
            file.set_len(0)?;
        }
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// The part of the page.
pub(super) fn page(rates: &BTreeMap<Beside, Vec<f64>>, [idle, syncing]: &[Costs; 2]) -> String {
    let mut out = String::from(
        "\n## The scheduler\n\nTwo threads hand a byte to and fro through pipes, which is a switch of threads each time and nothing else. While no sync \
         call is in flight, a switch and a wake-up look at one number each.\n\n| | switches a second, median | range | of the first |\n|---|---|---|---|\n",
    );
    let base = rates.get(&Beside::Nothing).map_or(0.0, |all| median(all));
    for beside in WAYS {
        let Some(all) = rates.get(&beside) else { continue };
        let (low, high) = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        out += &format!(
            "| {} | {:.0} | {low:.0} to {high:.0} | {:.1} % |\n",
            name(beside),
            median(all),
            median(all) / base * 100.0
        );
    }
    out += "\nThe agent's programs on *every* system call are in the second row as well, where the kernel refuses fentry (a hand-over is two calls); the \
            difference between the second and the third is the scheduler's events.\n\n\
            | program | ns, no sync call in flight | ns, while a thread writes and syncs all the time |\n|---|---|---|\n";
    for program in PROGRAMS {
        let ns = |costs: &Costs| {
            let found = costs.programs.get(program);
            found.map_or_else(|| "-".to_owned(), |(runs, seconds)| format!("{:.0}", seconds * 1e9 / *runs as f64))
        };
        out += &format!("| `{program}` | {} | {} |\n", ns(idle), ns(syncing));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_goes_to_and_fro() {
        assert!(switches(1).unwrap() > 100.0);
    }

    #[test]
    fn the_page_has_a_row_for_each_way_and_each_program() {
        let rates = BTreeMap::from([(Beside::Nothing, vec![100.0]), (Beside::Elsewhere, vec![99.0])]);
        let costs = |ns: f64| Costs {
            programs: BTreeMap::from([("sched_switch".to_owned(), (1_000, 1_000.0 * ns * 1e-9))]),
            ..Costs::default()
        };
        let text = page(&rates, &[costs(20.0), costs(900.0)]);
        assert!(text.contains("| with the agent, no sync call in flight | 99 | 99 to 99 | 99.0 % |"), "{text}");
        assert!(
            text.contains("| `sched_switch` | 20 | 900 |") && text.contains("| `sched_wakeup` | - | - |"),
            "{text}"
        );
    }
}
