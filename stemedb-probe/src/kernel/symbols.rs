//! Addresses of kernel functions, from `/proc/kallsyms`: the functions that end a bio tell what it is.

use std::io::{self, BufRead, BufReader};

use stemedb_ebpf::disk::END_FUNCTIONS;

/// Where the kernel lists its functions.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// Where it lists its modules.
pub const MODULES: &str = "/proc/modules";

/// The functions of [`END_FUNCTIONS`] that this kernel has, with what each tells; modules that are loaded later may bring more.
pub fn end_functions() -> io::Result<Vec<(u64, u32)>> {
    parse(BufReader::with_capacity(256 * 1024, std::fs::File::open(KALLSYMS)?))
}

/// Lines of an address, a type, a name, and a module where it is one's. Addresses are zero for those who may not see them.
fn parse(mut lines: impl BufRead) -> io::Result<Vec<(u64, u32)>> {
    let mut found = Vec::new();
    let mut line = Vec::with_capacity(256);
    while lines.read_until(b'\n', &mut line)? != 0 {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            && let Some((_, tells)) = END_FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name)
            && let Some(address) = std::str::from_utf8(address).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok())
            && address != 0
        {
            found.push((address, *tells as u32));
        }
        line.clear();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stemedb_ebpf::disk::EndFunction;

    #[test]
    fn functions_are_found_by_their_whole_names() {
        let text = b"ffffffff8171b710 t end_bio_bh_io_sync\nffffffff81000000 T end_bio_bh_io_sync_not\n\
            ffffffffc0a01000 t xlog_bio_end_io\t[xfs]\nbroken\n";
        assert_eq!(
            parse(&text[..]).unwrap(),
            [(0xffff_ffff_8171_b710, EndFunction::Buffer as u32), (0xffff_ffff_c0a0_1000, EndFunction::Journal as u32)]
        );
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        assert_eq!(parse(&b"0000000000000000 t xlog_bio_end_io\n"[..]).unwrap(), []);
    }
}
