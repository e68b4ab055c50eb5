//! Empty programs where the agent has its own: what the mechanism costs, whatever a program does.

use anyhow::{Context, Result, bail};
use aya::programs::{BtfTracePoint, FEntry, FExit};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use stemedb_kernel_tests::agent::Status;
use stemedb_probe::kernel::attach::{One, ProgramKind};
use stemedb_probe::kernel::btf::{VMLINUX, resolve};
use stemedb_probe::kernel::object::Choice;
use stemedb_probe::kernel::syscalls::Arch;
use stemedb_probe::kernel::{CAPABILITIES, Mode};

static OBJECT: &[u8] = include_bytes_aligned!(env!("STEMEDB_FLOOR_OBJECT"));

/// Where the agent's programs are.
pub(crate) struct Places(Vec<One>);

impl Places {
    /// As an agent tells of itself which hooks it uses.
    pub(crate) fn of(status: &Status) -> Result<Self> {
        let resolution = resolve(VMLINUX.as_ref(), Arch::HOST)?;
        let choice = Choice { mode: Mode::Auto, raw: false };
        let labels: Vec<&str> = status.capabilities.iter().filter_map(|one| one["hook"].as_str()).collect();
        let mut places: Vec<One> = Vec::new();
        for hook in CAPABILITIES.iter().flat_map(|capability| capability.hooks) {
            if !labels.contains(&choice.label(hook).as_str()) {
                continue;
            }
            let by_function = hook.is_fentry();
            for one in choice.plan(hook, by_function, &resolution).map_err(anyhow::Error::msg)? {
                if !places.iter().any(|other| other.name == one.name) {
                    places.push(one);
                }
            }
        }
        Ok(Self(places))
    }
}

/// The empty programs, which go when this is dropped.
pub(crate) struct Floor {
    _links: Vec<Box<dyn Send>>,
    _ebpf: Ebpf,
}

macro_rules! attach {
    ($ebpf:expr, $type:ty, $name:literal, $to:expr, $btf:expr) => {{
        let program: &mut $type = $ebpf.program_mut($name).context($name)?.try_into()?;
        program.load($to, $btf)?;
        let id = program.attach()?;
        let link = program.take_link(id)?;
        program.unload()?;
        Box::new(link) as Box<dyn Send>
    }};
}

impl Floor {
    pub(crate) fn attach(places: &Places) -> Result<Self> {
        let btf = Btf::from_sys_fs()?;
        let mut ebpf = EbpfLoader::new().btf(Some(&btf)).load(OBJECT)?;
        let mut links = Vec::new();
        for one in &places.0 {
            let to = one.to.as_str();
            links.push(match one.kind {
                ProgramKind::Tracepoint => attach!(ebpf, BtfTracePoint, "at_tracepoint", to, &btf),
                ProgramKind::Entry => attach!(ebpf, FEntry, "at_entry", to, &btf),
                ProgramKind::Exit => attach!(ebpf, FExit, "at_exit", to, &btf),
                ProgramKind::RawTracepoint => bail!("the empty programs want the kernel's type information"),
            });
        }
        Ok(Self { _links: links, _ebpf: ebpf })
    }
}
