//! What the agent makes of recorded kernels, and of kernels that lack something.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use stemedb_btf_tests::asked::Asked;
use stemedb_btf_tests::fixtures::{self, Fixture};
use stemedb_btf_tests::reduce::reduce;
use stemedb_btf_tests::report::{self, MODES, Rows, report};
use stemedb_probe::kernel::btf::{self, Resolution};
use stemedb_probe::kernel::syscalls::Arch;

/// The answer of a kernel to one question.
fn answer(rows: &Rows, question: &str) -> Result<String> {
    let row = rows.iter().find(|(asked, _)| asked == question).with_context(|| format!("no row {question}"))?;
    Ok(row.1.clone())
}

fn of(name: &str) -> Result<Rows> {
    Ok(report(&Fixture::named(name)?.resolve()?))
}

/// The report of a kernel without a name.
fn without(fixture: &str, name: &str) -> Result<Rows> {
    Ok(report(&Fixture::named(fixture)?.without(name)?.resolve()?))
}

/// The questions whose answers differ.
fn changed(before: &Rows, after: &Rows) -> Vec<String> {
    before.iter().zip(after).filter(|(a, b)| a != b).map(|(row, _)| row.0.clone()).collect()
}

#[test]
fn every_kernel_gives_the_recorded_answers() -> Result<()> {
    let reports: Vec<(String, Rows)> = Fixture::all()?
        .iter()
        .map(|fixture| Ok((fixture.name.clone(), report(&fixture.resolve()?))))
        .collect::<Result<_>>()?;
    let (text, path) = (report::table(&reports), Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/kernels.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return Ok(std::fs::write(path, text)?);
    }
    let golden = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let first = golden.lines().zip(text.lines()).find(|(old, new)| old != new);
    ensure!(golden == text, "kernels.txt has changed, first {first:?}; if that is right: UPDATE_GOLDEN=1, and look");
    Ok(())
}

#[test]
fn the_fixtures_have_what_is_asked_now() -> Result<()> {
    let recorded = std::fs::read_to_string(fixtures::folder().join("asked.txt"))?;
    let now = Asked::now().text();
    let new: Vec<&str> = now.lines().filter(|line| !recorded.lines().any(|old| old == *line)).collect();
    ensure!(
        recorded == now,
        "the fixtures were reduced to another list (new: {new:?}); make them again as tests/btf/fixtures/README.md says"
    );
    Ok(())
}

#[test]
fn the_reduced_type_information_answers_as_the_whole_does() -> Result<()> {
    let whole = btf::resolve(Path::new(btf::VMLINUX), Arch::HOST).context("this test needs CONFIG_DEBUG_INFO_BTF")?;
    let reduced = btf::resolve_bytes(reduce(whole.kernel.all(), &Asked::now()), Path::new("reduced"), Arch::HOST)?;
    assert_eq!(report(&reduced), report(&whole));
    Ok(())
}

/// Read with `bpftool btf dump`, not by this code.
#[test]
fn known_facts_hold() -> Result<()> {
    for (kernel, inode, dentry, alias_head, submit, result) in [
        ("debian-6.1-amd64", "32", "24", "312", "io_uring_submit_sqe", "an argument, if any"),
        ("debian-6.12-amd64", "40", "72", "304", "io_uring_submit_req", "an argument, if any"),
        ("linux-6.18-amd64", "32", "72", "312", "io_uring_submit_req", "in the cqe"),
    ] {
        let rows = of(kernel)?;
        assert_eq!(answer(&rows, "offset file.f_inode")?, inode, "{kernel}");
        assert_eq!(answer(&rows, "offset file.f_path.dentry")?, dentry, "{kernel}");
        assert_eq!(answer(&rows, "offset inode.i_dentry.first")?, alias_head, "{kernel}");
        let uring = answer(&rows, "hook uring by io_uring_submit+complete")?;
        assert!(uring.split(", ").any(|place| place == format!("tracepoint {submit}")), "{kernel}: {uring}");
        assert_eq!(answer(&rows, "result of io_uring_complete")?, result, "{kernel}");
    }
    Ok(())
}

#[test]
fn arm64_has_its_own_registers_and_function_names() -> Result<()> {
    for fixture in Fixture::all()?.iter().filter(|fixture| fixture.name.ends_with("-arm64")) {
        let rows = report(&fixture.resolve()?);
        // arch/arm64/include/asm/ptrace.h: user_pt_regs (31 registers, sp, pc, pstate), orig_x0, syscallno
        for (register, offset) in [("regs", "0"), ("orig_x0", "272"), ("syscallno", "280"), ("di", "absent")] {
            assert_eq!(answer(&rows, &format!("offset pt_regs.{register}"))?, offset, "{}", fixture.name);
        }
        let sync = answer(&rows, "hook sync by sync_system_calls")?;
        for function in ["exit __arm64_sys_sync", "entry __arm64_compat_sys_aarch32_sync_file_range2"] {
            assert!(sync.split(", ").any(|place| place == function), "{}: {sync}", fixture.name);
        }
        // The other architecture's registers are not to be had here.
        let other = btf::resolve_bytes(fixture.bytes.clone(), Path::new("arm64.btf"), Arch::X86_64);
        let error = other.err().context("taken for x86-64")?.to_string();
        assert!(error.contains("pt_regs.orig_ax"), "{error}");
    }
    Ok(())
}

#[test]
fn a_missing_tracepoint_turns_off_what_needs_it_and_nothing_else() -> Result<()> {
    let before = of("debian-6.12-amd64")?;
    let after = without("debian-6.12-amd64", "btf_trace_io_uring_submit_req")?;
    let changed = changed(&before, &after);
    assert!(changed.len() == 1 + MODES.len() && changed.iter().all(|row| row.contains("uring")), "{changed:?}");
    assert_eq!(
        answer(&after, "--hooks auto: uring")?,
        "off: tp_btf:io_uring_submit+complete: this kernel has no tracepoint io_uring_submit_req, this kernel has no \
         tracepoint io_uring_submit_sqe"
    );
    Ok(())
}

#[test]
fn a_missing_field_turns_off_what_needs_it_and_nothing_else() -> Result<()> {
    let before = of("linux-6.18-amd64")?;
    let after = without("linux-6.18-amd64", "vm_file")?;
    let changed = changed(&before, &after);
    let expected = |row: &String| row.contains("msync_file") || row == "offset vm_area_struct.vm_file";
    assert!(changed.len() == 5 && changed.iter().all(expected), "{changed:?}");
    assert_eq!(
        answer(&after, "--hooks auto: msync_file")?,
        "off: bpf_find_vma: this kernel's type information has no vm_area_struct.vm_file"
    );
    Ok(())
}

#[test]
fn an_argument_of_another_type_is_refused() -> Result<()> {
    let after = without("debian-6.12-amd64", "linux_binprm")?;
    assert_eq!(
        answer(&after, "--hooks auto: process")?,
        "error: cannot get the capability process: tp_btf:sched_process_fork+exec+exit: argument 2 of tracepoint \
         sched_process_exec is not a pointer to struct linux_binprm here; `stemedb-probe doctor` shows what this kernel \
         allows"
    );
    Ok(())
}

#[test]
fn without_a_function_its_hook_gives_way_to_the_next() -> Result<()> {
    let after = without("debian-6.12-amd64", "__x64_sys_fdatasync")?;
    let sync = answer(&after, "--hooks auto: sync")?;
    let why = "this kernel has no function __x64_sys_fdatasync";
    assert_eq!(sync, format!("tp_btf:sys_enter+sys_exit: fentry:sync_system_calls: {why}"));
    // Where it was asked for by name, there is no next.
    let sync = answer(&after, "--hooks fentry: sync")?;
    assert!(sync.starts_with("error: cannot get the capability sync") && sync.contains(why), "{sync}");
    assert!(answer(&after, "--hooks fentry: write")?.starts_with("fentry:"));
    Ok(())
}

#[test]
fn a_missing_system_call_tracepoint_is_an_error_only_where_it_is_needed() -> Result<()> {
    let after = without("debian-6.12-arm64", "btf_trace_sys_enter")?;
    assert!(answer(&after, "--hooks auto: write")?.starts_with("fentry:write_system_calls"));
    let write = answer(&after, "--hooks tracepoint: write")?;
    assert!(write.starts_with("error: cannot get the capability write"), "{write}");
    assert!(write.contains("this kernel has no tracepoint sys_enter"), "{write}");
    Ok(())
}

#[test]
fn a_missing_field_that_nothing_works_without_is_an_error() -> Result<()> {
    for (kernel, name, missing) in [
        ("linux-6.18-amd64", "fdt", "files_struct.fdt"),
        ("debian-6.1-amd64", "orig_ax", "pt_regs.orig_ax"),
        ("debian-6.1-arm64", "orig_x0", "pt_regs.orig_x0"),
    ] {
        let error = Fixture::named(kernel)?.without(name)?.resolve().map(drop).err().context(name)?.to_string();
        assert!(error.starts_with(&format!("{kernel} has no {missing}: ")), "{error}");
    }
    Ok(())
}

#[test]
fn a_missing_helper_is_named_with_its_version() -> Result<()> {
    let after: Resolution = Fixture::named("debian-6.1-amd64")?.without("BPF_FUNC_find_vma")?.resolve()?;
    let msync = answer(&report(&after), "--hooks auto: msync_file")?;
    assert!(msync.ends_with("the helper bpf_find_vma came with Linux 5.17"), "{msync}");
    Ok(())
}
