//! `cargo xtask fuzz`: mutated files of every kind that Taper reads. The work is done by the program `fuzz` of the tests.

use anyhow::Result;

use crate::{
    python,
    shell::{at, cargo, executable, loud, target},
};

/// Inputs of the short pass that `cargo xtask test` makes.
const SHORT: &str = "1200";

/// Tries inputs; `arguments` go to the program.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    // Without Python, pictures, archives and TOML are held against nobody, which the program says.
    python::setup()?;
    loud(cargo()?.args(["build", "--workspace", "--bin", "fuzz"]))?;
    loud(at(&executable(&target()?.join("debug"), "fuzz"))?.args(arguments))
}

/// A pass of a minute.
pub(crate) fn short() -> Result<()> {
    run(&["--inputs".into(), SHORT.into()])
}
