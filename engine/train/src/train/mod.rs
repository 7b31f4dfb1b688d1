//! Walks the stages of a run on a device: trains, tests, checkpoints, resumes, writes what is kept.
//!
//! ```text
//! Run ── per device: members, after the teacher of their seed ── per stage: Session (plan on a device) ── per restart: steps ── checkpoints, events
//! ```

mod autotuner;
mod cache;
mod checkpoint;
mod context;
mod error;
mod host;
mod journal;
mod kept;
mod measure;
mod member;
pub mod model;
mod outline;
mod pool;
pub mod probe;
mod run;
pub mod self_test;
mod session;
mod spec;
mod teacher;
mod timings;

pub use autotuner::{Autotuned, Autotuner, BUDGET};
pub use cache::TimingsFolder;
pub use checkpoint::Checkpoint;
pub use context::{Autotune, Options, Teacher};
pub use error::TrainError;
pub use host::Host;
pub use outline::{Networks, Outline, Planned, networks, outline, planned};
pub use run::Run;
pub use session::{LossScale, Session, Sums};
pub use spec::ARTIFACTS;
pub use teacher::{TextTeacher, presumed, settled, text_teacher};
pub use timings::{Cache, Timing};
