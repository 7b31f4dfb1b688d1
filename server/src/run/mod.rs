//! What a run is: where it stands, what its configuration comes to, what its events come to, and how it compares with others. Nothing here
//! knows of a store, a queue or a request.

pub(crate) mod compare;
mod estimate;
pub(crate) mod examine;
mod facts;
pub(crate) mod latency;
pub(crate) mod pictures;
mod state;
pub(crate) mod usage;
mod view;

pub(crate) use estimate::Estimate;
pub(crate) use facts::{Facts, Outcome, ROOM};
pub(crate) use state::{End, Input, State, Want, next};
pub(crate) use view::{BlockState, MemberState, StageState, View};

/// What an earlier run is named by in a configuration.
pub(crate) const RUN: &str = "run:";
