//! Globs that the kernel can match: `*`, `?`, `[abc]`, `[!a-z]`, `\x`. A pattern is compiled by the agent
//! to an [`Automaton`], a bit-parallel NFA: state bit `i` is set when the first `i` items of the pattern
//! have matched. A step is four instructions, so a name is matched in bounded time and without a branch.
//!
//! `*` matches any run of bytes, `/` too, as in systemd's and Prometheus' own use of globs on names.

/// Most items (bytes, `?`, classes) that a pattern may have, `*` not counted.
pub const MAX_ITEMS: usize = 62;

/// A compiled pattern.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Automaton {
    /// For each byte, the states that may be entered on it.
    pub enter: [u64; 256],
    /// States with a `*` after them: they stay on any byte.
    pub stay: u64,
    /// The state in which the whole pattern has matched.
    pub accept: u64,
}

const _: () = assert!(size_of::<Automaton>() == 258 * 8);

/// The state before the first byte.
pub const START: u64 = 1;

impl Automaton {
    /// The state after one more byte. Zero is final: nothing can match any more.
    #[inline(always)]
    #[must_use]
    pub fn step(&self, state: u64, byte: u8) -> u64 {
        ((state << 1) & self.enter[byte as usize]) | (state & self.stay)
    }

    /// Whether `text` matches the whole pattern.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        text.iter().fold(START, |state, byte| self.step(state, *byte)) & self.accept != 0
    }
}

/// Why a pattern was refused; the text says what to write instead.
#[cfg(not(target_arch = "bpf"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobError(pub String);

#[cfg(not(target_arch = "bpf"))]
impl std::fmt::Display for GlobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(not(target_arch = "bpf"))]
impl std::error::Error for GlobError {}

#[cfg(not(target_arch = "bpf"))]
impl Automaton {
    /// Compiles a glob.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let mut out = Self { enter: [0; 256], stay: 0, accept: 0 };
        let mut items = 0_usize;
        let mut rest = pattern.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            if first == b'*' {
                out.stay |= 1 << items;
                continue;
            }
            items += 1;
            if items > MAX_ITEMS {
                return Err(GlobError(format!(
                    "the pattern {pattern:?} is longer than {MAX_ITEMS} characters; shorten it with `*`"
                )));
            }
            let bit = 1 << items;
            match first {
                b'?' => out.enter.iter_mut().for_each(|mask| *mask |= bit),
                b'{' => {
                    return Err(GlobError(format!(
                        "the pattern {pattern:?} has `{{`; give each alternative as a rule of its own, or write `\\{{` for the character itself"
                    )));
                }
                b'[' => rest = out.class(pattern, rest, bit)?,
                b'\\' => {
                    let (&byte, tail) = rest.split_first().ok_or_else(|| {
                        GlobError(format!(
                            "the pattern {pattern:?} ends in `\\`; write `\\\\` for the character itself"
                        ))
                    })?;
                    out.enter[usize::from(byte)] |= bit;
                    rest = tail;
                }
                byte => out.enter[usize::from(byte)] |= bit,
            }
        }
        out.accept = 1 << items;
        Ok(out)
    }

    /// A bracket expression after its `[`; returns what follows its `]`.
    fn class<'p>(&mut self, pattern: &str, mut rest: &'p [u8], bit: u64) -> Result<&'p [u8], GlobError> {
        let unclosed = || {
            GlobError(format!(
                "the pattern {pattern:?} has a `[` without its `]`; write `[[]` for the character itself"
            ))
        };
        let negated = matches!(rest.first(), Some(b'!' | b'^'));
        if negated {
            rest = &rest[1..];
        }
        let mut members = [false; 256];
        let mut first = true;
        loop {
            let (&low, tail) = rest.split_first().ok_or_else(unclosed)?;
            rest = tail;
            if low == b']' && !first {
                break;
            }
            first = false;
            let mut high = low;
            if let [b'-', end, tail @ ..] = rest
                && *end != b']'
            {
                high = *end;
                rest = tail;
            }
            if high < low {
                return Err(GlobError(format!(
                    "the pattern {pattern:?} has the range {}-{}, which is empty; turn it round",
                    char::from(low),
                    char::from(high)
                )));
            }
            members[usize::from(low)..=usize::from(high)].fill(true);
        }
        for (mask, member) in self.enter.iter_mut().zip(members) {
            if member != negated {
                *mask |= bit;
            }
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Automaton::new(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn the_usual_patterns() {
        assert!(matches("stemedb*", "stemedb-server"));
        assert!(matches("*.wal", "000001.wal") && !matches("*.wal", "000001.wal.tmp"));
        assert!(matches("/opt/*/bin/db", "/opt/a/b/bin/db") && !matches("", "a") && matches("", ""));
        assert!(matches("[!a-c]?", "dx") && !matches("[!a-c]?", "bx") && matches("[]]", "]"));
        assert!(matches(r"\*", "*") && !matches(r"\*", "a") && matches("*", ""));
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = |p: &str| Automaton::new(p).map(|_| ()).unwrap_err().0;
        assert!(error("[ab").contains("without its `]`"));
        assert!(error("[b-a]").contains("turn it round"));
        assert!(error("a\\").contains("`\\\\`"));
        assert!(error(&"x".repeat(63)).contains("shorten it with `*`"));
        assert!(Automaton::new(&"x".repeat(62)).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_globset(pattern in r"(a|b|/|\?|\*|\[ab\]|\[!b\]|\[a-c\]){0,8}", text in "[abc/]{0,10}") {
            // To globset, `**` beside a `/` may match nothing, slash included; here it is a `*` twice.
            let mut once = pattern.clone().into_bytes();
            once.dedup_by(|a, b| (*a, *b) == (b'*', b'*'));
            let once = String::from_utf8(once).unwrap();
            let expected = globset::GlobBuilder::new(&once).empty_alternates(true).build().unwrap().compile_matcher();
            prop_assert_eq!(matches(&pattern, &text), expected.is_match(&text));
        }
    }
}
