//! What a log has after a crash: everything up to the first entry that is not whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::Error;
use super::frame::{Found, decode};
use super::segment::{Folder, Segment};

/// What was at the end of the log and is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Whether a checksum is wrong; else the last entry was not written to its end.
    pub is_corrupt: bool,
    /// So many bytes.
    pub bytes: u64,
    /// Where they are kept now: nothing is thrown away.
    pub kept: PathBuf,
}

/// What a recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whole entries that were handed on.
    pub entries: u64,
    /// The number of the last entry of the log; of an empty one that before the first that was asked for.
    pub last: u64,
    /// What was not taken.
    pub tail: Option<Tail>,
}

/// Reads all segments in order, and hands on the entries from `from` on. The last segment is cut after its last whole entry.
pub(super) fn recover(
    folder: &Folder,
    from: u64,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(Recovered, Vec<Segment>), Error> {
    let segments = folder.segments()?;
    let mut recovered = Recovered::default();
    // An empty log goes on where whoever reads it is: a number before that would be passed over by the next recovery.
    let mut next = segments.first().map_or(from, |segment| segment.first);
    if let Some(first) = segments.first().filter(|segment| segment.first > from) {
        return Err(gap(first, from));
    }
    for (place, segment) in segments.iter().enumerate() {
        if segment.first != next {
            return Err(gap(segment, next));
        }
        let bytes = fs::read(&segment.path).map_err(Error::io("read", &segment.path))?;
        let mut offset = 0;
        let is_corrupt = loop {
            match decode(&bytes[offset..]) {
                // Another number is a frame of a time before: as wrong as a checksum.
                Found::Entry { number, payload, size } if number == next => {
                    if number >= from {
                        recovered.entries += 1;
                        take(number, payload);
                    }
                    next += 1;
                    offset += size;
                }
                Found::End => break None,
                Found::Torn => break Some(false),
                Found::Entry { .. } | Found::Corrupt => break Some(true),
            }
        };
        let Some(is_corrupt) = is_corrupt else { continue };
        if place + 1 < segments.len() {
            return Err(Error::Damaged { path: segment.path.clone(), offset: offset as u64 });
        }
        recovered.tail = Some(cut(folder, segment, &bytes, offset, is_corrupt)?);
    }
    recovered.last = next - 1;
    if next < from {
        return Err(Error::Short { path: folder.path.clone(), last: recovered.last, reader: from - 1 });
    }
    Ok((recovered, segments))
}

fn gap(segment: &Segment, next: u64) -> Error {
    Error::Gap { path: segment.path.clone(), from: next, to: segment.first - 1 }
}

/// Puts what is no entry aside, and cuts the segment.
fn cut(folder: &Folder, segment: &Segment, bytes: &[u8], offset: usize, is_corrupt: bool) -> Result<Tail, Error> {
    let rest = &bytes[offset..];
    let kept = keep(folder, segment, offset, rest)?;
    let file = File::options().write(true).open(&segment.path).map_err(Error::io("open", &segment.path))?;
    file.set_len(offset as u64).map_err(Error::io("cut", &segment.path))?;
    folder.sync_all(&file, &segment.path)?;
    folder.sync()?;
    Ok(Tail { is_corrupt, bytes: rest.len() as u64, kept })
}

/// Writes what is cut to a file of its own, beside the segment.
fn keep(folder: &Folder, segment: &Segment, offset: usize, rest: &[u8]) -> Result<PathBuf, Error> {
    let mut copy = 0_u32;
    loop {
        let kept = segment.path.with_extension(format!("{offset}.{copy}.tail"));
        match File::create_new(&kept) {
            Ok(mut file) => {
                file.write_all(rest).map_err(Error::io("write", &kept))?;
                folder.sync_all(&file, &kept)?;
                return Ok(kept);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => copy += 1,
            Err(error) => return Err(Error::io("create", &kept)(error)),
        }
    }
}
