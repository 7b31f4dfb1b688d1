//! Adam and AdamW over flat buffers: shader `shaders/adam.wgsl`.

use super::{
    AdapterKind, Kernel, Launch, Op,
    optimizer::{self, Flat},
};

/// params, grads, m, v (n), decays (n / 64) of u32 and, if the gradients are clipped, their factor (1), or, if the loss is scaled, what
/// [`scaler::decide`](super::scaler::decide) says of the step (3); params, m and v are updated in place and there is no output; n is a
/// multiple of 64; [`optimizer::optimise`] says when some are bound twice. The learning rate and the number of the step come from the uniform in
/// `shaders/lib/step.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the mean of the gradients, 0 ≤ β₁ < 1.
    pub beta1: f64,
    /// Decay of the mean of their squares, 0 ≤ β₂ < 1.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay, where the row's word in `decays` is not 0.
    pub weight_decay: f32,
    /// Whether the decay acts on the parameters (AdamW) and not through the gradient (Adam).
    pub decoupled: bool,
}

impl Op for Adam {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let Flat { n, entry, apart } = optimizer::flat(inputs, 2)?;
        if ![self.beta1, self.beta2].iter().all(|b| (0.0..1.0).contains(b)) {
            return None;
        }
        // A logarithm of 0 would be −∞, which not every driver understands; exp(−100) is 0 beside 1 as well.
        let log = |beta: f64| beta.ln().max(-100.0);
        let floats = [
            self.beta1,
            self.beta2,
            1.0 - self.beta1,
            1.0 - self.beta2,
            log(self.beta1),
            log(self.beta2),
            self.eps.into(),
            self.weight_decay.into(),
        ];
        let words = floats.iter().map(|&x| (x as f32).to_bits());
        Some(
            Launch::new(Kernel::of("adam", entry).flag("DECOUPLED", self.decoupled))
                .dims([n / 4].into_iter().chain(words))
                .each(u64::from(n / 4).div_ceil(4))
                .flops(16 * u64::from(n))
                .updates(if apart { &[5, 6, 7] } else { &[0, 2, 3] }),
        )
    }
}
