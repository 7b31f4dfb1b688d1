//! Networks as values: one can read them, compare them, cut them.
//!
//! [`Network`] says what the layers are, [`Weights`] what they hold; parameters are named by path, as torchvision names them.

mod build;
mod fold;
mod init;
mod layout;
mod network;
mod shapes;
mod size;
mod weights;

pub use build::BN_EPS;
pub use build::{Bound, Built, Mode, build};
pub use fold::Folded;
pub use init::{fresh, fresh_tensor};
pub use layout::{Layout, Slot};
pub use network::{Block, Extent, Layer, Network, NetworkError, Pair};
pub use shapes::{Fill, ParamSpec, Role, Shapes};
pub use size::{BlockSize, NetworkSize};
pub use weights::{Tensor, Weights};
