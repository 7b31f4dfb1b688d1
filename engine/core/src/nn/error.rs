//! What cannot be built, bridged, merged or imported.

use thiserror::Error;

/// What cannot be built, bridged, merged or imported.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum NetworkError {
    /// A layer does not take what flows into it.
    #[error("layer {layer} does not take an input of {got}")]
    Layer {
        /// Path of the layer.
        layer: String,
        /// What flows in.
        got: String,
    },
    /// It is larger than anything that is planned.
    #[error("the network has {count} {what}; at most {most} are allowed")]
    TooLarge {
        /// Of what: `parameters`, say.
        what: &'static str,
        /// How many, at least.
        count: u64,
        /// What is allowed.
        most: u64,
    },
    /// A batch norm in training whose variance would be that of one number.
    #[error(
        "batch norm {layer} gets one value a channel: its input has one position and a step's batch one input; a variance wants more than one, so make the batch 2 or more, or the images larger"
    )]
    OneValue {
        /// Path of the batch norm.
        layer: String,
    },
    /// A pair has nothing to fold into.
    #[error(
        "block {block} cannot be merged: the pair before it meets {obstacle}, which is not linear on every path"
    )]
    NotMergeable {
        /// 1-based number of the block, `head` for the last pair.
        block: String,
        /// What stands in the way.
        obstacle: String,
    },
    /// Teacher and student do not correspond.
    #[error("teacher and student do not match: {0}")]
    Mismatch(String),
    /// A parameter is missing, superfluous or of another shape.
    #[error("{0}")]
    Weights(String),
    /// What is asked for does not exist for this network.
    #[error("{0}")]
    Unsupported(String),
}

impl NetworkError {
    /// A parameter that the weights should have and have not.
    pub fn missing(name: &str) -> Self {
        Self::Weights(format!("parameter {name} is missing"))
    }
}
