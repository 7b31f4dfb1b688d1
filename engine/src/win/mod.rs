//! Wide, then narrow: the method itself. `DERIVATION.md` in this folder says why its steps are exact where they claim to be.

pub mod linalg;
