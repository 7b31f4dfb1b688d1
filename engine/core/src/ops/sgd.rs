//! Stochastic gradient descent over flat buffers: shader `shaders/sgd.wgsl`.

use super::{
    AdapterKind, Kernel, Launch, Op,
    optimizer::{self, Flat},
};

/// params, grads, velocity (n), decays (n / 64) of u32 and, if the gradients are clipped, their factor (1), or, if the loss is scaled, what
/// [`scaler::decide`](super::scaler::decide) says of the step (3); params and velocity are updated in place and there is no output; n is a
/// multiple of 64; [`optimizer::optimise`] says when some are bound twice. The learning rate comes from the uniform in `shaders/lib/step.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// PyTorch's `momentum`, without dampening.
    pub momentum: f32,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Added to the gradient as weight_decay · θ, where the row's word in `decays` is not 0.
    pub weight_decay: f32,
}

impl Op for Sgd {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let Flat { n, entry, apart } = optimizer::flat(inputs, 1)?;
        Some(
            Launch::new(Kernel::of("sgd", entry).flag("NESTEROV", self.nesterov))
                .dims([n / 4, self.momentum.to_bits(), self.weight_decay.to_bits()])
                .each(u64::from(n / 4).div_ceil(4))
                .flops(6 * u64::from(n))
                .updates(if apart { &[4, 5] } else { &[0, 2] }),
        )
    }
}
