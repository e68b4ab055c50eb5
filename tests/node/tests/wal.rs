//! The write-ahead log: what is acknowledged is there after any end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use stemedb_node::wal::{Error, MAX_PAYLOAD, Options, Recovered, Wal};

fn small(folder: &Path) -> Options {
    Options { segment_bytes: 512, ..Options::new(folder) }
}

/// Entries with their numbers.
type Entries = Vec<(u64, Vec<u8>)>;

/// Opens the log, and gives all that it has.
fn open(options: &Options) -> Result<(Wal, Recovered, Entries), Error> {
    let mut entries = Vec::new();
    let take = |number, payload: &[u8]| entries.push((number, payload.to_vec()));
    let (wal, recovered) = Wal::open(options, 1, take, Box::new(|_| {}))?;
    Ok((wal, recovered, entries))
}

fn append(wal: &Wal, payload: &[u8]) -> u64 {
    wal.append_here(payload.to_vec()).unwrap().wait_here().unwrap()
}

/// The log's files, in order.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|ending| ending == "wal"));
    all.sort();
    all
}

fn written(folder: &Path, entries: u64) -> Options {
    let options = small(folder);
    let (wal, ..) = open(&options).unwrap();
    for n in 1..=entries {
        assert_eq!(append(&wal, format!("entry {n}").as_bytes()), n);
    }
    options
}

fn expected(entries: u64) -> Entries {
    (1..=entries).map(|n| (n, format!("entry {n}").into_bytes())).collect()
}

#[test]
fn what_is_acknowledged_is_there_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 100);
    assert!(segments(folder.path()).len() > 3, "it was rotated");
    let (wal, recovered, entries) = open(&options).unwrap();
    assert_eq!(recovered, Recovered { entries: 100, last: 100, tail: None });
    assert_eq!(entries, expected(100));
    assert_eq!(append(&wal, b"more"), 101);
}

#[test]
fn only_entries_from_a_number_on_are_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 50);
    let mut numbers = Vec::new();
    Wal::open(&options, 41, |number, _| numbers.push(number), Box::new(|_| {})).unwrap();
    assert_eq!(numbers, (41..=50).collect::<Vec<_>>());
}

#[test]
fn an_empty_log_goes_on_where_its_reader_is() {
    let folder = tempfile::tempdir().unwrap();
    for expected in [41, 42] {
        let mut numbers = Vec::new();
        let (wal, _) =
            Wal::open(&small(folder.path()), 41, |number, _| numbers.push(number), Box::new(|_| {})).unwrap();
        assert_eq!(append(&wal, b"entry"), expected);
        assert_eq!(numbers, (41..expected).collect::<Vec<_>>());
    }
}

#[test]
fn a_log_that_does_not_fit_its_reader_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 50);
    // Entries with the numbers 51 to 60 would be passed over by the next recovery.
    let open = |from| Wal::open(&options, from, |_, _| {}, Box::new(|_| {})).map(drop);
    assert!(open(51).is_ok());
    let error = open(61).unwrap_err();
    assert!(matches!(error, Error::Short { last: 50, reader: 60, .. }), "{error}");
    fs::remove_file(&segments(folder.path())[0]).unwrap();
    let error = open(1).unwrap_err();
    assert!(matches!(error, Error::Gap { from: 1, .. }), "{error}");
}

#[test]
fn those_who_come_together_share_a_commit_and_are_told_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let on_commit = {
        let seen = seen.clone();
        Box::new(move |entries: &[(u64, Vec<u8>)]| seen.lock().unwrap().extend(entries.iter().map(|(n, _)| *n)))
    };
    let (wal, _) = Wal::open(&Options::new(folder.path()), 1, |_, _| {}, on_commit).unwrap();
    let waits: Vec<_> = (0..2_000).map(|n| wal.append_here(format!("{n}").into_bytes()).unwrap()).collect();
    let numbers: Vec<u64> = waits.into_iter().map(|wait| wait.wait_here().unwrap()).collect();
    assert_eq!(numbers, (1..=2_000).collect::<Vec<_>>());
    assert_eq!(*seen.lock().unwrap(), numbers);
    let commits = wal.counts().commits.load(Ordering::Relaxed);
    assert!((1..2_000).contains(&commits), "{commits} commits");
    assert_eq!(wal.counts().entries.load(Ordering::Relaxed), 2_000);
    let bytes: u64 = segments(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(wal.counts().bytes.load(Ordering::Relaxed), bytes);
}

#[test]
fn a_torn_tail_is_cut_reported_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 3);
    let last = segments(folder.path()).pop().unwrap();
    let whole = fs::metadata(&last).unwrap().len();
    fs::File::options().write(true).open(&last).unwrap().set_len(whole - 3).unwrap();
    let (wal, recovered, entries) = open(&options).unwrap();
    assert_eq!(entries, expected(2));
    let tail = recovered.tail.unwrap();
    assert!(!tail.is_corrupt);
    assert_eq!(fs::metadata(&tail.kept).unwrap().len(), tail.bytes);
    assert_eq!(append(&wal, b"entry 3"), 3, "the number was never acknowledged as another entry's by this log");
    drop(wal);
    let (_, recovered, entries) = open(&options).unwrap();
    assert_eq!((recovered.tail, entries), (None, expected(3)));
}

#[test]
fn a_corrupt_tail_is_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 3);
    let last = segments(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    fs::write(&last, bytes).unwrap();
    let (_, recovered, entries) = open(&options).unwrap();
    assert_eq!(entries, expected(2));
    assert!(recovered.tail.unwrap().is_corrupt);
}

#[test]
fn damage_before_the_end_is_an_error_that_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 100);
    let first = &segments(folder.path())[0];
    let mut bytes = fs::read(first).unwrap();
    bytes[20] ^= 1;
    fs::write(first, &bytes).unwrap();
    let error = open(&options).unwrap_err().to_string();
    assert!(error.contains(first.to_str().unwrap()) && error.contains("byte 0"), "{error}");
    assert_eq!(fs::read(first).unwrap(), bytes, "nothing was changed");
}

#[test]
fn a_missing_segment_is_an_error_that_says_which_entries() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 100);
    let all = segments(folder.path());
    let missing = all[1].file_stem().unwrap().to_str().unwrap().trim_start_matches('0').to_owned();
    fs::remove_file(&all[1]).unwrap();
    let error = open(&options).unwrap_err().to_string();
    assert!(error.contains(&format!("entries {missing} to")), "{error}");
}

#[test]
fn two_processes_cannot_have_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let options = small(folder.path());
    let _wal = open(&options).unwrap();
    assert!(matches!(open(&options), Err(Error::InUse { .. })));
}

#[test]
fn old_segments_are_removed_and_the_rest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let options = written(folder.path(), 100);
    let before = segments(folder.path()).len();
    let (wal, ..) = open(&options).unwrap();
    let removed = wal.forget_before(60).unwrap();
    assert!(removed > 0);
    assert_eq!((wal.segments(), segments(folder.path()).len()), (before - removed, before - removed));
    drop(wal);
    let mut entries = Entries::new();
    let take = |number, payload: &[u8]| entries.push((number, payload.to_vec()));
    let (_, recovered) = Wal::open(&options, 60, take, Box::new(|_| {})).unwrap();
    assert_eq!(recovered.last, 100);
    assert_eq!(entries, expected(100)[59..]);
}

#[test]
fn what_is_too_large_is_refused_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open(&small(folder.path())).unwrap();
    assert!(matches!(wal.append_here(vec![0; MAX_PAYLOAD + 1]), Err(Error::TooLarge { .. })));
    assert_eq!(append(&wal, &vec![7; MAX_PAYLOAD]), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the last segment was cut to, what is recovered is a beginning of what was written, and the log goes on.
    #[test]
    fn a_cut_anywhere_leaves_a_beginning(cut: prop::sample::Index) {
        let folder = tempfile::tempdir().unwrap();
        let options = written(folder.path(), 30);
        let last = segments(folder.path()).pop().unwrap();
        let size = fs::metadata(&last).unwrap().len();
        let length = cut.index(usize::try_from(size).unwrap() + 1) as u64;
        fs::File::options().write(true).open(&last).unwrap().set_len(length).unwrap();
        let (wal, recovered, entries) = open(&options).unwrap();
        prop_assert_eq!(&entries[..], &expected(30)[..entries.len()]);
        prop_assert_eq!(append(&wal, b"more"), recovered.last + 1);
    }
}
