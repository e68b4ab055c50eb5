//! An entry in a segment: its length, a checksum over everything else, its number, its payload. Numbers are little-endian.

/// Bytes before the payload.
pub(super) const HEADER: usize = 16;
/// The largest payload.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Appends a frame to what will be written.
pub(super) fn encode(number: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let number = number.to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, number, payload).to_le_bytes());
    out.extend_from_slice(&number);
    out.extend_from_slice(payload);
}

/// The checksum also covers length and number, so that zeros are no frame.
fn checksum(length: [u8; 4], number: [u8; 8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&number);
    hasher.update(payload);
    hasher.finalize()
}

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'b> {
    /// A whole entry, and the bytes of its frame.
    Entry { number: u64, payload: &'b [u8], size: usize },
    /// Nothing more.
    End,
    /// The beginning of an entry, whose rest is not there.
    Torn,
    /// Something that was not written so.
    Corrupt,
}

/// Reads what is at the beginning of the rest of a segment.
pub(super) fn decode(rest: &[u8]) -> Found<'_> {
    if rest.is_empty() {
        return Found::End;
    }
    let Some((header, after)) = rest.split_at_checked(HEADER) else { return Found::Torn };
    let (Some(length), Some(sum), Some(number)) =
        (header.first_chunk::<4>(), header[4..].first_chunk::<4>(), header[8..].first_chunk::<8>())
    else {
        return Found::Torn;
    };
    // A file system may have made the file longer and not have written all of it: zeros, in whole pages.
    if header.iter().all(|byte| *byte == 0) {
        return if rest.iter().all(|byte| *byte == 0) { Found::Torn } else { Found::Corrupt };
    }
    let size = u32::from_le_bytes(*length) as usize;
    if size > MAX_PAYLOAD {
        return Found::Corrupt;
    }
    let Some(payload) = after.get(..size) else { return Found::Torn };
    if checksum(*length, *number, payload) != u32::from_le_bytes(*sum) {
        return Found::Corrupt;
    }
    Found::Entry { number: u64::from_le_bytes(*number), payload, size: HEADER + size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(number, payload, &mut out);
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, payload: Vec<u8>) {
            let frame = frame(number, &payload);
            let entry = Found::Entry { number, payload: &payload, size: frame.len() };
            prop_assert_eq!(decode(&frame), entry);
        }

        #[test]
        fn a_part_of_it_is_torn(number in 1_u64.., payload: Vec<u8>, part: prop::sample::Index) {
            let frame = frame(number, &payload);
            let length = 1 + part.index(frame.len() - 1);
            prop_assert_eq!(decode(&frame[..length]), Found::Torn);
        }

        #[test]
        fn a_flipped_bit_is_never_an_entry(number in 1_u64.., payload: Vec<u8>, place: prop::sample::Index, bit in 0..8_u32) {
            let mut frame = frame(number, &payload);
            let place = place.index(frame.len());
            frame[place] ^= 1 << bit;
            let is_entry = matches!(decode(&frame), Found::Entry { .. });
            prop_assert!(!is_entry);
        }

        #[test]
        fn anything_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn zeros_are_no_entry() {
        assert_eq!(decode(&[0; 4096]), Found::Torn);
        assert_eq!(decode(&[]), Found::End);
        assert_eq!(decode(&[[0; 16], [1; 16]].concat()), Found::Corrupt);
    }
}
