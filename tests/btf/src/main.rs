//! Records the type information of a kernel as a fixture: `cargo xtask btf-fixture FILE NAME`.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use stemedb_btf_tests::asked::Asked;
use stemedb_btf_tests::fixtures::{self, Fixture};
use stemedb_btf_tests::reduce::reduce;
use stemedb_btf_tests::report::report;
use stemedb_probe::kernel::btf;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name] = arguments.as_slice() else { bail!("usage: FILE NAME") };
    record(Path::new(file), name)
}

fn record(file: &Path, name: &str) -> Result<()> {
    let whole = btf::resolve(file, fixtures::arch(name)?)?;
    let asked = Asked::now();
    let fixture = Fixture { name: name.to_owned(), bytes: reduce(whole.kernel.all(), &asked) };
    let reduced = fixture.resolve()?;
    ensure!(report(&reduced) == report(&whole), "the reduced type information gives other answers than the whole");
    let to = fixtures::file(name);
    std::fs::write(&to, &fixture.bytes).with_context(|| to.display().to_string())?;
    let list = fixtures::folder().join("asked.txt");
    std::fs::write(&list, asked.text()).with_context(|| list.display().to_string())?;
    println!("wrote {} ({} bytes); UPDATE_GOLDEN=1 renews the golden table", to.display(), fixture.bytes.len());
    Ok(())
}
