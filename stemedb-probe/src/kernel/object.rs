//! Loads the object, proves the offsets, attaches the programs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::maps::{Array, MapData, MapError};
use aya::programs::{BtfTracePoint, Program, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use stemedb_ebpf::offsets::Offsets;
use stemedb_ebpf::ops::{ASYNC_OP, COMPAT, NO_OP, OPS};
use stemedb_ebpf::{MAX_SYSCALLS, Resolved, SYNC_CELL, Settings};

use super::btf::{self, BtfError, Resolution};
use super::hooks::{CAPABILITIES, Capability, Hook, Verdict};
use super::programs::{self, ProgramFigures};
use super::testrun;

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
    pub named_directories: u64,
}

impl Sizes {
    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> u32 {
        self.targets * self.classes
    }
}

/// The loaded object.
pub struct Kernel {
    ebpf: Ebpf,
    verdicts: Vec<Verdict>,
    attached: Vec<&'static str>,
    /// Only until everything is attached: it is large.
    aya_btf: Option<Btf>,
    offsets: Resolution,
    sizes: Sizes,
}

impl Kernel {
    /// Loads the object for a configuration, with the kernel's BTF or that of `btf`. Nothing is attached yet.
    pub fn load(sizes: Sizes, btf: Option<&Path>) -> Result<Self, KernelError> {
        let path = btf.unwrap_or(Path::new(btf::VMLINUX));
        let offsets = btf::resolve(path)?;
        let aya_btf = Btf::parse_file(path, aya::Endianness::default())
            .map_err(|error| BtfError::Parse { path: path.to_owned(), why: error.to_string() })?;
        let settings = settings(sizes, &offsets);
        let ebpf = EbpfLoader::new()
            .btf(Some(&aya_btf))
            .override_global::<&Offsets>("OFFSETS", &offsets.offsets, true)
            .override_global::<&Settings>("SETTINGS", &settings, true)
            .map_max_entries("SYNC_STATS", sizes.cells() * SYNC_CELL)
            .map_max_entries("WRITE_STATS", sizes.cells())
            .load(OBJECT)?;
        let mut kernel =
            Self { ebpf, verdicts: Vec::new(), attached: Vec::new(), aya_btf: Some(aya_btf), offsets, sizes };
        kernel.load_resolve()?;
        kernel.prove_offsets()?;
        Ok(kernel)
    }

    /// What became of each capability.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Attaches what every capability of `names` needs. A required one that cannot be had is an error.
    pub fn attach(&mut self, names: &[&str]) -> Result<(), KernelError> {
        for capability in CAPABILITIES.iter().filter(|capability| names.contains(&capability.name)) {
            let verdict = self.attach_best(capability);
            if let (None, true) = (verdict.hook, capability.required) {
                return Err(KernelError::Required { capability: capability.name, why: verdict.why });
            }
            self.verdicts.push(verdict);
        }
        Ok(())
    }

    /// Gives back the memory that only loading needs; nothing can be attached any more.
    pub fn settle(&mut self) {
        self.aya_btf = None;
        #[cfg(target_env = "gnu")]
        // SAFETY: the call has no precondition.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    fn attach_best(&mut self, capability: &'static Capability) -> Verdict {
        if capability.name == "cgroup" && !self.sizes.cgroups {
            return Verdict::off(capability, "no cgroup or unit rule is configured, so nothing is attached for it");
        }
        if capability.name == "exe" && !self.sizes.exe_paths {
            return Verdict::off(capability, "no exe rule is configured, so no path is read");
        }
        if capability.name == "msync_file" && !self.offsets.find_vma {
            return Verdict::off(capability, "the helper bpf_find_vma came with Linux 5.17");
        }
        let mut refused = Vec::new();
        for hook in capability.hooks {
            match self.attach_hook(hook) {
                Ok(()) => {
                    let why = if refused.is_empty() {
                        "the first choice, which this kernel allows".to_owned()
                    } else {
                        refused.join("; ")
                    };
                    return Verdict::on(capability, hook, why);
                }
                Err(why) => refused.push(format!("{}: {why}", hook.name)),
            }
        }
        Verdict::off(capability, refused.join("; "))
    }

    fn attach_hook(&mut self, hook: &Hook) -> Result<(), String> {
        for need in hook.needs {
            if let Some(missing) = self.offsets.lacks(*need) {
                return Err(format!("this kernel's type information has no {missing}"));
            }
        }
        for name in hook.programs {
            if !self.attached.contains(name) {
                self.attach_program(name).map_err(|error| explain(&error))?;
                self.attached.push(name);
            }
        }
        Ok(())
    }

    fn attach_program(&mut self, name: &str) -> Result<(), ProgramError> {
        let program: &mut BtfTracePoint = program_mut(&mut self.ebpf, name)?;
        let btf = self.aya_btf.as_ref().ok_or(ProgramError::NotLoaded)?;
        program.load(name, btf)?;
        program.attach()?;
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
                path: self.offsets.path.display().to_string(),
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
                path: self.offsets.path.display().to_string(),
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
        let figures = |name: &&str| {
            let fd = self.ebpf.program(name)?.fd().ok()?;
            programs::figures(name, fd.as_fd()).ok()
        };
        self.attached.iter().filter_map(figures).collect()
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

fn program_mut<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut P, ProgramError>
where
    &'e mut P: TryFrom<&'e mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// The kernel's answer; of a verifier's log the last lines, which hold the reason.
fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let tail: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
            log::debug!("verifier log:\n{log}");
            format!(
                "the kernel refused the program: {io_error} ({})",
                tail.into_iter().rev().collect::<Vec<_>>().join(" / ")
            )
        }
        ProgramError::Btf(error) => format!("no such tracepoint in this kernel's type information: {error}"),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        }
    }
}

fn fs_is(file: &std::fs::File, magics: &[libc::c_long]) -> bool {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and the kernel fills the structure when it answers 0.
    unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) == 0 && magics.contains(&stat.assume_init().f_type) }
}

fn settings(sizes: Sizes, offsets: &Resolution) -> Settings {
    let mut op_of_syscall = [NO_OP; MAX_SYSCALLS];
    for (op, number) in SYSCALLS {
        debug_assert!(OPS.iter().any(|row| row.name == *op));
        if let (Some(index), Ok(number)) = (OPS.iter().position(|row| row.name == *op), usize::try_from(*number))
            && let Some(slot) = op_of_syscall.get_mut(number)
        {
            *slot = u8::try_from(index).unwrap_or(NO_OP);
        }
    }
    for number in [libc::SYS_io_uring_enter, libc::SYS_io_submit] {
        if let Some(slot) = usize::try_from(number).ok().and_then(|number| op_of_syscall.get_mut(number)) {
            *slot = ASYNC_OP;
        }
    }
    for number in COMPAT_SYSCALLS {
        op_of_syscall[*number] |= COMPAT;
    }
    Settings {
        op_of_syscall,
        classes: sizes.classes,
        process_rules: sizes.process_rules,
        class_rules: sizes.class_rules,
        exe_paths: u32::from(sizes.exe_paths && offsets.lacks(stemedb_ebpf::offsets::Need::ExePath).is_none()),
        find_vma: u32::from(offsets.find_vma && offsets.lacks(stemedb_ebpf::offsets::Need::Msync).is_none()),
        zero: 0,
        named_directories: sizes.named_directories,
    }
}

/// The numbers of the system calls on this architecture, by the names in [`OPS`].
const SYSCALLS: &[(&str, libc::c_long)] = &[
    ("fsync", libc::SYS_fsync),
    ("fdatasync", libc::SYS_fdatasync),
    ("sync_file_range", libc::SYS_sync_file_range),
    ("msync", libc::SYS_msync),
    ("syncfs", libc::SYS_syncfs),
    ("sync", libc::SYS_sync),
    ("write", libc::SYS_write),
    ("pwrite64", libc::SYS_pwrite64),
    ("writev", libc::SYS_writev),
    ("pwritev", libc::SYS_pwritev),
    ("pwritev2", libc::SYS_pwritev2),
    ("sendfile", libc::SYS_sendfile),
    ("splice", libc::SYS_splice),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("fallocate", libc::SYS_fallocate),
];

/// The same calls in a 32-bit program (arch/x86/entry/syscalls/syscall_32.tbl, arm's is not decoded): they are not
/// followed, but counted as lost. From `write` to `pwritev2`.
const COMPAT_SYSCALLS: &[usize] = if cfg!(target_arch = "x86_64") {
    &[4, 36, 118, 144, 146, 148, 181, 187, 239, 313, 314, 324, 334, 344, 377, 379]
} else {
    &[]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_system_call() {
        assert_eq!(SYSCALLS.len(), OPS.len());
        for (op, (name, number)) in OPS.iter().zip(SYSCALLS) {
            assert_eq!(op.name, *name);
            assert!(usize::try_from(*number).unwrap() < MAX_SYSCALLS);
        }
    }
}
