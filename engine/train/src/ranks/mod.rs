//! Ranks: the processes, or threads, that train one run together. Rank 0 has the run directory; the others ask it and answer it.
//!
//! A message is bytes on a channel, from one rank to another. Of the messages of one channel between two ranks none overtakes another.

mod inbox;
mod launcher;
mod link;
#[cfg(unix)]
mod mpi;
mod pulse;
pub mod shares;
mod threads;

pub use launcher::{Launched, launched, place_on_host};
pub use link::{Channel, Link, RankError};
#[cfg(unix)]
pub use mpi::Mpi;
pub use pulse::Pulse;
pub use threads::Threads;
