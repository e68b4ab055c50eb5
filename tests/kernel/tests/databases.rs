//! Real databases, known by their profiles, against what strace and they themselves count.

mod databases {
    mod etcd;
    mod libraries;
    mod node;
    mod postgres;
    mod redis;
    mod stemedb;
}
