//! Taper's engine: trains deep thin networks by going wide, then narrow, on any GPU that WebGPU reaches.
//!
//! Four nouns, in the order in which data flows:
//!
//! * [`nn::Network`] — a network is a value: blocks of layers and a head. [`models`] writes them down;
//!   [`win`] widens, bridges and merges them.
//! * [`graph::Graph`] — a network with its loss and its gradients as data; each node is one [`ops`] entry point.
//! * [`plan::Plan`] — the graph as a static list of dispatches with leased buffers; plain data, serialisable.
//! * [`device::Executor`] — runs a plan on a device, one submit a training step.
//!
//! These are the crate `taper-core`; `taper-gpu` has devices on wgpu, and who starts a run hands them in. Here [`train`] walks the stages of a run and writes checkpoints; [`data`] feeds it;
//! [`formats`] reads and writes what other programs understand; [`classes`] matches what models and data call their classes; [`config`]
//! says what to do and [`event`] what has happened.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod classes;
pub mod clock;
pub mod config;
pub mod data;
pub mod disk;
pub mod event;
pub mod formats;
pub mod ranks;
mod threads;
pub mod train;

pub use taper_core::{
    account, batch, device, graph, models, nn, ops, plan, profile, random, statistics, step,
    suggest, text, verdicts, win,
};
