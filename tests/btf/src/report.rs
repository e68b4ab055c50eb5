//! What the agent makes of a kernel, as text.

use stemedb_ebpf::offsets::{ABSENT, FIELDS, Field};
use stemedb_probe::kernel::attach::{One, ProgramKind};
use stemedb_probe::kernel::btf::Resolution;
use stemedb_probe::kernel::capabilities::{COMPLETE_WITH_ERRNO, URING_COMPLETE_CQE};
use stemedb_probe::kernel::hooks::{Capability, Hook};
use stemedb_probe::kernel::object::Choice;
use stemedb_probe::kernel::types::{FOLIO_HEAD, FOLIO_WRITEBACK, FUA, Kind, PREFLUSH, SWAP};
use stemedb_probe::kernel::{CAPABILITIES, KernelError, Mode, Verdict};

/// The modes, as on the command line.
pub const MODES: [(&str, Choice); 4] = [
    ("auto", Choice { mode: Mode::Auto, raw: false }),
    ("fentry", Choice { mode: Mode::Fentry, raw: false }),
    ("tracepoint", Choice { mode: Mode::Tracepoint, raw: false }),
    ("raw-tracepoint", Choice { mode: Mode::RawTracepoint, raw: true }),
];

/// What is asked, and the answer, in one order for every kernel.
pub type Rows = Vec<(String, String)>;

/// Everything that the agent takes from type information.
#[must_use]
pub fn report(resolution: &Resolution) -> Rows {
    [offsets(resolution), constants(resolution), hooks(resolution), modes(resolution)].concat()
}

/// The reports of several kernels side by side: each answer once, with the kernels that give it.
#[must_use]
pub fn table(reports: &[(String, Rows)]) -> String {
    let questions = reports.first().map_or(&[][..], |(_, rows)| rows);
    let mut out = String::new();
    for (index, (question, _)) in questions.iter().enumerate() {
        let mut answers: Vec<(&str, Vec<&str>)> = Vec::new();
        for (kernel, rows) in reports {
            let answer = rows.get(index).map_or("", |(_, answer)| answer);
            match answers.iter_mut().find(|(known, _)| *known == answer) {
                Some((_, kernels)) => kernels.push(kernel),
                None => answers.push((answer, vec![kernel])),
            }
        }
        out.push_str(&format!("{question}\n"));
        for (answer, kernels) in &answers {
            let all = if answers.len() == 1 { "all".to_owned() } else { kernels.join(" ") };
            out.push_str(&format!("    {answer}\n        {all}\n"));
        }
    }
    out
}

fn offsets(resolution: &Resolution) -> Rows {
    let mut offsets = resolution.offsets;
    let row = |(field, offset): (&Field, &mut u32)| {
        let value = if *offset == ABSENT { "absent".to_owned() } else { offset.to_string() };
        (format!("offset {}.{}", field.of, field.members[0]), value)
    };
    FIELDS.iter().zip(offsets.iter_mut()).map(row).collect()
}

fn constants(resolution: &Resolution) -> Rows {
    let types = &resolution.kernel;
    let bit = |name: (&str, &str)| types.constant(name).map_or("absent".to_owned(), |value| value.to_string());
    let head = bit(FOLIO_HEAD);
    let errno = types.check(Kind::Tracepoint, &COMPLETE_WITH_ERRNO).is_ok();
    let in_cqe = types.check(Kind::Tracepoint, &URING_COMPLETE_CQE).is_ok();
    let result = if in_cqe { "in the cqe" } else { "an argument, if any" };
    let status = if errno { "an errno" } else { "a blk_status_t" };
    let row = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
    vec![
        row("constant PG_head", &head),
        row("constant PG_writeback", &bit(FOLIO_WRITEBACK)),
        row("constant __REQ_PREFLUSH", &bit(PREFLUSH)),
        row("constant __REQ_FUA", &bit(FUA)),
        row("constant __REQ_SWAP", &bit(SWAP)),
        row("bit of a step of a flush", &types.flush_sequence().to_string()),
        row("error of block_rq_complete", status),
        row("result of io_uring_complete", result),
        row(
            "kernel memory is read",
            if types.cast().is_some() { "by bpf_rdonly_cast" } else { "by bpf_probe_read_kernel" },
        ),
    ]
}

/// Every hook by itself, whatever mode would allow it.
fn hooks(resolution: &Resolution) -> Rows {
    let row = |capability: &Capability, hook: &Hook| {
        (format!("hook {} by {}", capability.name, hook.name), plan(hook, resolution))
    };
    CAPABILITIES.iter().flat_map(|one| one.hooks.iter().map(move |hook| row(one, hook))).collect()
}

fn plan(hook: &Hook, resolution: &Resolution) -> String {
    match MODES[0].1.plan(hook, false, resolution) {
        Ok(all) if all.is_empty() => "usable".to_owned(),
        Ok(all) => all.iter().map(place).collect::<Vec<_>>().join(", "),
        Err(why) => format!("no: {why}"),
    }
}

fn place(one: &One) -> String {
    let kind = match one.kind {
        ProgramKind::Tracepoint | ProgramKind::RawTracepoint => "tracepoint",
        ProgramKind::Entry => "entry",
        ProgramKind::Exit => "exit",
    };
    format!("{kind} {}", one.to)
}

/// What is chosen in each mode.
fn modes(resolution: &Resolution) -> Rows {
    let row =
        |mode: &str, capability: &Capability, verdict| (format!("--hooks {mode}: {}", capability.name), said(&verdict));
    MODES
        .iter()
        .flat_map(|(mode, choice)| {
            CAPABILITIES.iter().zip(choice.judge(resolution)).map(move |(one, verdict)| row(mode, one, verdict))
        })
        .collect()
}

fn said(verdict: &Result<Verdict, KernelError>) -> String {
    match verdict {
        Ok(Verdict { hook: Some(hook), why, .. }) => format!("{hook}: {why}"),
        Ok(Verdict { why, .. }) => format!("off: {why}"),
        Err(error) => format!("error: {error}"),
    }
}
