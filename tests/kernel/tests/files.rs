//! The right class every time, whatever happens to files and directories. The test itself is the target.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::{Agent, Status};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::{scaled, wait_for};
use stemedb_workload::{Op, Tally};

/// A generous limit for what the agent measures some seconds later.
const SOON: Duration = Duration::from_mins(1);

/// A file system, the class directories on it, and an agent that watches this process.
struct Scene {
    agent: Agent,
    tally: Tally,
    wal: PathBuf,
    store: PathBuf,
    mount: Mount,
}

impl Scene {
    fn new(kind: &str) -> Result<Self> {
        let mount = Mount::new(kind)?;
        let (wal, store) = (mount.dir("wal")?, mount.dir("store")?);
        let agent = watch_self(&[("wal", &wal), ("store", &store)])?;
        Ok(Self { agent, tally: Tally::new(), wal, store, mount })
    }

    /// Writes to a file and syncs it, as a call of `class`.
    fn touch(&mut self, class: &str, file: &File) -> Result<()> {
        self.tally.on(class).write(file, b"an entry")?;
        self.tally.on(class).fsync(file)?;
        Ok(())
    }

    /// The same for a new file.
    fn make(&mut self, class: &str, path: &Path) -> Result<File> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        self.touch(class, &file)?;
        Ok(file)
    }

    /// The classes agree to the unit, and nothing is missing. Class `other` is left out where the test harness itself
    /// may write its report to a file.
    fn check(&self) -> Result<Status> {
        let status = self.agent.status()?;
        let classes: Vec<_> = status.series.iter().map(|one| (&one.class, &one.op, one.calls)).collect();
        println!("{classes:?}, lost {:?}", status.losses());
        for class in ["wal", "store"] {
            for op in [Op::Write, Op::Fsync] {
                let name = stemedb_ebpf::ops::OPS[op as usize].name;
                assert_eq!(status.calls(class, name), self.tally.calls(class, op), "{class} {name}");
                assert_eq!(status.bytes(class, name), self.tally.bytes(class, op), "{class} {name}");
            }
        }
        assert!(status.losses().is_empty(), "{:?}", status.losses());
        Ok(status)
    }
}

fn watch_self(classes: &[(&str, &Path)]) -> Result<Agent> {
    Agent::watch(&format!("pid={}", std::process::id()), classes)
}

#[test]
fn a_thousand_rotated_segments() -> Result<()> {
    let segments = scaled(1000);
    let mut scene = Scene::new("ext4")?;
    for i in 0..segments {
        let (fresh, segment) = (scene.wal.join("fresh.tmp"), scene.wal.join(format!("{i:06}.log")));
        let file = scene.make("wal", &fresh)?;
        fs::rename(&fresh, &segment)?;
        scene.touch("wal", &file)?;
        fs::remove_file(&segment)?;
        scene.touch("wal", &file)?;
    }
    scene.check()?;
    let rotations =
        |status: Status| status.classes.iter().find(|class| class.class == "wal").map(|class| class.rotations);
    wait_for("every rotation", Duration::from_secs(10), || {
        rotations(scene.agent.status().ok()?).filter(|n| *n == segments)
    })?;
    Ok(())
}

#[test]
fn a_file_system_that_fills_up_is_seen_to() -> Result<()> {
    let scene = Scene::new("ext4")?;
    let df = || -> Result<(u64, u64)> {
        let output = Command::new("df").args(["--output=size,avail", "--block-size=1"]).arg(&scene.wal).output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut figures = text.lines().nth(1).context("no line")?.split_whitespace().map(str::parse);
        Ok((figures.next().context("no size")??, figures.next().context("no avail")??))
    };
    let seen = || -> Option<(f64, f64)> {
        let text = scene.agent.get("/metrics", "").ok()?;
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let name = |what: &str| format!("stemedb_wal_filesystem_{what}_bytes{{target=\"t\"}}");
        Some((of(&name("size"))?, of(&name("available"))?))
    };
    let as_floats = |(size, available): (u64, u64)| (size as f64, available as f64);
    let before = df()?;
    wait_for("the file system's figures", SOON, || seen().filter(|seen| *seen == as_floats(before)))?;
    fs::write(scene.wal.join("large"), vec![1; 20 << 20])?;
    File::open(scene.wal.join("large"))?.sync_all()?;
    let after = df()?;
    assert!(before.1 - after.1 >= 20 << 20, "{before:?} {after:?}");
    wait_for("what is left", SOON, || seen().filter(|seen| *seen == as_floats(after)))?;
    Ok(())
}

#[test]
fn groups_are_what_was_written_between_two_syncs() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let file = File::create(scene.wal.join("log"))?;
    for writes in [1, 2, 3, 100] {
        for _ in 0..writes {
            scene.tally.on("wal").write(&file, &[7; 100])?;
        }
        scene.tally.on("wal").fdatasync(&file)?;
    }
    scene.tally.on("wal").fdatasync(&file)?;
    let status = scene.check()?;
    let series = status.writes.iter().find(|series| series.class == "wal").context("no writes")?;
    assert_eq!((series.group_writes.sum, series.group_bytes.sum), (106, 10_600));
    // Slots of 0, 1, 2, 3 to 4, and 65 to 128 writes.
    assert_eq!(series.group_writes.slots, [(0, 1), (1, 1), (2, 1), (3, 1), (8, 1)]);
    assert_eq!(series.flush.count(), 4, "an empty sync flushes nothing");
    Ok(())
}

#[test]
fn bind_mounts_on_either_side() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let other_way = Mount::bind(&scene.wal)?;
    scene.make("wal", &other_way.path().join("through-the-bind-mount"))?;
    scene.check()?;
    // And configured by the bind mount, written at the original.
    let agent = watch_self(&[("wal", other_way.path())])?;
    let file = File::create(scene.wal.join("at-the-original"))?;
    let mut tally = Tally::new();
    tally.on("wal").write(&file, b"x")?;
    assert_eq!(agent.status()?.calls("wal", "write"), 1);
    Ok(())
}

#[test]
fn symlinks_and_hard_links() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let link = scene.mount.path().join("link");
    symlink(&scene.wal, &link)?;
    scene.make("wal", &link.join("through-a-symlink"))?;
    let in_store = scene.store.join("original");
    scene.make("store", &in_store)?;
    let in_wal = scene.wal.join("hard-link");
    fs::hard_link(&in_store, &in_wal)?;
    let file = OpenOptions::new().append(true).open(&in_wal)?;
    scene.touch("wal", &file)?;
    scene.check()?;
    let agent = watch_self(&[("wal", &link)])?;
    let file = File::create(scene.wal.join("configured-by-a-symlink"))?;
    Tally::new().on("wal").write(&file, b"x")?;
    assert_eq!(agent.status()?.calls("wal", "write"), 1);
    Ok(())
}

#[test]
fn files_without_a_name_and_directories_themselves() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(&scene.wal)?;
    scene.touch("wal", &file)?;
    let directory = File::open(&scene.wal)?;
    scene.tally.on("wal").fsync(&directory)?;
    let deep = scene.store.join("a/b/c/d");
    fs::create_dir_all(&deep)?;
    scene.make("store", &deep.join("table"))?;
    scene.check()?;
    Ok(())
}

#[test]
fn a_class_inside_another() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let data = mount.dir("data")?;
    let wal = mount.dir("data/wal")?;
    let agent = watch_self(&[("store", &data), ("wal", &wal)])?;
    let mut scene = Scene { agent, tally: Tally::new(), wal, store: data, mount };
    scene.make("wal", &scene.wal.join("log"))?;
    scene.make("store", &scene.store.join("table"))?;
    scene.check()?;
    // Each file is in one class.
    let counts =
        ["stemedb_wal_segments_count{target=\"t\"} 1", "stemedb_file_segments_count{target=\"t\",class=\"store\"} 1"];
    wait_for("the files to be counted", Duration::from_secs(30), || {
        let text = scene.agent.get("/metrics", "*/*").ok()?;
        counts.iter().all(|count| text.lines().any(|line| line == *count)).then_some(())
    })?;
    assert!(scene.mount.path().exists());
    Ok(())
}

#[test]
fn a_directory_that_appears_after_the_start() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let (wal, store) = (mount.path().join("db/a/b/wal"), mount.path().join("db/store"));
    let agent = watch_self(&[("wal", &wal), ("store", &store)])?;
    assert!(agent.log().contains("keeps looking"), "{}", agent.log());
    let mut scene = Scene { agent, tally: Tally::new(), wal: wal.clone(), store: store.clone(), mount };
    // At once: the agent has had no time to hear of it.
    fs::create_dir_all(&wal)?;
    scene.make("wal", &wal.join("first"))?;
    fs::create_dir(&store)?;
    scene.make("store", &store.join("first"))?;
    scene.check()?;
    assert!(scene.mount.path().exists());
    Ok(())
}

#[test]
fn a_directory_that_is_removed_and_made_again() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let elsewhere = scene.mount.path().join("elsewhere");
    let mut reused = 0;
    for i in 0..scaled(300) {
        let number = fs::metadata(&scene.wal)?.ino();
        let path = scene.wal.join("log");
        let file = scene.make("wal", &path)?;
        fs::remove_file(&path)?;
        fs::remove_dir(&scene.wal)?;
        // Its file is still open, and still of its class.
        scene.touch("wal", &file)?;
        drop(file);
        // Another directory may take its inode number, and must not take its class.
        fs::create_dir(&elsewhere)?;
        reused += u32::from(fs::metadata(&elsewhere)?.ino() == number);
        drop(scene.make("other", &elsewhere.join("log"))?);
        fs::remove_dir_all(&elsewhere)?;
        fs::create_dir(&scene.wal)?;
        if i % 3 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    scene.check()?;
    assert!(reused > 0, "no inode number was ever reused, so the test has shown nothing");
    Ok(())
}

#[test]
fn inode_numbers_that_are_reused_do_not_inherit() -> Result<()> {
    let rounds = scaled(1000);
    let mut scene = Scene::new("ext4")?;
    let mut reused = 0;
    for _ in 0..rounds {
        let (first, second) = (scene.wal.join("log"), scene.store.join("table"));
        let file = File::create(&first)?;
        scene.tally.on("wal").write(&file, b"never synced")?;
        let number = file.metadata()?.ino();
        drop(file);
        fs::remove_file(&first)?;
        let file = scene.make("store", &second)?;
        reused += u64::from(file.metadata()?.ino() == number);
        drop(file);
        fs::remove_file(&second)?;
    }
    let status = scene.check()?;
    assert!(reused > rounds / 10, "inode numbers were reused only {reused} times");
    let series = status.writes.iter().find(|series| series.class == "store").context("no writes")?;
    assert_eq!(series.group_writes.slots, [(1, rounds)], "each sync covers its own file's one write");
    Ok(())
}

#[test]
fn names_decide_before_directories() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let data = mount.dir("data")?;
    let agent = watch_self(&[("store", &data), ("wal", Path::new("*-wal")), ("wal", Path::new("*.journal"))])?;
    let mut scene = Scene { agent, tally: Tally::new(), wal: data.clone(), store: data.clone(), mount };
    scene.make("store", &data.join("db.sqlite"))?;
    scene.make("wal", &data.join("db.sqlite-wal"))?;
    scene.make("wal", &data.join("x.journal"))?;
    scene.make("store", &data.join("x.journal2"))?;
    // A rename changes the class with the name.
    let file = scene.make("store", &data.join("fresh"))?;
    fs::rename(data.join("fresh"), data.join("fresh-wal"))?;
    scene.touch("wal", &file)?;
    scene.check()?;
    assert!(scene.mount.path().exists());
    Ok(())
}

#[test]
fn deeper_than_the_kernel_side_looks_is_counted_as_such() -> Result<()> {
    let scene = Scene::new("tmpfs")?;
    let levels = |n: usize| (0..n).fold(scene.store.clone(), |path, i| path.join(format!("{i}")));
    let (near, far) = (levels(15), levels(17));
    fs::create_dir_all(&far)?;
    let mut tally = Tally::new();
    for dir in [&near, &far] {
        tally.on("store").write(&File::create(dir.join("file"))?, b"x")?;
    }
    let status = scene.agent.status()?;
    assert_eq!(status.calls("store", "write"), 1);
    assert_eq!(status.losses(), [("class_depth", 1)]);
    Ok(())
}

#[test]
fn a_directory_that_was_moved_away_gives_its_class_to_its_successor() -> Result<()> {
    let mut scene = Scene::new("ext4")?;
    let old = scene.mount.path().join("old");
    fs::rename(&scene.wal, &old)?;
    fs::create_dir(&scene.wal)?;
    scene.make("wal", &scene.wal.join("log"))?;
    // Until the agent has heard of it the old directory is still known by its inode.
    wait_for("the old directory to be an ordinary one", Duration::from_secs(20), || {
        let before = scene.agent.status().ok()?.calls("wal", "write");
        let file = File::create(old.join("archive")).ok()?;
        Tally::new().on("other").write(&file, b"x").ok()?;
        (scene.agent.status().ok()?.calls("wal", "write") == before).then_some(())
    })?;
    Ok(())
}
