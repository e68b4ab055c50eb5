//! Whatever is wrong with what the agent is given, it says what, and what to do about it.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Result;
use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::outcome::Outcome;

#[path = "bad_input/clients.rs"]
mod clients;
#[path = "bad_input/later.rs"]
mod later;
#[path = "bad_input/type_information.rs"]
mod type_information;

/// Clap's and ours.
const BAD_USAGE: i32 = 2;
const FAILED: i32 = 1;

/// A user that may do nothing.
const NOBODY: u32 = 65_534;

/// Runs the agent with a configuration.
fn with_file(text: &[u8]) -> Result<(Outcome, Outcome)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("agent.toml");
    fs::write(&file, text)?;
    let path = file.display().to_string();
    Ok((Outcome::of_probe(&["run", "--config", &path])?, Outcome::of_probe(&["check-config", &path])?))
}

/// Demands that `run` and `check-config` both refuse a configuration.
fn refused_together(text: &[u8], words: &[&str]) -> Result<()> {
    let (run, check) = with_file(text)?;
    run.complains(BAD_USAGE, words)?;
    check.complains(BAD_USAGE, words)
}

/// The same for what the file alone is to blame for; it is named.
fn refused(text: &[u8], words: &[&str]) -> Result<()> {
    refused_together(text, &[words, &["agent.toml"]].concat())
}

#[test]
fn without_privileges() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("stemedb-probe");
    fs::copy(binary("stemedb-probe")?, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    for args in [&["run", "--listen", "127.0.0.1:0"][..], &["doctor"]] {
        let outcome = Outcome::of(Command::new(&copy).args(args).uid(NOBODY).gid(NOBODY))?;
        outcome.complains(FAILED, &["CAP_BPF", "CAP_PERFMON", "sudo", "setcap"])?;
        outcome.complains(FAILED, &[&copy.display().to_string()])?;
    }
    Ok(())
}

#[test]
fn a_port_that_is_taken() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let outcome = Outcome::of_probe(&["run", "--listen", &address, "--target", "t:comm=no-such-process"])?;
    outcome.complains(FAILED, &[&address, "--listen"])
}

#[test]
fn an_address_that_is_not_of_this_host() -> Result<()> {
    let outcome = Outcome::of_probe(&["run", "--listen", "192.0.2.1:9", "--target", "t:comm=no-such-process"])?;
    outcome.complains(FAILED, &["192.0.2.1:9", "--listen"])
}

#[test]
fn unknown_keys() -> Result<()> {
    refused(b"listn = '127.0.0.1:1'\n", &["\"listn\"", "did you mean \"listen\"?"])?;
    refused(b"[[target]]\nname = 'a'\nconm = 'b'\n", &["\"conm\"", "did you mean \"comm\"?", "[[target]] number 1"])?;
    refused(b"[[target]]\nname = 'a'\ncomm = 'b'\nclas = 'c'\n", &["\"clas\"", "did you mean \"class\"?"])
}

#[test]
fn not_toml() -> Result<()> {
    refused(b"listen = \n", &["TOML", "line 1"])?;
    refused(b"[[target\n", &["TOML"])?;
    refused(b"\0\0\0", &["TOML"])
}

#[test]
fn not_text() -> Result<()> {
    refused(b"listen = '\xff\xfe'\n", &["UTF-8"])
}

#[test]
fn wrong_values() -> Result<()> {
    refused(b"listen = 'localhost'\n", &["\"localhost\"", "ADDRESS:PORT"])?;
    refused(b"namespace = '9 lives'\n", &["\"9 lives\"", "letters"])?;
    // Flags could have given the rule.
    refused_together(b"[[target]]\nname = 'a'\n", &["\"a\"", "no rule", "--target a:comm="])?;
    refused(b"[[target]]\nname = 'a'\ncomm = 'sixteen-letters-'\n", &["sixteen-letters-", "comm=sixteen-letters*"])?;
    refused(b"[[target]]\nname = 'a'\ncomm = '[z'\n", &["[z"])?;
    refused(b"[[target]]\nname = 'a'\ncomm = 'b'\n[target.class]\nwal = 'w/x'\n", &["w/x", "absolute"])
}

#[test]
fn a_file_that_cannot_be_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for path in [dir.path().to_owned(), dir.path().join("missing.toml")] {
        let path = path.display().to_string();
        for args in [&["run", "--config", &path][..], &["check-config", &path]] {
            Outcome::of_probe(args)?.complains(BAD_USAGE, &[&path, "cannot read the configuration"])?;
        }
    }
    Ok(())
}

#[test]
fn malformed_flags() -> Result<()> {
    for (args, words) in [
        (&["run", "--target", "db"][..], &["\"db\"", "NAME:KEY=PATTERN"][..]),
        (&["run", "--target", "db:conm=x"], &["\"conm\"", "did you mean \"comm\"?"]),
        (&["run", "--target", "db:pid=many"], &["pid=many"]),
        (&["run", "--profile", "postgre"], &["unknown profile \"postgre\"", "did you mean \"postgres\"?"]),
        (&["run", "--profile", "sqlite"], &["\"sqlite\"", "no rule", "--target sqlite:comm="]),
        (&["run", "--class", "db:wal=w*/"], &["w*/", "globs are for file names"]),
        (&["run", "--target", "d b:comm=x"], &["\"d b\"", "letters"]),
        (&["run", "--class", "db:wal"], &["\"db:wal\"", "NAME:CLASS=DIR"]),
        (&["run", "--class", "db:other=/x"], &["\"other\""]),
        (&["run", "--class", "db:wal=/x"], &["\"db\"", "no rule", "--target db:comm="]),
        (&["run", "--listen", "here"], &["\"here\"", "ADDRESS:PORT"]),
        (&["run", "--lisen", "127.0.0.1:1"], &["--lisen", "--listen"]),
        (&["runn"], &["runn", "run"]),
        (&["metrics", "--json", "--markdown"], &["--json", "--markdown"]),
        (&["check-config"], &["<FILE>"]),
        (&[], &["Usage"]),
    ] {
        Outcome::of_probe(args)?.complains(BAD_USAGE, words)?;
    }
    Ok(())
}

#[test]
fn check_config_says_what_a_good_file_asks_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("agent.toml");
    let (here, missing) = (dir.path().display(), dir.path().join("missing"));
    let text = format!(
        "listen = '127.0.0.1:4'\n[[target]]\nname = 'db'\ncomm = 'x*'\n[target.class]\nwal = '{here}'\nstore = '{}'\n",
        missing.display()
    );
    fs::write(&file, text)?;
    let outcome = Outcome::of_probe(&["check-config", &file.display().to_string()])?;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.stdout.contains("http://127.0.0.1:4/metrics"), "{outcome:?}");
    assert!(outcome.stdout.contains("target db: comm=x*"), "{outcome:?}");
    let notes: Vec<&str> = outcome.stdout.lines().filter(|line| line.contains("not there now")).collect();
    assert!(notes.len() == 1 && notes[0].contains(&missing.display().to_string()), "{outcome:?}");
    Ok(())
}

#[test]
fn a_flag_that_is_no_text() -> Result<()> {
    let flag = OsStr::from_bytes(b"t:wal=/\xff");
    Outcome::of_probe(&[OsStr::new("run"), OsStr::new("--class"), flag])?.complains(BAD_USAGE, &["UTF-8"])
}

#[test]
fn a_pid_namespace_of_its_own() -> Result<()> {
    // Process ids there mean other processes to the kernel.
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(binary("stemedb-probe")?).args([
        "run",
        "--listen",
        "127.0.0.1:0",
    ]);
    Outcome::of(&mut command)?.complains(FAILED, &["pid namespace", "hostPID"])
}
