//! Loads the object, proves the offsets, attaches the programs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::maps::{Array, MapData, MapError};
use aya::programs::{Program, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use stemedb_ebpf::disk::{DISK_OPS_EACH, LatencyStats, MAX_DISKS};
use stemedb_ebpf::offsets::{Need, Offsets};
use stemedb_ebpf::tables::{WAYS, cell_buckets};
use stemedb_ebpf::{MAX_TARGETS, RDONLY_CAST, RESULT_IS_ARGUMENT, RESULT_IS_IN_CQE, Resolved, SYNC_CELL, Settings};

use super::attach::{Attached, One, explain};
use super::btf::{self, BtfError, Resolution};
use super::capabilities::{COMPLETE_WITH_ERRNO, REQUEST_START, SWITCH_WITH_STATE, URING_COMPLETE_CQE};
use super::hooks::{Mode, Verdict};
use super::programs::{self, ProgramFigures};
use super::symbols;
use super::syscalls::{self, Arch};
use super::testrun;
use super::types::{Cast, FOLIO_HEAD, FOLIO_WRITEBACK, FUA, Kind, PREFLUSH, SWAP};
use crate::process;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("STEMEDB_EBPF_OBJECT"));

/// Why the kernel side does not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No type information.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object was refused as a whole.
    #[error(
        "the kernel refused the eBPF maps; where it says too many open files, raise `ulimit -n`, else `stemedb-probe doctor` shows what is missing"
    )]
    Load(#[from] aya::EbpfError),
    /// A program that cannot be done without was refused.
    #[error("cannot get the capability {capability}: {why}; `stemedb-probe doctor` shows what this kernel allows")]
    Required {
        /// Its name.
        capability: &'static str,
        /// What the kernel answered.
        why: String,
    },
    /// The offsets do not describe this kernel.
    #[error(
        "the type information {path} does not describe the running kernel: {why}; use this kernel's own file (`uname -r`)"
    )]
    Offsets {
        /// The file.
        path: String,
        /// What differed.
        why: String,
    },
    /// The agent's process ids are not the kernel's.
    #[error(
        "/proc says that this process is {own}, and the kernel that it is {global}: run the agent in the host's pid namespace with the host's /proc (for a container: hostPID, or --pid=host)"
    )]
    Pids {
        /// The id in /proc.
        own: String,
        /// The id in the kernel.
        global: u32,
    },
    /// A map of ours is missing or of another type.
    #[error("the eBPF object has no map {0}; it belongs to another version: run `cargo xtask build`")]
    Map(&'static str),
    /// The table of class directories is full.
    #[error(
        "there is no room for more class directories; {0} fit in where they are spread evenly: give fewer, or one above them"
    )]
    Directories(u32),
    /// A map operation failed.
    #[error("cannot use an eBPF map: {0}")]
    MapOperation(#[from] MapError),
    /// A program operation failed.
    #[error("cannot use an eBPF program: {0}")]
    Program(#[from] ProgramError),
    /// A system call failed.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
}

/// What the configuration asks of the object.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Number of targets.
    pub targets: u32,
    /// Number of classes, `other` included.
    pub classes: u32,
    /// Number of process rules.
    pub process_rules: u32,
    /// Number of class rules.
    pub class_rules: u32,
    /// Whether a rule needs the path of executables.
    pub exe_paths: bool,
    /// Whether a rule needs cgroups.
    pub cgroups: bool,
    /// One bit for each target that has classes by the names of directories.
    pub named_directories: [u64; MAX_TARGETS / 64],
    /// Bytes of the ring of slow calls, a power of two.
    pub slow_bytes: u32,
}

impl Sizes {
    /// Number of disks that figures are kept of, for each target and for nobody. Their memory is there from the start, for each
    /// processor, and limited.
    #[must_use]
    pub fn disks(&self, processors: u32) -> u32 {
        const BYTES: usize = 64 << 20;
        let each = size_of::<LatencyStats>() * DISK_OPS_EACH as usize * processors.max(1) as usize;
        let room = u32::try_from(BYTES / each).unwrap_or(u32::MAX);
        ((self.targets + 1) * MAX_DISKS).min(room.max(MAX_DISKS))
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> u32 {
        self.targets * self.classes
    }
}

/// The loaded object.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) attached: Vec<Attached>,
    /// Programs that are loaded, and attached when they are needed.
    pub(super) dormant: Vec<One>,
    /// Only until everything is attached: they are large.
    pub(super) types: Option<(Resolution, Btf)>,
    pub(super) sizes: Sizes,
    pub(super) choice: Choice,
    /// What the kernel side knows of functions by their addresses.
    pub(super) symbols: Known,
    without: Vec<String>,
    /// The names of the modules that were loaded then.
    modules: Option<Vec<u8>>,
    /// Where the type information comes from.
    path: String,
}

/// What the kernel side is loaded with.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// Which hooks to use.
    pub hooks: Mode,
    /// Type information, when not the kernel's own file.
    pub btf: Option<&'a Path>,
    /// Capabilities to do without.
    pub without: &'a [String],
}

/// Functions whose addresses the kernel side knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Those that end bios and buffers.
    pub(super) ends: usize,
    /// Those in which threads wait.
    pub(super) waits: usize,
}

/// How the kernel side is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What was asked for.
    pub mode: Mode,
    /// Whether the programs are raw tracepoints, for which the kernel needs no type information of its own.
    pub raw: bool,
}

impl Kernel {
    /// Loads the object for a configuration. Nothing is attached yet.
    pub fn load(sizes: Sizes, how: How<'_>) -> Result<Self, KernelError> {
        let How { hooks: mode, btf, .. } = how;
        // It takes the kernel tens of milliseconds to print them, in which there is something else to do.
        let modules = symbols::modules();
        let functions = std::thread::spawn(symbols::read);
        let own = Path::new(btf::VMLINUX);
        let path = btf.unwrap_or(own);
        let resolution = btf::resolve(path, Arch::HOST)?;
        let choice = Choice { mode, raw: mode == Mode::RawTracepoint || !own.exists() };
        let aya_btf = Btf::parse(resolution.kernel.all().bytes(), aya::Endianness::default())
            .map_err(|error| BtfError::Parse { path: path.to_owned(), why: error.to_string() })?;
        // Ids of another file are not those of the kernel.
        let cast = if path == own { resolution.kernel.cast() } else { None };
        let disks = if resolution.lacks(Need::Block).is_none() { sizes.disks(process::possible_cpus()) } else { 1 };
        let settings = settings(sizes, disks, &resolution, choice.raw, cast);
        let mut object = if choice.raw { raw_object() } else { OBJECT.to_vec() };
        put_cast(&mut object, cast);
        let ebpf = EbpfLoader::new()
            .btf(Some(&aya_btf))
            .override_global::<&Offsets>("OFFSETS", &resolution.offsets, true)
            .override_global::<&Settings>("SETTINGS", &settings, true)
            .map_max_entries("SYNC_STATS", sizes.cells() * SYNC_CELL)
            .map_max_entries("WRITE_STATS", sizes.cells())
            .map_max_entries("MAPPED_STATS", sizes.cells())
            .map_max_entries("LATENCY_CELLS", settings.latency_buckets)
            .map_max_entries("DISK_LATENCIES", settings.latency_buckets * WAYS)
            .map_max_entries("DISK_FLUSHES", disks)
            .map_max_entries("SLOW", sizes.slow_bytes)
            .load(&object)?;
        let mut kernel = Self {
            ebpf,
            verdicts: Vec::new(),
            attached: Vec::new(),
            dormant: Vec::new(),
            types: Some((resolution, aya_btf)),
            sizes,
            choice,
            symbols: Known::default(),
            without: how.without.to_vec(),
            modules: Some(modules),
            path: path.display().to_string(),
        };
        let functions =
            functions.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that reads it panicked")));
        kernel.know(functions)?;
        kernel.load_resolve()?;
        kernel.prove_offsets()?;
        Ok(kernel)
    }

    /// What became of each capability.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Gives back the memory that only loading needs; nothing can be attached any more.
    pub fn settle(&mut self) {
        self.types = None;
        forget_object();
        #[cfg(target_env = "gnu")]
        // SAFETY: the call has no precondition.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Whether a capability is not wanted.
    pub(super) fn leaves_out(&self, capability: &str) -> bool {
        self.without.iter().any(|name| name == capability)
    }

    /// Tells the kernel side which functions end which bios, and in which threads wait for what, once more where modules have come
    /// or gone. Without that some origins and some phases are not known.
    pub fn learn_functions(&mut self) -> Result<(), KernelError> {
        let names = symbols::modules();
        if self.modules.as_ref() == Some(&names) {
            return Ok(());
        }
        self.modules = Some(names);
        self.know(symbols::read())
    }

    fn know(&mut self, functions: std::io::Result<symbols::Functions>) -> Result<(), KernelError> {
        let mut found = match functions {
            Ok(found) => found,
            Err(error) => {
                // What is known stays known.
                log::warn!("cannot read {}: {error}", symbols::KALLSYMS);
                return Ok(());
            }
        };
        if self.leaves_out("journal") {
            found.ends.clear();
        }
        if self.leaves_out("wait_sites") {
            found.waits.clear();
        }
        self.symbols = Known { ends: found.ends.len(), waits: found.waits.len() };
        self.fill("WAIT_FUNCTIONS", &[symbols::table(&found.waits)])?;
        self.fill("END_FUNCTIONS", &[symbols::ends(&found.ends)])?;
        Ok(())
    }

    fn load_resolve(&mut self) -> Result<(), KernelError> {
        let program: &mut RawTracePoint = program_mut(&mut self.ebpf, "resolve")?;
        program.load().map_err(|error| KernelError::Required { capability: "files", why: explain(&error) })
    }

    /// Asks the kernel about an open file of this process.
    pub fn resolve(&self, file: BorrowedFd<'_>) -> Result<Resolved, KernelError> {
        let program = self.ebpf.program("resolve").ok_or(KernelError::Map("resolve"))?;
        let descriptor = u64::try_from(file.as_raw_fd()).unwrap_or(u64::MAX);
        let returned = testrun::run(program.fd()?.as_fd(), descriptor).map_err(|error| {
            KernelError::Io("the kernel did not run the program resolve (BPF_PROG_TEST_RUN)".to_owned(), error)
        })?;
        let answers: Array<&MapData, Resolved> =
            Array::try_from(self.ebpf.map("RESOLVED").ok_or(KernelError::Map("RESOLVED"))?)?;
        let answer = answers.get(&0, 0)?;
        if returned != 0 || answer.inode == 0 {
            return Err(KernelError::Offsets {
                path: self.path.clone(),
                why: "an open file of the agent could not be followed".to_owned(),
            });
        }
        Ok(answer)
    }

    /// A wrong offset must never become a wrong number: what the programs read about a file of ours is compared
    /// with what the kernel says by `fstat`.
    fn prove_offsets(&self) -> Result<(), KernelError> {
        let file = std::fs::File::open("/proc/self/exe")
            .map_err(|error| KernelError::Io("cannot open /proc/self/exe".to_owned(), error))?;
        let stat = file.metadata().map_err(|error| KernelError::Io("cannot stat /proc/self/exe".to_owned(), error))?;
        let answer = self.resolve(file.as_fd())?;
        let wrong = |what: &str, expected: String, got: String| {
            Err(KernelError::Offsets {
                path: self.path.clone(),
                why: format!("{what} of /proc/self/exe is {expected}, but the programs read {got}"),
            })
        };
        let own = std::fs::read_link("/proc/self").unwrap_or_default().to_string_lossy().into_owned();
        if own != answer.tgid.to_string() {
            return Err(KernelError::Pids { own, global: answer.tgid });
        }
        if answer.mode != stat.mode() {
            return wrong("the mode", format!("{:o}", stat.mode()), format!("{:o}", answer.mode));
        }
        // On btrfs and overlayfs the numbers of `fstat` are made up for the caller.
        let made_up = fs_is(&file, &[libc::BTRFS_SUPER_MAGIC, libc::OVERLAYFS_SUPER_MAGIC]);
        if !made_up && answer.ino != stat.ino() {
            return wrong("the inode", stat.ino().to_string(), answer.ino.to_string());
        }
        Ok(())
    }

    /// The figures that the kernel keeps about each attached program.
    #[must_use]
    pub fn program_figures(&self) -> Vec<ProgramFigures> {
        let attached = self.attached.iter().filter_map(|one| programs::figures(&one.name, one.program.as_fd()).ok());
        // Those that wait have none, and are named all the same.
        let dormant = self.dormant.iter().map(|one| ProgramFigures { name: one.name.clone(), ..Default::default() });
        let mut all: Vec<_> = attached.chain(dormant).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Fills an array from its beginning.
    pub fn fill<T: aya::Pod>(&mut self, name: &'static str, values: &[T]) -> Result<(), KernelError> {
        let mut map: Array<&mut MapData, T> = Array::try_from(self.ebpf.map_mut(name).ok_or(KernelError::Map(name))?)?;
        for (index, value) in (0..).zip(values) {
            map.set(index, value, 0)?;
        }
        Ok(())
    }

    /// Takes a map out, for its one owner. Programs that use it cannot be loaded once the owner is gone.
    pub fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(&mut self, name: &'static str) -> Result<M, KernelError> {
        Ok(M::try_from(self.ebpf.take_map(name).ok_or(KernelError::Map(name))?)?)
    }
}

/// Gives back the memory that the object's pages are in: they are the executable's, which has them if they are ever read again.
fn forget_object() {
    let page = usize::try_from(process::page_size()).unwrap_or(1 << 12);
    let start = OBJECT.as_ptr().addr().next_multiple_of(page);
    let end = (OBJECT.as_ptr().addr() + OBJECT.len()) / page * page;
    if start < end {
        // SAFETY: whole pages of a constant, which nobody has changed.
        unsafe {
            libc::madvise(OBJECT.as_ptr().with_addr(start).cast_mut().cast(), end - start, libc::MADV_DONTNEED);
        }
    }
}

/// The object with its tracepoint programs as raw ones. The kind of a program is the first part of its section's name, and
/// both have the same length and the same arguments.
fn raw_object() -> Vec<u8> {
    const TYPED: &[u8] = b"tp_btf/";
    const RAW: &[u8] = b"raw_tp/";
    let mut object = OBJECT.to_vec();
    let mut from = 0;
    while let Some(at) = object[from..].windows(TYPED.len()).position(|window| window == TYPED) {
        object[from + at..from + at + RAW.len()].copy_from_slice(RAW);
        from += at + RAW.len();
    }
    object
}

/// Puts calls of `bpf_rdonly_cast` where [`RDONLY_CAST`] stands for them; `r0 = 0` where the kernel has no such function, for then no program
/// comes there. (The kernel looks at calls before it knows what is never reached.)
fn put_cast(object: &mut [u8], cast: Option<Cast>) {
    const CALL: u8 = 0x85;
    const MOVE: u8 = 0xb7;
    /// `BPF_PSEUDO_KFUNC_CALL`, as source register.
    const OF_THE_KERNEL: u8 = 2 << 4;
    // Documentation/bpf/standardization/instruction-set.rst: operation, registers, offset, immediate value.
    let instruction = |operation: u8, registers: u8, value: u32| {
        let mut bytes = [operation, registers, 0, 0, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let stands = instruction(CALL, 0, RDONLY_CAST.cast_unsigned());
    let is = cast.map_or(instruction(MOVE, 0, 0), |cast| instruction(CALL, OF_THE_KERNEL, cast.function));
    // Sections of programs are aligned to instructions.
    for found in object.chunks_exact_mut(stands.len()).filter(|found| **found == stands) {
        found.copy_from_slice(&is);
    }
}

pub(super) fn program_mut<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut P, ProgramError>
where
    &'e mut P: TryFrom<&'e mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn fs_is(file: &std::fs::File, magics: &[libc::c_long]) -> bool {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and the kernel fills the structure when it answers 0.
    unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) == 0 && magics.contains(&stat.assume_init().f_type) }
}

fn settings(sizes: Sizes, disks: u32, resolution: &Resolution, raw: bool, cast: Option<Cast>) -> Settings {
    let types = &resolution.kernel;
    let has = |need| resolution.lacks(need).is_none();
    let in_cqe = types.check(Kind::Tracepoint, &URING_COMPLETE_CQE).is_ok();
    Settings {
        op_of_syscall: syscalls::by_number(),
        op_of_uring: syscalls::by_uring_opcode(),
        classes: sizes.classes,
        process_rules: sizes.process_rules,
        class_rules: sizes.class_rules,
        exe_paths: u32::from(sizes.exe_paths && has(Need::ExePath)),
        find_vma: u32::from(!raw && types.has_helper("find_vma") && has(Need::Msync)),
        typed: u32::from(!raw),
        uring_result: if in_cqe { RESULT_IS_IN_CQE } else { RESULT_IS_ARGUMENT },
        // Where the kernel has no such bit it has no such tracepoint either (5.18).
        folio_head_bit: types.constant(FOLIO_HEAD).unwrap_or(0),
        page_shift: process::page_size().trailing_zeros(),
        // Every kernel has these two that has the members which block I/O needs.
        preflush_bit: types.constant(PREFLUSH).unwrap_or(0),
        fua_bit: types.constant(FUA).unwrap_or(0),
        flush_sequence_bit: types.flush_sequence(),
        requests_start: u32::from(types.check(Kind::Tracepoint, &REQUEST_START).is_ok()),
        status_is_errno: u32::from(types.check(Kind::Tracepoint, &COMPLETE_WITH_ERRNO).is_ok()),
        targets: sizes.targets,
        latency_buckets: cell_buckets(disks * DISK_OPS_EACH),
        switch_state: u32::from(types.check(Kind::Tracepoint, &SWITCH_WITH_STATE).is_ok()),
        workers: u32::from(has(Need::Workers)),
        cast_type: cast.map_or(0, |cast| cast.to),
        paths: u32::from(has(Need::Paths) && has(Need::ExePath)),
        swap_flag: types.constant(SWAP).map_or(0, |bit| 1 << bit),
        // Every kernel has it; what is never set stands for none.
        folio_writeback_bit: types.constant(FOLIO_WRITEBACK).unwrap_or(63),
        named_directories: sizes.named_directories,
    }
}
