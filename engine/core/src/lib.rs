//! The pure part of Taper: values in, values out. It opens no device and no file and decodes no pictures, and it compiles for a browser.
//!
//! * [`config`] says what to do, [`event`] what has happened.
//! * [`nn::Network`] — a network is a value: blocks of layers and a head. [`models`] writes them down; [`win`] widens, bridges and merges
//!   them.
//! * [`graph::Graph`] — a network with its loss and its gradients as data; each node is one [`ops`] entry point.
//! * [`step`] — a training step as graphs, and as one plan.
//! * [`plan::Plan`] — the graph as a static list of dispatches with leased buffers; plain data, serialisable.
//! * [`device::Device`] — what training asks of a device that runs plans.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod account;
pub mod batch;
pub mod config;
pub mod device;
pub mod event;
pub mod graph;
pub mod models;
pub mod nn;
pub mod ops;
pub mod plan;
pub mod profile;
pub mod random;
pub mod statistics;
pub mod step;
pub mod suggest;
pub mod text;
pub mod verdicts;
pub mod win;
