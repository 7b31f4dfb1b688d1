//! Packages of Debian and Ubuntu, where this machine has them and we may install them.
//!
//! What stands against it is a `String` that says what to do, as it is not always an error.

use std::process::{Command, Stdio};

use crate::shell::{loud, read, works};

/// Who installs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Way {
    /// We are root.
    Root,
    /// A sudo that asks nothing.
    Sudo,
}

/// What decides about the way.
#[derive(Debug, Clone, Copy)]
struct System {
    apt: bool,
    root: bool,
    /// A sudo, and whether it asks nothing.
    sudo: Option<bool>,
}

/// How `packages` can be installed here.
///
/// # Errors
/// What to do, if they cannot.
pub(crate) fn way(packages: &[&str]) -> Result<Way, String> {
    let sudo = works("sudo", &["--version"]);
    let system = System {
        apt: works("apt-get", &["--version"]),
        root: read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0"),
        sudo: sudo.then(|| works("sudo", &["-n", "true"])),
    };
    decide(system, &packages.join(" "))
}

fn decide(system: System, packages: &str) -> Result<Way, String> {
    let by_hand = |sudo| format!("`{sudo}apt-get update && {sudo}apt-get install {packages}`");
    match system {
        System { apt: false, .. } => Err(format!(
            "there is no apt-get here: install what Debian calls {packages}, then run this again"
        )),
        System { root: true, .. } => Ok(Way::Root),
        System { sudo: Some(true), .. } => Ok(Way::Sudo),
        System { sudo: Some(false), .. } => {
            Err(format!("run {}, then this again", by_hand("sudo ")))
        }
        System { sudo: None, .. } => {
            Err(format!("let root run {}, then run this again", by_hand("")))
        }
    }
}

/// Installs packages.
///
/// # Errors
/// What to do, if apt-get fails.
pub(crate) fn install(way: Way, packages: &[&str]) -> Result<(), String> {
    // Without a list of packages, or with an old one, apt-get knows nothing of them. That it cannot be fetched may be one source's fault,
    // and the packages another's.
    let fetched = loud(apt(way).args(["update", "-o", "APT::Update::Error-Mode=any"]));
    let installed =
        loud(apt(way).args(["install", "--yes", "--no-install-recommends"]).args(packages));
    let packages = packages.join(" ");
    match (installed, fetched) {
        (Ok(()), _) => Ok(()),
        (Err(_), Err(_)) => Err(format!(
            "{packages} are not installed, as apt-get could not fetch its list of packages: see to the network, or to apt's proxy and sources, then run this again"
        )),
        (Err(error), Ok(())) => Err(format!(
            "{packages} are not installed ({error:#}): see what apt-get says above, then run this again"
        )),
    }
}

fn apt(way: Way) -> Command {
    let mut apt = match way {
        Way::Root => Command::new("apt-get"),
        Way::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
    };
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_install_is_told_what_to_do() {
        let system = System { apt: true, root: false, sudo: None };
        let of = |system| decide(system, "a b");
        assert_eq!(of(System { root: true, ..system }), Ok(Way::Root));
        assert_eq!(of(System { sudo: Some(true), ..system }), Ok(Way::Sudo));
        let told = |system| of(system).expect_err("no way");
        assert_eq!(
            told(System { sudo: Some(false), ..system }),
            "run `sudo apt-get update && sudo apt-get install a b`, then this again"
        );
        assert_eq!(
            told(system),
            "let root run `apt-get update && apt-get install a b`, then run this again"
        );
        assert_eq!(
            told(System { apt: false, root: true, ..system }),
            "there is no apt-get here: install what Debian calls a b, then run this again"
        );
    }
}
