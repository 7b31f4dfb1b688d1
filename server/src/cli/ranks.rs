//! `taper run` as one of several processes that a launcher of MPI has started. Rank 0 does what the command says; the others train members for it,
//! and print nothing but why they cannot.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
#[cfg(unix)]
use engine::ranks::Mpi;
use engine::ranks::{self, Link, RankError};
use engine::train::{self, Host, Options, TrainError};

use super::out::report;
use crate::voice::say;

/// This process as a rank.
#[derive(Debug)]
pub(super) struct Ranks {
    #[cfg(unix)]
    mpi: Arc<Mpi>,
    link: Arc<dyn Link>,
    /// Which of the ranks on this machine it is, and how many these are.
    pub(super) turn: (usize, usize),
}

impl Ranks {
    /// Joins the others that the launcher has started; none if this process is alone.
    ///
    /// # Errors
    /// There should be others, and they cannot be reached.
    #[cfg(unix)]
    pub(super) fn join() -> Result<Option<Self>> {
        let Some(launched) = ranks::launched()? else { return Ok(None) };
        let mpi = Arc::new(Mpi::join(launched)?);
        let link = Arc::clone(&mpi) as Arc<dyn Link>;
        if link.count() == 1 {
            mpi.close();
            return Ok(None);
        }
        let turn = ranks::place_on_host(&*link)?;
        Ok(Some(Self { mpi, link, turn }))
    }

    /// Other systems have launchers that nobody has tried.
    ///
    /// # Errors
    /// A launcher has started this process.
    #[cfg(not(unix))]
    pub(super) fn join() -> Result<Option<Self>> {
        match ranks::launched()? {
            None => Ok(None),
            Some(_) => Err(anyhow::anyhow!("ranks are joined by MPI on Linux and macOS only")),
        }
    }

    /// Whether this is the one that has the run directory.
    pub(super) fn leads(&self) -> bool {
        self.link.rank() == 0
    }

    /// What joins it to the others.
    pub(super) fn link(&self) -> &Arc<dyn Link> {
        &self.link
    }

    /// Ends all others with the exit status that rank 0 came to.
    pub(super) fn dismiss(self, done: Result<u8>) -> ExitCode {
        let (status, code, lost) = match &done {
            Ok(status) => (*status, ExitCode::from(*status), false),
            Err(error) => (1, report(error), error.downcast_ref().is_some_and(is_lost)),
        };
        if let Err(error) = train::dismiss(&*self.link, status) {
            say(&error.to_string());
        }
        self.end(lost);
        code
    }

    /// Trains members for rank 0 until that says how it ended.
    pub(super) fn follow(self, host: &Host, options: &Options, stop: &AtomicBool) -> ExitCode {
        let done = train::follow(&self.link, host, options, stop);
        if let Err(error) = &done {
            say(&format!("rank {} on {}: {error}", self.link.rank(), self.link.host()));
        }
        self.end(done.is_err());
        ExitCode::from(done.unwrap_or(1))
    }

    /// Leaves the others; where one of them is lost, all are ended, as they would wait for it.
    fn end(self, lost: bool) {
        #[cfg(unix)]
        match lost {
            true => self.mpi.abort(),
            false => self.mpi.close(),
        }
        #[cfg(not(unix))]
        let _ = lost;
    }
}

/// Whether a rank cannot be reached any more.
fn is_lost(error: &TrainError) -> bool {
    matches!(
        error,
        TrainError::Rank(RankError::Silent { .. } | RankError::Gone { .. } | RankError::Carrier(_))
    )
}
