//! Networks as values: one can read them, compare them, cut them.
//!
//! [`Network`] says what the layers are, [`Weights`] what they hold; parameters are named by path, as torchvision names them.

mod build;
mod builder;
mod error;
mod extent;
mod file_layout;
mod fold;
mod init;
mod inputs;
pub mod layers;
mod layout;
mod network;
pub mod onnx;
mod param;
mod shapes;
mod size;
mod state;
mod weights;

pub use build::{Built, build};
pub use builder::{Bound, Mode};
pub use error::NetworkError;
pub use extent::Extent;
pub use file_layout::{AXES, FileLayout};
pub use fold::Folded;
pub use init::{fresh, fresh_tensor};
pub use inputs::{IMAGES, Input, Inputs, LENGTHS, PLACES, SEGMENTS, TOKENS};
pub use layers::Layer;
pub use layout::{Layout, Slot};
pub use network::{Block, Network, Pair};
pub use param::{Fill, ParamSpec, Role};
pub use shapes::Shapes;
pub use size::{BlockSize, NetworkSize};
pub use state::State;
pub use weights::{Tensor, Weights, parameter};
