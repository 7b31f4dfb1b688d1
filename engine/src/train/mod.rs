//! Walks the stages of a run on a device: trains, tests, checkpoints, resumes, writes what is kept.
//!
//! ```text
//! Run ── per seed: teacher, then members ── per stage: Session (plan on a device) ── per try: steps ── checkpoints, events
//! ```

mod checkpoint;
mod error;
mod member;
pub mod model;
pub mod probe;
mod run;
mod session;

pub use error::TrainError;
pub use run::{Options, Outline, Run, Teacher, member_names, outline};
pub use session::{Session, Test};
