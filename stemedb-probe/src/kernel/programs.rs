//! What the kernel keeps about each loaded program, from `/proc/self/fdinfo`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Figures of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramFigures {
    /// The program's name.
    pub name: String,
    /// Runs; 0 unless `kernel.bpf_stats_enabled` is 1.
    pub runs: u64,
    /// Nanoseconds in them.
    pub run_ns: u64,
    /// Runs that the kernel left out because the program was running on that processor already.
    pub recursion_misses: u64,
}

/// Reads the figures of a program.
pub fn figures(name: &str, program: BorrowedFd<'_>) -> io::Result<ProgramFigures> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    Ok(parse(name, &text))
}

fn parse(name: &str, text: &str) -> ProgramFigures {
    let mut out = ProgramFigures { name: name.to_owned(), ..ProgramFigures::default() };
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let slot = match key {
            "run_cnt" => &mut out.runs,
            "run_time_ns" => &mut out.run_ns,
            "recursion_misses" => &mut out.recursion_misses,
            _ => continue,
        };
        *slot = value.trim().parse().unwrap_or(0);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn fdinfo_is_read_by_its_keys() {
        let got = super::parse("p", "pos:\t0\nprog_type:\t26\nrun_time_ns:\t42\nrun_cnt:\t7\nrecursion_misses:\t1\n");
        assert_eq!((got.runs, got.run_ns, got.recursion_misses), (7, 42, 1));
    }
}
