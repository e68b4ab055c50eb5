//! How much memory this process may use.

use std::fs;
use std::path::Path;

/// Bytes: the least of the limits of its control groups (v1 or v2) and of what the machine has.
#[must_use]
pub fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of(line, Path::new("/sys/fs/cgroup")));
    limits.chain(machine(&fs::read_to_string("/proc/meminfo").unwrap_or_default())).min()
}

/// The least limit of a control group and those above it, by a line of /proc/self/cgroup (cgroups(7)).
fn limit_of(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        "memory" => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&root));
    // A group without a limit says `max`, or has no such file.
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

/// What the machine has, by /proc/meminfo.
fn machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "5000\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "7000\n");
        let limit = |line| limit_of(line, root.path());
        assert_eq!(limit("0::/a/b"), Some(5_000));
        assert_eq!(limit("0::/"), None, "the root has none");
        assert_eq!(limit("4:memory:/c/d"), Some(7_000));
        assert_eq!(limit("3:cpuset:/c"), None);
        assert_eq!(machine("MemTotal:       24105 kB\nMemFree: 1 kB\n"), Some(24_105 << 10));
        assert!(super::limit().unwrap() > 1 << 20);
    }
}
