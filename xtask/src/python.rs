//! Python with ONNX Runtime and Pillow in `target/python`: it runs our `model.onnx` in a test, and reads pictures for the fuzz.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    setup,
    shell::{executable, loud, root, target, works},
};

/// What it needs, with versions.
const REQUIREMENTS: &str = "tests/golden/onnx.txt";

/// Makes it if it is not there as [`REQUIREMENTS`] says; whether it is there then. A machine without Python goes on without.
pub(crate) fn setup() -> Result<bool> {
    let folder = target()?.join("python");
    let wanted = fs::read_to_string(root().join(REQUIREMENTS)).context(REQUIREMENTS)?;
    let stamp = folder.join("onnx.txt");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(true);
    }
    let there = python().and_then(|python| make(python, &folder));
    if let Err(error) = &there {
        eprintln!(
            "{error:#}: model.onnx is not run in ONNX Runtime, nothing is held against Pillow"
        );
        return Ok(false);
    }
    fs::write(stamp, wanted).context("cannot write to target/python")?;
    Ok(true)
}

/// A Python that makes environments; Debian has that part in a package of its own.
fn python() -> Result<&'static str> {
    let find = || {
        let able = |name: &&str| works(name, &["-c", "import ensurepip, venv"]);
        ["python3", "python"].into_iter().find(able)
    };
    if find().is_none() {
        setup::install(&["python3", "python3-venv"])?;
    }
    find().context("there is no Python with `venv`")
}

fn make(python: &str, folder: &Path) -> Result<()> {
    loud(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))?;
    let bin = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let mut pip = Command::new(executable(&bin, "python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    loud(pip.arg(REQUIREMENTS))
}
