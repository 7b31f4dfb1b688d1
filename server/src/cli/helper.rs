//! `taper helper`: another verb within limits and for as long as somebody waits for it. The server asks what it must not do itself of such
//! processes; they may die of what they are asked.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::iter;
use std::num::NonZero;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::voice::say;

/// Files that may be open at the same time.
const OPEN: u64 = 1024;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Most memory, in bytes.
    #[arg(long)]
    memory: u64,
    /// Most bytes of a file that it writes.
    #[arg(long)]
    file: u64,
    /// How long it may take.
    #[arg(long)]
    seconds: u64,
    /// The verb with its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    verb: Vec<OsString>,
}

impl Arguments {
    /// Sets the limits of this process, which hold for whatever it becomes; the command line of what it shall do.
    pub(super) fn begin(&self) -> Result<impl Iterator<Item = OsString>> {
        self.limit().context("the limits of a helper process cannot be set")?;
        Ok(iter::once("taper".into()).chain(self.verb.iter().cloned()))
    }

    /// Ends this process when its time is over, or when its standard input ends: the process that waits for it holds that open.
    pub(super) fn watch(&self) -> io::Result<()> {
        let seconds = self.seconds;
        let thread = |work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name("watch".into()).spawn(work).map(drop)
        };
        thread(Box::new(|| {
            // Whether it ends or cannot be read, nobody holds it.
            drop(io::stdin().lock().read_to_end(&mut Vec::new()));
            std::process::abort();
        }))?;
        thread(Box::new(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            say(&format!("error: a helper process took longer than {seconds} s"));
            std::process::abort();
        }))
    }

    /// Memory, processor time and files; nothing is left behind by a process that dies of one of them.
    #[cfg(unix)]
    fn limit(&self) -> io::Result<()> {
        use rlimit::Resource;

        let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
        // What a process can write to, without the addresses that drivers only reserve.
        let memory = if cfg!(target_os = "linux") { Resource::DATA } else { Resource::RSS };
        for (resource, most) in [
            (memory, self.memory),
            (Resource::CPU, self.seconds.saturating_mul(cores)),
            (Resource::FSIZE, self.file),
            (Resource::NOFILE, OPEN),
            (Resource::CORE, 0),
        ] {
            if resource.is_supported() {
                let (_, hard) = resource.get()?;
                let most = most.min(hard);
                resource.set(most, most)?;
            }
        }
        Ok(())
    }

    /// Windows has no such limits; the time holds there as well.
    #[cfg(not(unix))]
    fn limit(&self) -> io::Result<()> {
        Ok(())
    }
}
