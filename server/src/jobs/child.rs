//! The processes of runs: how they are started, told what to do, and known to be alive.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::control::{Control, is_locked};
use super::registry::Jobs;
use super::supervisor::Host;
use crate::run::Want;
use crate::store::{Run, now};

/// How long a process may take from its start until it holds its lock.
const START: f64 = 10.0;
/// Processes of this program.
#[derive(Debug)]
pub(crate) struct Program {
    jobs: Arc<Jobs>,
    /// This program.
    path: PathBuf,
    /// Those that this server started; it reaps them, and can kill them.
    children: HashMap<String, Child>,
    /// When it began to look.
    begun: Instant,
}

impl Program {
    /// Starts processes of the program at `path`.
    pub(crate) fn new(jobs: Arc<Jobs>, path: PathBuf) -> Program {
        Program { jobs, path, children: HashMap::new(), begun: Instant::now() }
    }
}

/// An error with what was tried.
fn at(action: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} `{}`: {error}", path.display()))
}

impl Host for Program {
    fn launch(&mut self, run: &Run, adapter: Option<usize>) -> io::Result<()> {
        let folder = self.jobs.directory(run);
        Control::write(&folder, Want::Run).map_err(io::Error::other)?;
        let file = |name: &str| {
            let path = folder.join(name);
            let opened = OpenOptions::new().create(true).append(true).open(&path);
            opened.map_err(|error| at("write", &path, &error))
        };
        let mut command = Command::new(&self.path);
        command
            .args(["run", "--resume", "--controlled", "--out"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(file("stdout.log")?)
            .stderr(file("stderr.log")?);
        if let Some(adapter) = adapter {
            command.args(["--device", &adapter.to_string()]);
        }
        detach(&mut command);
        let child = command.spawn().map_err(|error| at("run", &self.path, &error))?;
        tracing::info!(run = %run.id, process = child.id(), "started");
        self.children.insert(run.id.clone(), child);
        Ok(())
    }

    fn alive(&mut self, run: &Run) -> bool {
        if let Some(child) = self.children.get_mut(&run.id) {
            match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => {
                    tracing::info!(run = %run.id, %status, "ended");
                    self.children.remove(&run.id);
                }
                Err(error) => tracing::warn!(run = %run.id, %error, "cannot be waited for"),
            }
        } else if now() - run.launched < START && self.begun.elapsed().as_secs_f64() < START {
            // Started by a server that is no more, it may not hold its lock yet. A clock that was set back makes this no longer.
            return true;
        }
        is_locked(&self.jobs.directory(run).join("run.lock"))
    }

    fn want(&mut self, run: &Run, want: Want) -> io::Result<()> {
        let folder = self.jobs.directory(run);
        if Control::read(&folder) == Some(want) {
            return Ok(());
        }
        Control::write(&folder, want).map_err(io::Error::other)
    }

    fn kill(&mut self, run: &Run) {
        if let Some(child) = self.children.get_mut(&run.id)
            && let Err(error) = child.kill()
        {
            tracing::warn!(run = %run.id, %error, "cannot be killed");
        }
    }
}

/// Gives a process a group of its own, so that what ends the server, as Ctrl-C in its terminal, does not end it.
fn detach(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        const DETACHED_PROCESS: u32 = 0x0000_0008;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        std::os::windows::process::CommandExt::creation_flags(
            command,
            DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::{Facts, View};
    use crate::store::New;

    #[test]
    fn a_clock_that_was_set_back_keeps_no_dead_run_alive() {
        let folder = tempfile::tempdir().expect("folder");
        let (jobs, _woken) = Jobs::open(folder.path()).expect("opened");
        let new = New {
            id: "a".into(),
            name: "a".into(),
            config: String::new(),
            config_hash: String::new(),
            preset: None,
            facts: Facts::default(),
            view: View::default(),
        };
        let mut run = jobs.store.write(|db| Run::insert(db, &new)).expect("inserted");
        let mut program = Program::new(jobs, PathBuf::new());
        let hour = Duration::from_secs(3600).as_secs_f64();
        // Started an hour from now, as the clock has it: it may be starting, or be dead.
        run.launched = now() + hour;
        assert!(program.alive(&run));
        program.begun -= Duration::from_secs_f64(START);
        assert!(!program.alive(&run), "it never held its lock");
        program.begun = Instant::now();
        run.launched = now() - hour;
        assert!(!program.alive(&run), "it is long dead");
    }
}
