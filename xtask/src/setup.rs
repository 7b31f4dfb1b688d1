//! `cargo xtask setup`: an adapter to train on, and what the tests need.

use anyhow::{Result, bail};

use crate::{
    adapters::{self, Adapter},
    apt, browser, python,
    shell::{self, loud},
};

/// Mesa's software Vulkan driver (lavapipe) and the loader that finds it, as Debian and Ubuntu call them.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// What a user sets to choose among Vulkan drivers: where none is left, another one that is installed would not be found either.
const HIDERS: [&str; 3] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_DISABLE"];

/// Builds `taper`, sees to an adapter, to ONNX Runtime, to two MPIs and to a browser.
pub(crate) fn run() -> Result<()> {
    shell::build()?;
    adapter()?;
    python::setup()?;
    python::mpis()?;
    browser::setup()?;
    loud(shell::taper()?.arg("devices"))
}

/// Makes sure that the built `taper` finds an adapter with a backend other than OpenGL. On Linux it installs a software driver if there is none.
///
/// # Errors
/// If there is no adapter and none can be installed. If only OpenGL is available, a message says so.
pub(crate) fn adapter() -> Result<()> {
    let found = adapters::all()?;
    let hidden = HIDERS.into_iter().find(|name| std::env::var_os(name).is_some());
    let way = match hidden {
        Some(name) => Err(format!("{name} is set and leaves none: unset it, then run this again")),
        None if cfg!(target_os = "linux") => apt::way(&PACKAGES),
        None => Err("update the graphics driver of this machine".into()),
    };
    let decision = match decide(&found, way.as_ref().err().map(String::as_str)) {
        Decision::Install => {
            let have = adapters::named(&found);
            eprintln!("adapters: {have}; installing Mesa's software Vulkan driver");
            let problem = match way.and_then(|way| apt::install(way, &PACKAGES)) {
                Ok(()) => format!(
                    "{} are installed, but the Vulkan loader does not find the driver: `VK_LOADER_DEBUG=all taper devices` says why",
                    PACKAGES.join(" ")
                ),
                Err(problem) => problem,
            };
            decide(&adapters::all()?, Some(&problem))
        }
        decision => decision,
    };
    match decision {
        Decision::Go => Ok(()),
        Decision::GoOnGl(warning) => {
            eprintln!("warning: {warning}");
            Ok(())
        }
        Decision::Install => unreachable!("a problem stands against it"),
        Decision::Refuse(error) => bail!(error),
    }
}

/// What follows from the adapters that there are.
#[derive(Debug, PartialEq)]
enum Decision {
    /// There is one that counts.
    Go,
    /// Install one.
    Install,
    /// Only OpenGL is available; the message that says so.
    GoOnGl(String),
    /// Nothing is available; the message that says so.
    Refuse(String),
}

/// Decides by what was found, and by what stands against installing a driver: a sentence that says what to do.
fn decide(found: &[Adapter], problem: Option<&str>) -> Decision {
    match (found.iter().find(|adapter| !adapter.is_gl()), found.first(), problem) {
        (Some(_), _, _) => Decision::Go,
        (None, _, None) => Decision::Install,
        (None, Some(gl), Some(problem)) => Decision::GoOnGl(format!(
            "{gl} is used, which is best effort: OpenGL is slower, and knows neither mixed precision nor profiles. There is no Vulkan driver: {problem}"
        )),
        (None, None, Some(problem)) => {
            Decision::Refuse(format!("`taper devices` finds no adapter: {problem}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::of;

    #[test]
    fn an_adapter_that_is_not_by_opengl_is_enough() {
        for problem in [None, Some("no sudo")] {
            assert_eq!(decide(&[of("vulkan")], problem), Decision::Go);
            assert_eq!(decide(&[of("gl"), of("vulkan")], problem), Decision::Go);
            assert_eq!(decide(&[of("metal")], problem), Decision::Go);
        }
    }

    #[test]
    fn a_driver_is_installed_where_there_is_only_opengl_or_nothing() {
        assert_eq!(decide(&[of("gl")], None), Decision::Install);
        assert_eq!(decide(&[], None), Decision::Install);
    }

    #[test]
    fn where_none_can_be_had_opengl_is_used_and_that_is_said() {
        let Decision::GoOnGl(words) = decide(&[of("gl")], Some("do this")) else { panic!("no") };
        assert!(words.starts_with("llvmpipe by gl (gl, cpu) is used, which is best effort"));
        assert!(words.ends_with("do this"), "{words}");
        assert_eq!(
            decide(&[], Some("do this")),
            Decision::Refuse("`taper devices` finds no adapter: do this".into())
        );
    }
}
