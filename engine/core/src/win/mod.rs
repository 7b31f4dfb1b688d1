//! Go wide, then narrow: the surgery on networks, how blocks start, and Algorithm 1 as a list of stages.
//!
//! Nothing here opens a device or a file. `DERIVATION.md` in this folder says why the steps are exact where they claim to be.

pub mod algorithm;
pub mod linalg;
pub mod needs;
pub mod networks;
pub mod start;
pub mod surgery;
