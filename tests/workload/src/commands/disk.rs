//! Data that go to the disk, or come from it, by every way.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, ensure};
use stemedb_workload::sys::Mapping;
use stemedb_workload::{Tally, sys};

use super::{Place, crew};
use crate::control::Control;

/// What direct I/O is aligned to.
const PAGE: usize = 4096;

/// How data get to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// Written, and left to the kernel
    Buffered,
    /// Written, and synced after each write
    Synced,
    /// Written by `O_DIRECT`
    Direct,
    /// Read by `O_DIRECT`
    DirectRead,
    /// Stored to a mapping, and left to the kernel
    Mapped,
    /// Read, when no page of it is in memory
    Read,
    /// Written, and synced once a second `go` has come
    Late,
}

/// Writes, stores and reads files of its own, one by each way after the other; the files stay
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The ways
    #[arg(long = "way", value_enum, required = true)]
    ways: Vec<Way>,
    /// Calls by each way and each thread
    #[arg(long, default_value_t = 64)]
    calls: u64,
    /// Bytes of a call, whole pages
    #[arg(long, default_value_t = 16384)]
    size: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.size.is_multiple_of(PAGE) && args.size > 0, "--size: whole pages of {PAGE} bytes");
    let control = Control::new()?;
    fs::create_dir_all(&args.place.dir)?;
    let prepare = |index| args.ways.iter().map(|way| Work::new(args, *way, index)).collect::<Result<Vec<_>>>();
    let work = |mut all: Vec<Work>| {
        let mut tally = Tally::new();
        for one in &mut all {
            one.run(&mut tally, args, &control)?;
        }
        Ok(tally)
    };
    let mut tally = Tally::new();
    for part in crew::run(&control, args.place.threads, prepare, work)? {
        tally.merge(&part);
    }
    control.finish(&tally)
}

/// A file that is ready to be worked on.
struct Work {
    way: Way,
    file: File,
    /// Aligned within.
    data: Vec<u8>,
}

impl Work {
    fn new(args: &Args, way: Way, index: u64) -> Result<Self> {
        let path = args.place.dir.join(format!("{way:?}-{}-{index}", std::process::id()).to_lowercase());
        let mut options = File::options();
        options.read(true).write(true).create(true);
        if matches!(way, Way::Direct | Way::DirectRead) {
            options.custom_flags(libc::O_DIRECT);
        }
        let file = options.open(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut work = Self { way, file, data: vec![b'd'; args.size + PAGE] };
        // What is written directly is there already, so that nothing else is: no space is taken, and nothing journalled.
        if matches!(way, Way::Read | Way::DirectRead | Way::Direct) {
            for call in 0..args.calls {
                sys::pwrite(work.file.as_raw_fd(), work.aligned(args.size), call * args.size as u64)?;
            }
            work.file.sync_all()?;
            sys::forget_pages(work.file.as_raw_fd())?;
        } else if way == Way::Mapped {
            work.file.set_len(args.calls * args.size as u64)?;
            work.file.sync_all()?;
        }
        Ok(work)
    }

    fn aligned(&mut self, size: usize) -> &mut [u8] {
        let start = self.data.as_ptr().align_offset(PAGE);
        &mut self.data[start..start + size]
    }

    fn run(&mut self, tally: &mut Tally, args: &Args, control: &Control) -> Result<()> {
        let file = self.file.try_clone()?;
        let (way, size) = (self.way, args.size);
        let mut calls = tally.on(&args.place.class);
        match way {
            Way::Read | Way::DirectRead => {
                for _ in 0..args.calls {
                    (&file).read_exact(self.aligned(size))?;
                }
            }
            Way::Mapped => Mapping::new(&file, usize::try_from(args.calls)? * size)?.touch(PAGE, b'm'),
            Way::Buffered | Way::Synced | Way::Direct | Way::Late => {
                for call in 0..args.calls {
                    // What fails is in the tally.
                    let _ = calls.pwrite(&file, self.aligned(size), call * size as u64);
                    if way == Way::Synced {
                        let _ = calls.fsync(&file);
                    }
                }
                if way == Way::Late {
                    control.half_time()?;
                    let _ = calls.fsync(&file);
                }
            }
        }
        Ok(())
    }
}
