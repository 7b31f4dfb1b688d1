//! What can go wrong where a step is planned.

use thiserror::Error;

use crate::{graph::ShapeError, nn::NetworkError, plan::PlanError};

/// Why a stage cannot be planned.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ProgramError {
    /// A network has layers that do not fit each other, or does not fit the stage.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its plan does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl From<ShapeError> for ProgramError {
    fn from(error: ShapeError) -> Self {
        PlanError::from(error).into()
    }
}

impl ProgramError {
    /// Whether the plan might fit with fewer rows.
    pub fn is_size(&self) -> bool {
        matches!(self, Self::Plan(error) if error.is_size())
    }
}
