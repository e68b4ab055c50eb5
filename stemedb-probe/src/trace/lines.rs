//! A slow call as one line.

use std::time::Duration;

use stemedb_ebpf::phases::{PHASES, Parts};

use crate::slow::Call;

/// Letters of the bar, in the order of [`PHASES`].
const LETTERS: [char; PHASES.len()] = ['c', 'r', 'F', 'J', 'D', 'Q', '.'];
/// Letters in a bar.
const BAR: u64 = 20;
/// Phases below this share of the call are not in the figures, unless there is no other.
const PER_CENT: u64 = 1;

/// What the columns are.
#[must_use]
pub(super) fn header() -> String {
    let letters: Vec<String> = PHASES.iter().zip(LETTERS).map(|(phase, letter)| format!("{letter}={phase}")).collect();
    format!(
        "{:<15} {:<10} {:>15} {:<15} {:<11} {:<6} {:<9} {:>9} {:>9}  {:<22}  WHERE THE TIME WENT, FILE   {}",
        "TIME (UTC)",
        "TARGET",
        "PID/TID",
        "COMM",
        "OP",
        "CLASS",
        "DEVICE",
        "DURABLE",
        "TOTAL",
        "PHASES",
        letters.join(" ")
    )
}

/// The line.
#[must_use]
pub(super) fn line(call: &Call) -> String {
    let clock = call.time.split_once('T').map_or(call.time.as_str(), |(_, clock)| clock.trim_end_matches('Z'));
    let path = match (&call.path, call.inode) {
        (Some(path), _) => path.clone(),
        (None, 0) => "-".to_owned(),
        (None, inode) => format!("inode {inode}"),
    };
    let unlinked = if call.unlinked { " (deleted)" } else { "" };
    let error = call.error.as_ref().map_or_else(String::new, |error| format!(" {error}"));
    let thread = format!("{}/{}", call.pid, call.tid);
    let figures = if call.undivided { "not known".to_owned() } else { figures(&call.parts, call.total_ns) };
    format!(
        "{clock:<15} {:<10} {thread:>15} {:<15} {:<11} {:<6} {:<9} {:>9} {:>9}  [{}]  {figures}  {path}{unlinked}{error}",
        call.target,
        call.comm,
        call.op,
        call.class,
        call.device,
        bytes(call.bytes),
        time(call.total_ns),
        bar(&call.parts, call.total_ns),
    )
}

/// A bar whose letters each stand for an equal share, the largest remainders first.
fn bar(parts: &Parts, total: u64) -> String {
    let total = u128::from(total.max(1));
    let share = |part: u64| u128::from(part) * u128::from(BAR);
    let mut letters: Vec<u128> = parts.iter().map(|part| share(*part) / total).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(share(parts[*n]) % total));
    let missing = usize::try_from(u128::from(BAR).saturating_sub(letters.iter().sum())).unwrap_or(0);
    for n in order.into_iter().take(missing) {
        letters[n] += 1;
    }
    LETTERS
        .iter()
        .zip(letters)
        .flat_map(|(letter, n)| std::iter::repeat_n(*letter, usize::try_from(n).unwrap_or(0)))
        .collect()
}

/// The phases that matter, the longest first.
fn figures(parts: &Parts, total: u64) -> String {
    let mut order: Vec<(u64, &str)> = parts.iter().copied().zip(PHASES.iter().copied()).collect();
    order.sort_by_key(|(part, _)| std::cmp::Reverse(*part));
    let shown = order.iter().enumerate().filter(|(n, (part, _))| *n == 0 || part * 100 >= total.max(1) * PER_CENT);
    let shown: Vec<String> = shown
        .map(|(_, (part, phase))| format!("{phase} {} {:.0}%", time(*part), *part as f64 * 100.0 / total.max(1) as f64))
        .collect();
    shown.join(", ")
}

/// A time with three figures.
#[must_use]
pub(super) fn time(ns: u64) -> String {
    let (number, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}")
}

/// The same.
pub(super) fn time_of(duration: Duration) -> String {
    time(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Bytes in the units of the file system's own tools.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while number >= 1_024.0 && unit + 1 < UNITS.len() {
        number /= 1_024.0;
        unit += 1;
    }
    let digits = usize::from(number < 100.0 && number.fract() != 0.0);
    format!("{number:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_it_is_whatever_is_in_it() {
        assert_eq!(bar(&[0, 0, 0, 0, 0, 0, 100], 100), ".".repeat(20));
        assert_eq!(bar(&[5, 0, 10, 50, 35, 0, 0], 100), "cFFJJJJJJJJJJDDDDDDD");
        assert_eq!(bar(&[1, 1, 1, 1, 1, 1, 1], 7).len(), 20);
        assert_eq!(bar(&[0; 7], 0).len(), 7);
    }

    #[test]
    fn figures_name_what_matters() {
        assert_eq!(
            figures(&[3_000, 0, 0, 71_000_000, 12_000_000, 0, 0], 83_003_000),
            "journal 71.0 ms 86%, device 12.0 ms 14%"
        );
        assert_eq!(figures(&[0; 7], 0), "cpu 0 ns 0%");
        assert_eq!(
            [time(999), time(1_500), time(15_300_000), time(2_000_000_000)],
            ["999 ns", "1.50 us", "15.3 ms", "2.00 s"]
        );
        assert_eq!([bytes(0), bytes(4_096), bytes(1_536), bytes(3 << 30)], ["0 B", "4 KiB", "1.5 KiB", "3 GiB"]);
    }
}
