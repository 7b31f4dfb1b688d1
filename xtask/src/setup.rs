//! `cargo xtask setup`: an adapter to train on, and what the tests need.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    browser, python,
    shell::{self, loud, read, works},
};

/// Mesa's software Vulkan driver (lavapipe) and the loader that finds it, as Debian and Ubuntu call them.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Builds `taper`, sees to an adapter, to ONNX Runtime and to a browser.
pub(crate) fn run() -> Result<()> {
    shell::build()?;
    adapter()?;
    python::setup()?;
    browser::setup()?;
    loud(shell::taper()?.arg("devices"))
}

/// Sees to it that the built `taper` finds an adapter: on Linux, a software one is installed where there is none at all.
pub(crate) fn adapter() -> Result<()> {
    if found()? {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        bail!("`taper devices` finds no GPU adapter; update the graphics driver of this machine");
    }
    eprintln!("no GPU adapter is there: installing Mesa's software Vulkan driver");
    install(&PACKAGES)?;
    if !found()? {
        let packages = PACKAGES.join(" ");
        bail!("{packages} are installed, but `taper devices` still finds no adapter");
    }
    Ok(())
}

/// Whether `taper devices` lists an adapter.
fn found() -> Result<bool> {
    let list = read(shell::taper()?.args(["devices", "--json"]))?;
    // Each adapter is an object in the list.
    Ok(list.matches('{').count() > 1)
}

/// Installs packages of Debian or Ubuntu.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !works("apt-get", &["--version"]) {
        bail!("there is no apt-get here; install what Debian calls {names}");
    }
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends"]] {
        let mut apt = administrator(&names)?;
        apt.args(arguments);
        if arguments[0] == "install" {
            apt.args(packages);
        }
        loud(&mut apt)?;
    }
    Ok(())
}

/// `apt-get` with the right to install: as root, or by a sudo that asks nothing.
fn administrator(packages: &str) -> Result<Command> {
    let root = read(Command::new("id").arg("-u"))?.trim() == "0";
    let mut apt = if root {
        Command::new("apt-get")
    } else if works("sudo", &["-n", "true"]) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    } else {
        bail!("run `sudo apt-get install {packages}`, then this command again");
    };
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(apt)
}
