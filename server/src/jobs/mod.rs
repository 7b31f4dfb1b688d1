//! Runs as child processes: their queue, their processes, and what their logs say.
//!
//! A run that has a process holds a *slot*, the device it trains on. What a run shall do is written to the store first, then carried out
//! by the supervisor, which compares the store with what it finds: so a server that is killed between any two steps goes on from there.

mod adapters;
mod adopt;
mod child;
mod control;
mod ingest;
mod note;
mod registry;
mod room;
mod summary;
mod supervisor;

#[cfg(test)]
pub(crate) use adapters::described;
pub(crate) use adapters::{Adapter, Adapters, SelfTest, Worst};
pub(crate) use child::Program;
pub(crate) use control::obey;
pub(crate) use registry::{Jobs, Refusal};
pub(crate) use room::is_of_room;
pub(crate) use summary::RunSummary;
pub(crate) use supervisor::Supervisor;
