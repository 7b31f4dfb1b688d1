//! The server: routes over the store, a guard before them, and the page.

mod answers;
mod app;
mod artifacts;
mod configs;
mod connections;
mod datasets;
mod devices;
mod discretion;
mod error;
mod examiner;
mod extract;
mod files;
mod gate;
mod guard;
mod live;
mod metrics;
mod pace;
mod page;
mod preflight;
mod routes;
mod runs;
mod serve;
mod session;
#[cfg(test)]
mod sockets;
mod table;
mod teachers;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use serve::{Options, serve};
pub(crate) use table::openapi;
