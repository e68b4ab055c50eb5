//! Addresses of kernel functions, from `/proc/kallsyms`: the functions that end a bio tell what it is, and those in which a thread
//! waits tell for what.

use std::io::{self, BufRead, BufReader};

use stemedb_ebpf::disk::{END_FUNCTIONS, EndFunctions, MAX_END_FUNCTIONS};
use stemedb_ebpf::phases::{MAX_WAIT_FUNCTIONS, WAIT_FUNCTIONS, WaitFunctions};

/// Where the kernel lists its functions.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// Where it lists its modules.
pub const MODULES: &str = "/proc/modules";

/// The functions that this kernel has; modules that are loaded later may bring more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Functions {
    /// Those of [`END_FUNCTIONS`]: the address, and what each tells.
    pub ends: Vec<(u64, u32)>,
    /// Those of [`WAIT_FUNCTIONS`] and the parts that the compiler has split off: where each begins and ends, and what it waits for.
    pub waits: Vec<(u64, u64, u32)>,
}

/// The names of the modules that are loaded now.
#[must_use]
pub fn modules() -> Vec<u8> {
    // Columns of use counts change all the time.
    let lines = std::fs::read(MODULES).unwrap_or_default();
    let names = lines.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').next());
    names.flatten().copied().collect()
}

/// Reads the kernel's list.
pub fn read() -> io::Result<Functions> {
    parse(BufReader::with_capacity(256 * 1024, std::fs::File::open(KALLSYMS)?))
}

/// Lines of an address, a type, a name, and a module where it is one's. Addresses are zero for those who may not see them.
fn parse(mut lines: impl BufRead) -> io::Result<Functions> {
    let mut found = Functions::default();
    let mut begins = Vec::new();
    let mut line = Vec::with_capacity(256);
    while lines.read_until(b'\n', &mut line)? != 0 {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
            && matches!(kind, b"t" | b"T" | b"w" | b"W")
            && let Some(address) = std::str::from_utf8(address).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok())
            && address != 0
        {
            begins.push(address);
            if let Some((_, tells)) = END_FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name) {
                found.ends.push((address, *tells as u32));
            }
            // A compiler names a part of a function after it: `.cold`, `.part.0`.
            let whole = name.split(|byte| *byte == b'.').next().unwrap_or(name);
            if let Some((_, site)) = WAIT_FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == whole) {
                found.waits.push((address, address, *site));
            }
        }
        line.clear();
    }
    // A function ends where the next one begins.
    begins.sort_unstable();
    for (begin, end, _) in &mut found.waits {
        *end = begins.get(begins.partition_point(|other| other <= begin)).copied().unwrap_or(u64::MAX);
    }
    found.waits.sort_unstable();
    Ok(found)
}

/// The table of functions that end something, that the kernel side looks into.
#[must_use]
pub fn ends(found: &[(u64, u32)]) -> EndFunctions {
    let mut table = EndFunctions::NONE;
    for (n, (address, tells)) in found.iter().take(MAX_END_FUNCTIONS).enumerate() {
        (table.addresses[n], table.tells[n]) = (*address, *tells);
    }
    table
}

/// The table of functions in which threads wait, likewise.
#[must_use]
pub fn table(waits: &[(u64, u64, u32)]) -> WaitFunctions {
    let mut table = WaitFunctions::NONE;
    for (n, (begin, end, site)) in waits.iter().take(MAX_WAIT_FUNCTIONS).enumerate() {
        (table.begins[n], table.ends[n], table.sites[n]) = (*begin, *end, *site);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use stemedb_ebpf::disk::EndFunction;
    use stemedb_ebpf::phases::site;

    #[test]
    fn functions_are_found_by_their_whole_names() {
        let text = b"ffffffff8171b710 t end_bio_bh_io_sync\nffffffff81000000 T end_bio_bh_io_sync_not\n\
            ffffffffc0a01000 t xlog_bio_end_io\t[xfs]\nbroken\n";
        assert_eq!(
            parse(&text[..]).unwrap().ends,
            [(0xffff_ffff_8171_b710, EndFunction::Buffer as u32), (0xffff_ffff_c0a0_1000, EndFunction::Journal as u32)]
        );
    }

    #[test]
    fn functions_reach_to_the_next_one_in_any_order() {
        let text = b"0000000000001000 T folio_wait_writeback\n0000000000003000 t xfs_log_force\t[xfs]\n\
            0000000000001100 T next\n0000000000001080 D data\n0000000000000500 t xfs_log_force.cold\n\
            0000000000003040 t xfs_log_force_not\t[xfs]\n";
        let waits = parse(&text[..]).unwrap().waits;
        let (data, journal) = (site::DATA, site::JOURNAL);
        assert_eq!(waits, [(0x500, 0x1000, journal), (0x1000, 0x1100, data), (0x3000, 0x3040, journal)]);
        let table = table(&waits);
        assert_eq!([0x4ff, 0x500, 0x10ff, 0x1100, 0x303f].map(|at| table.site_of(at)), [0, journal, data, 0, journal]);
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        assert_eq!(parse(&b"0000000000000000 t xlog_bio_end_io\n"[..]).unwrap(), Functions::default());
    }
}
