//! Who looks at configurations and at the data of runs: a process of this program, which opens what they name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::config::Config;

use crate::helper::{ask, ask_while};
use crate::run::examine::Findings;
#[cfg(doc)]
use crate::run::pictures;
use crate::run::pictures::Picture;
use crate::scratch;

/// How long a configuration may be looked at: its data are opened.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who looks at configurations.
pub(super) trait Examiner: Send + Sync {
    /// What a configuration comes to; a time as well, if steps are to be `measured`. It may give up once it is not `awaited` any more.
    ///
    /// # Errors
    /// A sentence on why it could not be looked at.
    fn examine(
        &self,
        config: &Config,
        measured: bool,
        awaited: &dyn Fn() -> bool,
    ) -> Result<Findings, String>;

    /// Writes the test pictures at these places of the run in a directory, as [`pictures::write`] does.
    ///
    /// # Errors
    /// A sentence on why they cannot be had.
    fn pictures(
        &self,
        run: &Path,
        picks: &[usize],
        awaited: &dyn Fn() -> bool,
    ) -> Result<Vec<Picture>, String>;

    /// Times the models of the run in a directory on an adapter, keeps the times there, and answers what could not be timed.
    ///
    /// # Errors
    /// A sentence on why they cannot be timed.
    fn time(&self, run: &Path, device: &str) -> Result<Vec<String>, String>;
}

/// A process of this program: it opens the data and the device, and may die of them.
pub(super) struct Helper {
    /// This program.
    pub(super) program: PathBuf,
    /// Where the file with the configuration goes.
    pub(super) scratch: PathBuf,
}

impl Examiner for Helper {
    fn examine(
        &self,
        config: &Config,
        measured: bool,
        awaited: &dyn Fn() -> bool,
    ) -> Result<Findings, String> {
        let file = scratch::file(&self.scratch, ".toml");
        let file = file.map_err(|error| format!("no temporary file can be made: {error}"))?;
        std::fs::write(file.path(), config.to_toml())
            .map_err(|error| format!("no temporary file can be written: {error}"))?;
        let mut command = Command::new(&self.program);
        command.arg("preflight").arg(file.path());
        if measured {
            command.arg("--measure");
        }
        ask_while(&mut command, PATIENCE, awaited)
    }

    fn pictures(
        &self,
        run: &Path,
        picks: &[usize],
        awaited: &dyn Fn() -> bool,
    ) -> Result<Vec<Picture>, String> {
        let picks: Vec<String> = picks.iter().map(usize::to_string).collect();
        let mut command = Command::new(&self.program);
        command.arg("pictures").arg(run).arg("--pick").arg(picks.join(","));
        ask_while(&mut command, PATIENCE, awaited)
    }

    fn time(&self, run: &Path, device: &str) -> Result<Vec<String>, String> {
        let mut command = Command::new(&self.program);
        command.arg("latency").arg(run).arg("--device").arg(device);
        ask(&mut command, PATIENCE)
    }
}
