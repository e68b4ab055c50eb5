//! Attaches what each capability needs, by the best hook that this kernel allows, and says why not by a better one.

use aya::programs::{BtfTracePoint, FEntry, FExit, ProgramError, ProgramFd, RawTracePoint};
use aya::{Btf, Ebpf};
use stemedb_ebpf::phases::{MAX_SYNCERS, Syncers};

use super::btf::Resolution;
use super::capabilities::CAPABILITIES;
use super::hooks::{Arg, Attach, Capability, Hook, Mode, Place, Point, Verdict};
use super::object::{Choice, Kernel, KernelError, program_mut};
use super::symbols::KALLSYMS;
use super::syscalls;
use super::types::Kind;
use crate::disks;

/// The capability whose programs are attached only where there are devices for it: each bio of every other device passes them, too.
const BIO: &str = "bio";
/// The one argument of every function of a system call.
const SYSCALL_ARGS: &[Arg] = &[Arg::To("pt_regs")];

/// What the kernel side begins with when it sees the scheduler's events.
static NONE_IN_FLIGHT: Syncers = Syncers { in_flight: 0, requests: 0, on: 1, told: 0, ids: [0; MAX_SYNCERS] };
/// The same where it knows for what threads wait.
static NONE_AND_TOLD: Syncers = Syncers { told: 1, ..NONE_IN_FLIGHT };

/// A program that runs. It is detached when this is dropped.
pub(super) struct Attached {
    /// Its name in the object; with the function where one program is on several.
    pub(super) name: String,
    /// The program itself, for its figures.
    pub(super) program: ProgramFd,
    _link: Box<dyn Send>,
}

impl Kernel {
    /// Attaches what every capability of `names` needs. A required one that cannot be had is an error.
    pub fn attach(&mut self, names: &[&str]) -> Result<(), KernelError> {
        for capability in CAPABILITIES.iter().filter(|capability| names.contains(&capability.name)) {
            let verdict = self.attach_best(capability);
            // Sync calls are hooked later, so that none is in flight yet.
            if capability.name == "sched" && verdict.hook.is_some() {
                self.fill("SYNCERS", std::slice::from_ref(&NONE_IN_FLIGHT))?;
            } else if capability.name == "wait_sites" && verdict.hook.is_some() && self.has("sched") {
                self.fill("SYNCERS", std::slice::from_ref(&NONE_AND_TOLD))?;
            }
            self.verdicts.push(demand(capability, verdict)?);
        }
        Ok(())
    }

    /// Detaches the programs of capabilities.
    pub fn detach(&mut self, names: &[&str]) {
        let hooks = CAPABILITIES.iter().filter(|one| names.contains(&one.name)).flat_map(|one| one.hooks);
        let programs: Vec<&str> = hooks.flat_map(|hook| hook.programs).map(|attach| attach.program).collect();
        self.attached.retain(|one| !programs.contains(&one.name.as_str()));
    }

    /// Whether a capability is there.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.verdicts.iter().any(|verdict| verdict.capability == capability && verdict.hook.is_some())
    }

    fn attach_best(&mut self, capability: &'static Capability) -> Verdict {
        if self.leaves_out(capability.name) {
            return Verdict::off(capability, "left out by --without");
        }
        if capability.name == "cgroup" && !self.sizes.cgroups {
            return Verdict::off(capability, "no cgroup or unit rule is configured, so nothing is attached for it");
        }
        if capability.name == "exe" && !self.sizes.exe_paths {
            return Verdict::off(capability, "no exe rule is configured, so no path is read");
        }
        let addresses = match capability.name {
            "journal" => self.symbols.ends != 0,
            "wait_sites" => self.symbols.waits != 0,
            _ => true,
        };
        if !addresses {
            return Verdict::off(
                capability,
                format!("{KALLSYMS} tells no addresses: CAP_SYSLOG, or a lower kernel.kptr_restrict"),
            );
        }
        let sleeps = capability.name == BIO && !disks::any_takes_bios();
        let mut verdict = self.choice.best(capability, |hook, by_function| self.attach_hook(hook, by_function, sleeps));
        if sleeps && verdict.hook.is_some() {
            "no such device is there: its programs are loaded, and attached when one appears"
                .clone_into(&mut verdict.why);
        }
        verdict
    }

    /// Whether there are programs that wait until they are needed.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        !self.dormant.is_empty()
    }

    /// Attaches them, where there is something now that they are needed for.
    pub fn wake(&mut self) {
        if !self.sleeps() || !disks::any_takes_bios() {
            return;
        }
        let programs = std::mem::take(&mut self.dormant);
        let attached: Result<Vec<_>, _> = programs.into_iter().map(|one| one.start(&mut self.ebpf)).collect();
        let Some(verdict) = self.verdicts.iter_mut().find(|verdict| verdict.capability == BIO) else { return };
        match attached {
            Ok(attached) => {
                self.attached.extend(attached);
                "attached when the first such device appeared".clone_into(&mut verdict.why);
                log::info!("a device that takes bios has appeared: its I/O is counted from now on");
            }
            Err(error) => {
                (verdict.hook, verdict.why) = (None, explain(&error));
                log::error!("a device that takes bios has appeared, and its I/O is not counted: {}", verdict.why);
            }
        }
    }

    /// All of a hook's programs, or none.
    fn attach_hook(&mut self, hook: &Hook, by_function: bool, sleeps: bool) -> Result<(), String> {
        let Some((resolution, btf)) = &self.types else {
            return Err("everything has been attached already".to_owned());
        };
        let before = self.attached.len();
        for one in self.choice.plan(hook, by_function, resolution)? {
            if self.attached.iter().any(|other| other.name == one.name) {
                continue;
            }
            let done = one.load(&mut self.ebpf, btf).and_then(|()| {
                if sleeps {
                    self.dormant.push(one);
                } else {
                    self.attached.push(one.start(&mut self.ebpf)?);
                }
                Ok(())
            });
            if let Err(error) = done {
                self.attached.truncate(before);
                self.dormant.clear();
                return Err(explain(&error));
            }
        }
        Ok(())
    }
}

/// A capability that the agent is of no use without must be there.
fn demand(capability: &'static Capability, verdict: Verdict) -> Result<Verdict, KernelError> {
    if let (None, true) = (&verdict.hook, capability.required) {
        return Err(KernelError::Required { capability: capability.name, why: verdict.why });
    }
    Ok(verdict)
}

impl Choice {
    /// What would become of every capability, as far as the type information tells; the kernel itself may still refuse.
    pub fn judge(self, resolution: &Resolution) -> Vec<Result<Verdict, KernelError>> {
        let judge = |capability| {
            demand(capability, self.best(capability, |hook, more| self.plan(hook, more, resolution).map(drop)))
        };
        CAPABILITIES.iter().map(judge).collect()
    }

    /// The best hook of a capability that `attach` can attach; it is told whether any is by fentry.
    fn best(
        self,
        capability: &'static Capability,
        mut attach: impl FnMut(&Hook, bool) -> Result<(), String>,
    ) -> Verdict {
        let by_function = capability.hooks.iter().any(Hook::is_fentry);
        let mut refused = Vec::new();
        for hook in capability.hooks {
            let name = self.label(hook);
            match attach(hook, by_function) {
                Ok(()) => {
                    let why = if refused.is_empty() {
                        "the first choice, which this kernel allows".to_owned()
                    } else {
                        refused.join("; ")
                    };
                    return Verdict::on(capability, name, why);
                }
                Err(why) => refused.push(format!("{name}: {why}")),
            }
        }
        Verdict::off(capability, refused.join("; "))
    }

    /// Where a hook's programs would be attached; or why it cannot be used.
    pub fn plan(self, hook: &Hook, by_function: bool, resolution: &Resolution) -> Result<Vec<One>, String> {
        self.allows(hook, by_function)?;
        for need in hook.needs {
            if let Some(missing) = resolution.lacks(*need) {
                return Err(format!("this kernel's type information has no {missing}"));
            }
        }
        for (helper, since) in hook.helpers {
            if !resolution.kernel.has_helper(helper) {
                return Err(format!("the helper bpf_{helper} came with Linux {since}"));
            }
        }
        let mut all = Vec::new();
        for attach in hook.programs {
            all.extend(self.resolve(attach, resolution)?);
        }
        Ok(all)
    }

    /// A hook's name with the kind of its programs.
    #[must_use]
    pub fn label(self, hook: &Hook) -> String {
        match (hook.programs.is_empty(), hook.is_fentry(), self.raw) {
            (true, ..) => hook.name.to_owned(),
            (_, true, _) => format!("fentry:{}", hook.name),
            (_, _, true) => format!("raw_tp:{}", hook.name),
            _ => format!("tp_btf:{}", hook.name),
        }
    }

    /// Whether a hook can be used as the agent was asked to run.
    fn allows(self, hook: &Hook, by_function: bool) -> Result<(), String> {
        if hook.typed && self.raw {
            return Err(match self.mode {
                Mode::RawTracepoint => "ruled out by --hooks raw-tracepoint".to_owned(),
                _ => "this kernel has no type information of its own (CONFIG_DEBUG_INFO_BTF)".to_owned(),
            });
        }
        let fentry = hook.is_fentry();
        match self.mode {
            Mode::Tracepoint if fentry => Err("ruled out by --hooks tracepoint".to_owned()),
            Mode::Fentry if !fentry && by_function => Err("ruled out by --hooks fentry".to_owned()),
            _ => Ok(()),
        }
    }

    /// The places of a program on this kernel.
    fn resolve(self, attach: &Attach, resolution: &Resolution) -> Result<Vec<One>, String> {
        let (types, arch) = (&resolution.kernel, resolution.arch);
        let one = |kind, name: String, to: String| One { program: attach.program, kind, name, to };
        let function = |kind, point: &Point| {
            types.check(Kind::Function, point)?;
            Ok(vec![one(kind, attach.program.to_owned(), point.name.to_owned())])
        };
        let functions = |kind, names: Vec<String>| {
            let each = |to: String| {
                // The names live as long as the kernel's own; a point wants one for its message only.
                types.check_function(&to, SYSCALL_ARGS)?;
                Ok(one(kind, format!("{}:{to}", attach.program), to))
            };
            names.into_iter().map(each).collect()
        };
        match attach.place {
            Place::Tracepoint(points) => {
                let mut refused = Vec::new();
                for point in points {
                    match types.check(Kind::Tracepoint, point) {
                        Ok(()) => {
                            let kind = if self.raw { ProgramKind::RawTracepoint } else { ProgramKind::Tracepoint };
                            return Ok(vec![one(kind, attach.program.to_owned(), point.name.to_owned())]);
                        }
                        Err(why) => refused.push(why),
                    }
                }
                Err(refused.join(", "))
            }
            Place::Entry(point) => function(ProgramKind::Entry, &point),
            Place::Exit(point) => function(ProgramKind::Exit, &point),
            Place::SyscallEntry(family) => functions(ProgramKind::Entry, syscalls::functions(arch, family)),
            Place::SyscallExit(family) => functions(ProgramKind::Exit, syscalls::functions(arch, family)),
            Place::CompatEntry(family) => {
                let there =
                    syscalls::compat_functions(arch, family).into_iter().filter(|name| types.has_function(name));
                functions(ProgramKind::Entry, there.map(str::to_owned).collect())
            }
        }
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy)]
pub enum ProgramKind {
    /// To a tracepoint, by its type information.
    Tracepoint,
    /// To a tracepoint, without.
    RawTracepoint,
    /// To the begin of a function.
    Entry,
    /// To the end of a function.
    Exit,
}

/// One program at one place.
#[derive(Debug)]
pub struct One {
    /// Its name in the object.
    pub program: &'static str,
    /// How it is attached.
    pub kind: ProgramKind,
    /// The name by which it is known, which no other has.
    pub name: String,
    /// The tracepoint or function.
    pub to: String,
}

/// Attaches, and frees the program's slot in the object: the next function wants a program of its own from it.
macro_rules! start {
    ($ebpf:expr, $type:ty, $one:expr, |$program:ident| $attach:expr) => {{
        let $program: &mut $type = program_mut($ebpf, $one.program)?;
        let fd = $program.fd()?.try_clone()?;
        let link = $attach.and_then(|id| $program.take_link(id));
        $program.unload()?;
        Ok(Attached { name: $one.name, program: fd, _link: Box::new(link?) })
    }};
}

impl One {
    fn load(&self, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), ProgramError> {
        match self.kind {
            ProgramKind::Tracepoint => program_mut::<BtfTracePoint>(ebpf, self.program)?.load(&self.to, btf),
            ProgramKind::RawTracepoint => program_mut::<RawTracePoint>(ebpf, self.program)?.load(),
            ProgramKind::Entry => program_mut::<FEntry>(ebpf, self.program)?.load(&self.to, btf),
            ProgramKind::Exit => program_mut::<FExit>(ebpf, self.program)?.load(&self.to, btf),
        }
    }

    /// It has been loaded.
    fn start(self, ebpf: &mut Ebpf) -> Result<Attached, ProgramError> {
        match self.kind {
            ProgramKind::Tracepoint => start!(ebpf, BtfTracePoint, self, |program| program.attach()),
            ProgramKind::RawTracepoint => start!(ebpf, RawTracePoint, self, |program| program.attach(&self.to)),
            ProgramKind::Entry => start!(ebpf, FEntry, self, |program| program.attach()),
            ProgramKind::Exit => start!(ebpf, FExit, self, |program| program.attach()),
        }
    }
}

/// Whether a line of the verifier's log can say why: after the reason come its own statistics.
fn is_reason(line: &str) -> bool {
    const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];
    let line = line.trim();
    !line.is_empty() && !STATISTICS.iter().any(|words| line.starts_with(words))
}

/// The kernel's answer; of a verifier's log the last lines, which hold the reason.
pub(super) fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let tail: Vec<&str> = log.lines().rev().filter(|line| is_reason(line)).take(3).collect();
            log::debug!("verifier log:\n{log}");
            if tail.is_empty() {
                return format!("the kernel refused the program: {io_error}");
            }
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            format!("the kernel refused the program: {io_error} ({})", tail.join(" / "))
        }
        ProgramError::Btf(error) => format!("not in this kernel's type information: {error}"),
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
