//! A training step, and what tests a network, as graphs, and the graphs as one plan.
//!
//! Programs of a plan: `step` (forward, loss, backward, optimiser), `evaluate` (loss and hits of the network as it would be used
//! now), `discrepancy` (of an imitation, in eval mode). Two networks, `student` and `teacher`, each with its own flat buffers.
//!
//! In mixed precision a step stores its activations and their gradients as f16, and works with a copy of the student's matrices in f16 that
//! its first dispatch makes. The loss is scaled. All other programs are f32, from `student.params`.
//!
//! Where a step does not fit the device, or others take part in it, `accumulate` (forward, loss, backward) runs for each micro-batch and adds the
//! gradients up in `student.sums`, and `apply` is the optimiser. Between the two the host may change the sums.

mod document;
mod error;
mod graphs;
mod metrics;
mod objective;
mod optimizer;
mod program;
mod task;
mod training;

pub use document::{BatchInput, BufferStart, Order, Owners, PlanDocument, TensorTarget, WordRun};
pub use error::ProgramError;
pub use graphs::logits;
pub use metrics::{HITS, LOSS, LOSS_SCALE, LOSSES, SKIPPED};
pub use objective::{Objective, Trained};
pub use optimizer::SCALER;
pub use program::{
    ACCUMULATE, APPLY, DISCREPANCY, EVALUATE, Program, STEP, at_once, evaluation, fit, program,
    saving,
};
pub use task::{Counts, ENDS, LABELS, NEXT, NO_LABEL, STARTS, Tally, Task, Test};
pub use training::{Saving, Training};
