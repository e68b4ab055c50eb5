//! Histogram slots. A latency slot *is* a bucket of a Prometheus native histogram of schema 3: bucket
//! `i` holds the values in (2^((i-1)/8), 2^(i/8)] seconds (Prometheus documentation, "Native
//! Histograms"). Slot 0 is everything up to 2^-20 s (0.95 us), slots 1 to 200 are the buckets -159 to
//! 40, slot 201 is everything above 2^5 s.

/// Buckets in each doubling of the value.
const PER_OCTAVE: usize = 8;
/// The lowest bound is 2^`FIRST_EXP` seconds.
pub const FIRST_EXP: i32 = -20;
/// The highest bound is 2^`LAST_EXP` seconds.
pub const LAST_EXP: i32 = 5;
/// Number of bounds: 25 octaves of 8, and the lowest one.
pub const BOUNDS: usize = 201;
/// Number of latency slots: one below each bound, and one above the last.
pub const SLOTS: usize = BOUNDS + 1;
/// Every so manieth slot bound is a classic bucket: two for each doubling. A subset of exact bounds is exact.
pub const LE_STEP: usize = 4;
/// Largest relative error of a quantile that is taken as the geometric middle of its slot: half a slot's
/// width, 2^(1/16) - 1.
pub const QUANTILE_ERROR: f64 = 0.0443;

/// 2^(k/8) as fixed-point numbers with 63 fractional bits, rounded down.
const ROOTS: [u64; PER_OCTAVE] = [
    0x8000_0000_0000_0000,
    0x8b95_c1e3_ea8b_d6e6,
    0x9837_f051_8db8_a96f,
    0xa5fe_d6a9_b151_38ea,
    0xb504_f333_f9de_6484,
    0xc567_2a11_5506_dadd,
    0xd744_fcca_d69d_6af4,
    0xeac0_c6e7_dd24_392e,
];

/// Upper bounds in nanoseconds, rounded down: a whole number of nanoseconds is at most 2^(i/8) s exactly
/// when it is at most this. Padded to 256 with the highest that [`exceeds`] can compare, so that a masked index needs no
/// bounds check.
pub static BOUNDS_NS: [u64; 256] = bounds();

const fn bounds() -> [u64; 256] {
    let mut out = [HIGHEST; 256];
    let mut i = 0;
    while i < BOUNDS {
        out[i] = bound_ns(i);
        i += 1;
    }
    out
}

#[allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "const arithmetic on small numbers: the octave is -20 to 5, the result at most 32e9"
)]
const fn bound_ns(i: usize) -> u64 {
    let octave = FIRST_EXP + (i / PER_OCTAVE) as i32;
    let scaled = 1_000_000_000_u128 * ROOTS[i % PER_OCTAVE] as u128;
    (scaled >> (63 - octave) as u32) as u64
}

/// The largest value that has a slot of its own kind: half of what fits, 292 years of nanoseconds.
pub const HIGHEST: u64 = u64::MAX >> 1;

/// At most [`HIGHEST`], without a branch.
#[inline(always)]
const fn clamp(value: u64) -> u64 {
    (value | (value >> 63).wrapping_neg()) & HIGHEST
}

/// 1 if `value` is above `bound`, else 0, for values up to [`HIGHEST`]. Without a branch: BPF has no instruction that sets a
/// register by a comparison, and a branch is two ways for the verifier.
#[inline(always)]
#[must_use]
pub const fn exceeds(value: u64, bound: u64) -> u64 {
    bound.wrapping_sub(value) >> 63
}

/// A number whose products with 1, 3, 7 ... 2^64-1 differ in their six highest bits (de Bruijn).
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// The lengths in bits by those six bits.
static LENGTHS: [u8; 64] = {
    let mut out = [0; 64];
    let mut length = 1;
    while length <= 64 {
        let at = ((u64::MAX >> (64 - length)).wrapping_mul(DE_BRUIJN) >> 58) as usize;
        assert!(out[at] == 0, "two lengths have the same place");
        out[at] = length;
        length += 1;
    }
    out
};

/// How many bits a number has that is not zero: BPF has no instruction that counts zeros.
#[inline(always)]
fn length(value: u64) -> u32 {
    let mut ones = value;
    let mut shift = 1;
    while shift < 64 {
        ones |= ones >> shift;
        shift <<= 1;
    }
    u32::from(LENGTHS[masked::<64>((ones.wrapping_mul(DE_BRUIJN) >> 58) as usize)])
}

/// Bits after the highest one by which a number finds its [`FIRST_SLOTS`]: fewer, and two bounds could be in between.
const FINE_BITS: u32 = 4;
/// Lengths in bits of the lowest and the highest bound.
const LENGTH_MIN: u32 = 64 - BOUNDS_NS[0].leading_zeros();
const LENGTH_MAX: u32 = 64 - BOUNDS_NS[BOUNDS - 1].leading_zeros();

/// The slot of the smallest number with a length and the [`FINE_BITS`] that follow its highest bit.
#[allow(clippy::cast_possible_truncation, reason = "at most 512, and at most 201")]
static FIRST_SLOTS: [u8; 512] = {
    let mut out = [0; 512];
    let mut at = 0;
    while at < ((LENGTH_MAX - LENGTH_MIN + 1) << FINE_BITS) as usize {
        let shift = LENGTH_MIN + (at >> FINE_BITS) as u32 - 1 - FINE_BITS;
        let least = ((1 << FINE_BITS | at & ((1 << FINE_BITS) - 1)) as u64) << shift;
        let mut slot = 0;
        while slot < BOUNDS && BOUNDS_NS[slot] < least {
            slot += 1;
        }
        assert!(BOUNDS_NS[slot + 1] >= least + (1 << shift) - 1, "two bounds are in between");
        out[at] = slot as u8;
        at += 1;
    }
    out
};

/// 1 if a number is not zero, else 0; without a branch.
#[inline(always)]
#[must_use]
pub const fn is_set(value: u64) -> u64 {
    (value | value.wrapping_neg()) >> 63
}

/// `new` if `condition` is 1, `old` if it is 0; without a branch.
#[inline(always)]
#[must_use]
pub const fn chosen(condition: u64, new: u64, old: u64) -> u64 {
    old ^ ((old ^ new) & condition.wrapping_neg())
}

/// The slot of a duration in nanoseconds: the number of bounds below it. Its highest bits tell that but for one bound.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "at most 255")]
pub fn latency_slot(ns: u64) -> usize {
    // What is above all bounds is made so many ones, and what is below is made so short, that the table has it.
    let above = exceeds(clamp(ns), (1 << LENGTH_MAX) - 1).wrapping_neg();
    let ns = (ns | above) & ((1 << LENGTH_MAX) - 1);
    let below = exceeds(1 << (LENGTH_MIN - 1), ns).wrapping_neg();
    let at_least = ns & !below | below & 1 << (LENGTH_MIN - 1);
    let length = length(at_least);
    let fine = at_least >> ((length - 1 - FINE_BITS) & 63) & ((1 << FINE_BITS) - 1);
    let at = (u64::from(length - LENGTH_MIN) << FINE_BITS | fine) as usize;
    let slot = FIRST_SLOTS[masked::<512>(at)] as usize;
    masked::<256>(slot + exceeds(ns, BOUNDS_NS[masked::<256>(slot)]) as usize)
}

/// `index & (N - 1)`, for an index that is below `N`, a power of two. The compiler knows that this changes nothing and would
/// leave it out; the verifier of Linux 6.1 does not.
#[inline(always)]
#[must_use]
pub fn masked<const N: usize>(index: usize) -> usize {
    const { assert!(N.is_power_of_two()) }
    #[cfg(target_arch = "bpf")]
    {
        let mut index = index;
        // SAFETY: an operation on one register.
        unsafe { core::arch::asm!("{0} &= {1}", inout(reg) index, const N - 1) }
        // SAFETY: the instruction above has made it so; the compiler does not see what it does.
        unsafe { core::hint::assert_unchecked(index < N) }
        index
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        index & (N - 1)
    }
}

/// Number of slots for counts and bytes: zero, then one for each power of two up to 2^40, then above.
pub const SIZE_SLOTS: usize = 43;

/// The slot of a count or a number of bytes: 0 for 0, else slot `k + 1` holds (2^(k-1), 2^k].
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "at most 63")]
pub fn size_slot(value: u64) -> usize {
    if value == 0 {
        return 0;
    }
    // The length of `value - 1`, which may be zero.
    let bits = length(clamp(value - 1) << 1 | 1) as usize - 1;
    let slot = bits + 1;
    if slot < SIZE_SLOTS { slot } else { SIZE_SLOTS - 1 }
}

/// The upper bound of a latency slot in seconds; infinite for the last.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn bound_seconds(slot: usize) -> f64 {
    if slot >= BOUNDS {
        return f64::INFINITY;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 201")]
    let eighths = FIRST_EXP * 8 + slot as i32;
    (f64::from(eighths) / 8.0).exp2()
}

/// The `q`-quantile (0 to 1) in seconds of latency slots: the geometric middle of the slot that holds
/// it, hence within [`QUANTILE_ERROR`]. `None` where nothing was counted.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn quantile(slots: &[u64], q: f64) -> Option<f64> {
    let total: u64 = slots.iter().sum();
    if total == 0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to total")]
    let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    for (slot, count) in slots.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return Some(match slot {
                0 => bound_seconds(0),
                s if s >= BOUNDS => bound_seconds(BOUNDS - 1),
                s => (bound_seconds(s - 1) * bound_seconds(s)).sqrt(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_schema_3() {
        for (i, bound) in BOUNDS_NS[..BOUNDS].iter().enumerate() {
            let exact = bound_seconds(i) * 1e9;
            let got = *bound as f64;
            // f64 has 53 bits, the largest bound needs 35: the floor can differ by rounding only
            // where the exact value is within 1e-5 of a whole number.
            assert!(got <= exact + 1e-4 && exact - got < 1.0 + 1e-4, "bound {i}: {got} {exact}");
        }
        assert_eq!(BOUNDS_NS[160], 1_000_000_000);
        assert_eq!(BOUNDS_NS[BOUNDS - 1], 32_000_000_000);
        assert!(BOUNDS_NS[..BOUNDS].is_sorted());
    }

    #[test]
    fn slots_at_their_edges() {
        for (i, bound) in BOUNDS_NS[..BOUNDS].iter().enumerate() {
            assert_eq!(latency_slot(*bound), i, "an upper bound is inclusive");
            assert_eq!(latency_slot(bound + 1), i + 1);
        }
        assert_eq!(latency_slot(0), 0);
        assert_eq!(latency_slot(u64::MAX), BOUNDS);
        assert_eq!(size_slot(u64::MAX), SIZE_SLOTS - 1);
        assert_eq!([0, 1, 2, 3, 4, 5, 8, 9].map(size_slot), [0, 1, 2, 3, 3, 4, 4, 5]);
    }

    proptest! {
        #[test]
        fn latency_slot_is_the_linear_search(ns in prop_oneof![any::<u64>(), 0..40_000_000_000_u64]) {
            let expected = BOUNDS_NS[..BOUNDS].iter().filter(|bound| **bound < ns).count();
            prop_assert_eq!(latency_slot(ns), expected);
        }

        #[test]
        fn size_slot_bounds_its_value(value in 1..1_u64 << 40) {
            let slot = size_slot(value);
            prop_assert!(value <= 1 << (slot - 1));
            prop_assert!(slot == 1 || value > 1 << (slot - 2));
        }

        #[test]
        fn a_quantile_is_within_its_error(mut values in prop::collection::vec(1_000..20_000_000_000_u64, 1..300), q in 0.01..1.0_f64) {
            let mut slots = [0; SLOTS];
            for value in &values {
                slots[latency_slot(*value)] += 1;
            }
            values.sort_unstable();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64 / 1e9;
            let got = quantile(&slots, q).unwrap();
            prop_assert!((got / exact - 1.0).abs() <= QUANTILE_ERROR + 1e-3, "{} {}", got, exact);
        }
    }
}
