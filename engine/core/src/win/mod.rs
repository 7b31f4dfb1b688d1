//! Go wide, then narrow: the surgery on networks, how blocks start, and Algorithm 1 as a list of stages.
//!
//! Nothing here opens a device or a file. `DERIVATION.md` in this folder is the whole method: stages, losses, starts, and what folds exactly.

pub mod algorithm;
pub mod linalg;
pub mod needs;
pub mod networks;
pub mod start;
pub mod surgery;
