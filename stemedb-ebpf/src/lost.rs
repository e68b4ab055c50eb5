//! Why something is missing from the figures: one row for each reason, from which the enumeration, the label values of
//! `stemedb_probe_lost_total` and its documentation derive.

macro_rules! lost {
    ($($id:ident = $value:literal, $name:literal, $what:literal;)+) => {
        /// Why something is missing from the figures; the index into the map `LOST`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Lost { $(#[doc = $what] $id = $value),+ }

        /// Every reason: the label's value, and what it means for a reader.
        pub const LOST: &[(&str, &str)] = &[$(($name, $what)),+];
    };
}

lost! {
    InflightFull = 0, "inflight_full", "calls not counted: more calls were in flight than the map holds";
    MissedExit = 1, "missed_exit", "calls not counted: their end was never seen";
    PendingFull = 2, "pending_full", "writes missing from the group histograms: there was no place for their file";
    PendingSwept = 3, "pending_swept", "writes missing from the group histograms: another file needed the place of one that had been idle for long, or the end of the sync that took them was never seen";
    GroupRace = 4, "group_race", "groups without a flush latency: their first write returned in the very moment at which another sync began";
    ErrorsFull = 5, "errors_full", "failed calls without their errno: the map of errors is full";
    TargetsFull = 6, "targets_full", "processes not watched: the map of processes is full";
    EventsFull = 7, "events_full", "process events that the agent did not see; it looked through /proc again";
    ClassDepth = 8, "class_depth", "calls on files more than 16 directories deep, counted in class other";
    MsyncFile = 9, "msync_file", "msync calls whose file could not be looked up, counted in class other";
    CompatSyscall = 10, "compat_syscall", "32-bit system calls of watched processes, which are not decoded";
    Restarted = 11, "restarted", "calls that a signal interrupted inside the kernel: the kernel may enter them again, and then they are counted when they end";
    ExePath = 12, "exe_path", "executables whose path could not be read, so that no exe rule was tried";
    KernelRead = 13, "kernel_read", "calls counted in class other because a kernel structure could not be read";
    InotifyOverflow = 14, "inotify_overflow", "times at which the kernel dropped directory events, so that rotations may be missing";
    Recursion = 15, "recursion", "events that the kernel left out because the same program was running on that processor";
    NameLength = 16, "name_length", "calls on files whose name is too long for the rules for names";
    AsyncSubmit = 17, "async_submit", "calls of io_submit whose requests are not seen, because the capability aio is off";
    UringSubmit = 18, "uring_submit", "calls of io_uring_enter whose requests are not seen, because the capability uring is off";
    UringSkip = 19, "uring_skip", "io_uring requests that ask for no completion (IOSQE_CQE_SKIP_SUCCESS): their end is not seen";
    MappedFile = 20, "mapped_file", "folios that a mapping made dirty and that are counted in class other, because their file has no name any more";
    RequestsFull = 21, "requests_full", "block requests that had no place as they began or were issued: charged to nobody, and without a latency; bios for device-mapper, md and zram are not counted";
    DisksFull = 22, "disks_full", "block requests, their latencies or errors not counted: the maps of devices, targets and classes are full";
    MergedBios = 23, "merged_bios", "block requests of so many parts that the bytes of the last ones were charged as those of the first";
    WaitsFull = 24, "waits_full", "sync calls for which no journal I/O was charged: the map of file systems is full";
    SyncersFull = 25, "syncers_full", "sync calls whose whole time is in phase other: more were in flight than the map holds";
    ActivitiesFull = 26, "activities_full", "sync calls and block requests whose part in the phases device, queue and flush is in other or journal: I/O of more files was in flight than the map holds";
    SlowFull = 27, "slow_full", "slow calls that are not in the list of slow calls: they came faster than the agent took them, or one in the middle of another";
    MissedCompletion = 28, "missed_completion", "block requests not counted: their end was never seen";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_distinct_names() {
        for (i, (name, what)) in LOST.iter().enumerate() {
            assert!(!what.is_empty() && LOST[..i].iter().all(|(other, _)| other != name));
        }
    }
}
