//! Where the time of sync calls goes, each phase against a witness of its own: the scheduler's figures of the thread, a disk that
//! stands still for a time that is known, the events of the journal and of the disk.

mod phases {
    mod disk;
    mod journal;
    mod locks;
    mod missing;
    mod requests;
    mod scheduler;
    mod sum;
    mod work;
}
