//! `cargo xtask test`: everything that the CI runs, in order, the quick to fail first.

use anyhow::Result;

use crate::{
    setup,
    shell::{cargo, loud, works},
};

/// Formatting, lints, documentation, tests; the first that fails ends it.
///
/// All use the dev profile and the features of the whole workspace, so nothing is built twice: clippy and rustdoc share the metadata of the
/// dependencies, the tests share the objects of the build before them.
pub(crate) fn run() -> Result<()> {
    components()?;
    loud(cargo()?.args(["fmt", "--all", "--check"]))?;
    loud(cargo()?.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    loud(cargo()?.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    loud(cargo()?.args(["build", "--workspace", "--all-targets"]))?;
    setup::adapter()?;
    let mut tests = cargo()?;
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    // Without these, tests that lack a device or a data set say so and pass.
    tests.env("TAPER_REQUIRE_GPU", "1");
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if ci && std::env::var_os("TAPER_REQUIRE_DATA").is_none() {
        tests.env("TAPER_REQUIRE_DATA", "1");
    }
    loud(&mut tests)
}

/// A minimal toolchain has neither rustfmt nor clippy; rustup brings them.
fn components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let there =
            cargo()?.args([subcommand, "--version"]).output().is_ok_and(|o| o.status.success());
        if !there && works("rustup", &["--version"]) {
            loud(std::process::Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}
