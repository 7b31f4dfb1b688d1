//! Walks the stages of a run on a device: trains, tests, checkpoints, resumes, writes what is kept.
//!
//! ```text
//! Run ── per device: members, after the teacher of their seed ── per stage: Session (plan on a device) ── per restart: steps ── checkpoints, events
//! ```
//!
//! Over ranks, rank 0 has the run and its directory, and the others [`follow`] it: each of their devices takes members as those of rank 0 do.

mod autotuner;
mod beside;
mod cache;
mod checkpoint;
mod context;
mod crew;
mod error;
mod far;
mod follow;
mod host;
mod journal;
mod kept;
mod measure;
mod member;
mod members;
pub mod model;
pub mod numbers;
mod outline;
mod past;
mod planned;
mod pool;
pub mod probe;
mod run;
pub mod self_test;
mod session;
mod spec;
mod teacher;
pub mod team;
mod timings;

pub use autotuner::{Autotuned, Autotuner, BUDGET};
pub use beside::beside;
pub use cache::TimingsFolder;
pub use checkpoint::Checkpoint;
pub use context::{Autotune, Options, Teacher};
pub use error::TrainError;
pub use follow::{dismiss, follow};
pub use host::Host;
pub use outline::{Networks, Outline, Planned, networks, outline, planned};
pub use run::Run;
pub use session::{LossScale, Session, Sums};
pub use spec::ARTIFACTS;
pub use teacher::{TextTeacher, presumed, settled, text_teacher};
pub use timings::{Cache, Timing};
