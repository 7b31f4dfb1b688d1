//! What can stop a run.

use thiserror::Error;

use crate::{
    config::ConfigError, data::DataError, device::DeviceError, formats::FormatError,
    nn::NetworkError, plan::PlanError, ranks::RankError, step::ProgramError,
    win::linalg::LinalgError,
};

/// Why a run stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A teacher from elsewhere that cannot teach this run.
    #[error("teacher.from = \"{from}\": {message}")]
    Teacher {
        /// The configuration's value.
        from: String,
        /// What is wrong.
        message: String,
        /// What to do about it, where there is something to do.
        hint: Option<String>,
    },
    /// Trained weights that students of this run cannot begin with.
    #[error("model.from = \"{from}\": {message}")]
    Begin {
        /// The configuration's value.
        from: String,
        /// What is wrong.
        message: String,
        /// What to do about it, where there is something to do.
        hint: Option<String>,
    },
    /// A plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A stage that does not fit the device, however small its micro-batches.
    #[error(
        "stage {stage} does not fit the device, not even in its smallest micro-batches: {problem}"
    )]
    TooLarge {
        /// Its method, or `teacher`, and its name.
        stage: String,
        /// Which limit.
        problem: PlanError,
    },
    /// Another rank of the run, or what joins them.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// A system of equations of a start.
    #[error(transparent)]
    Linalg(#[from] LinalgError),
    /// The loss or a weight is not a number any more.
    #[error(
        "{what} of {member} became {value} at step {step} of stage {stage}; {}: lower the learning rate",
        kept.map_or("it has no checkpoint yet".into(), |at| format!("its checkpoint of step {at} is kept"))
    )]
    NonFinite {
        /// `the loss`, or a parameter.
        what: String,
        /// Who.
        member: String,
        /// Which stage.
        stage: String,
        /// Steps of the stage.
        step: u64,
        /// What it became.
        value: f32,
        /// Step of the member at the last checkpoint, if there is one.
        kept: Option<u64>,
    },
    /// The merge changed the network by more than rounding.
    #[error(
        "merging {member} changed its logits by {error:.1e} of their norm; at most {gate:.0e} is allowed"
    )]
    Merge {
        /// Who.
        member: String,
        /// ‖S̄(x) − S(x)‖ / ‖S̄(x)‖.
        error: f64,
        /// The gate.
        gate: f64,
    },
    /// The run directory is in use, not empty, or not one.
    #[error("{0}")]
    Folder(String),
    /// The user stopped the run; it can be resumed.
    #[error("stopped; resume with `taper run --resume --out {0}`")]
    Stopped(String),
}

impl From<ProgramError> for TrainError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Network(error) => error.into(),
            ProgramError::Plan(error) => error.into(),
        }
    }
}

impl TrainError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainError::Format(error) => error.hint(),
            TrainError::Teacher { hint, .. } | TrainError::Begin { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}
