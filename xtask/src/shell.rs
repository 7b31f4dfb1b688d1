//! Running other programs: where, with which environment, and said aloud.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// The folder of this program, where `cargo build` puts `taper` as well: the same target directory and the same profile.
fn bin() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where xtask itself lies")?;
    Ok(own.parent().context("xtask lies in no folder")?.to_owned())
}

/// `taper`, as [`build`] made it.
pub(crate) fn taper() -> Result<Command> {
    at(&executable(&bin()?, "taper"))
}

/// Whether the CI runs this: then nothing may be missing.
pub(crate) fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The `cargo` that runs us.
pub(crate) fn cargo() -> Result<Command> {
    at(&PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// A program, with the environment that all of ours get.
pub(crate) fn at(path: &Path) -> Result<Command> {
    let mut command = Command::new(path);
    if let Some(folder) = runtime_dir()? {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    Ok(command)
}

/// A program in a folder of programs.
pub(crate) fn executable(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The target directory, where a folder a profile lies.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(bin()?.parent().context("xtask lies in no target directory")?.to_owned())
}

/// Builds `taper` in the profile and with the features of the tests: their artifacts are shared, and the dependencies are optimised there as
/// well. `--package` alone would take fewer features of the dependencies, and build them once more.
pub(crate) fn build() -> Result<()> {
    loud(cargo()?.args(["build", "--workspace", "--bin", "taper"]))
}

/// Builds `taper` as it is timed, and says where it lies.
pub(crate) fn build_release() -> Result<PathBuf> {
    loud(cargo()?.args(["build", "--release", "--workspace", "--bin", "taper"]))?;
    Ok(executable(&target()?.join("release"), "taper"))
}

/// A folder for `XDG_RUNTIME_DIR` where the session has none (a container, `sudo`): Mesa warns without it.
fn runtime_dir() -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux") || std::env::var_os("XDG_RUNTIME_DIR").is_some() {
        return Ok(None);
    }
    let folder = bin()?.join("xdg-runtime");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The specification asks for a folder that only its owner reads.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(Some(folder))
}

/// The command as one would type it: the program without its folder.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str());
    let words: Vec<_> =
        std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Prints the command and runs it in this terminal.
pub(crate) fn loud(command: &mut Command) -> Result<()> {
    let words = words(command);
    eprintln!("\n$ {words}");
    let status = command.status().with_context(|| format!("cannot run `{words}`"))?;
    if !status.success() {
        bail!("`{words}` failed ({status})");
    }
    Ok(())
}

/// Runs the command and gives its standard output; standard error goes to this terminal.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let words = words(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{words}`"))?;
    if !output.status.success() {
        bail!("`{words}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{words}` does not print UTF-8"))
}

/// Whether the command can be run and succeeds; it prints nothing.
pub(crate) fn works(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("some/where/taper");
        command.args(["run", "demo"]);
        assert_eq!(words(&command), "taper run demo");
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
