//! Stochastic gradient descent over flat buffers: shader `shaders/sgd.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op};

/// params, grads, velocity (n), decays (n / 64) of u32 and, if the gradients are clipped, their factor (1), or, if the loss is scaled, what
/// [`scaler::decide`](super::scaler::decide) says of the step (3); params and velocity are updated in place and there is no output. n is a multiple of 64. The learning rate is a live number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// PyTorch's `momentum`, without dampening.
    pub momentum: f32,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Added to the gradient as weight_decay · θ, where the row's word in `decays` is not 0.
    pub weight_decay: f32,
}

/// Checks the shapes of an optimiser's inputs; `state` of them are like the parameters. Gives n and the entry point.
pub(super) fn flat(inputs: &[&[u32]], state: usize) -> Option<(u32, &'static str)> {
    let (like, rest) = inputs.split_at_checked(2 + state)?;
    let &[n] = like[0] else { return None };
    let entry = match *rest {
        [&[words]] if words == n / 64 => "step",
        [&[words], &[1]] if words == n / 64 => "step_clipped",
        [&[words], &[3]] if words == n / 64 => "step_scaled",
        _ => return None,
    };
    (n.is_multiple_of(64) && like.iter().all(|x| **x == [n])).then_some((n, entry))
}

impl Op for Sgd {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let (n, entry) = flat(inputs, 1)?;
        Some(
            Launch::new(Kernel::of("sgd", entry).flag("NESTEROV", self.nesterov))
                .dims([n / 4, self.momentum.to_bits(), self.weight_decay.to_bits()])
                .each(u64::from(n / 4).div_ceil(4))
                .flops(6 * u64::from(n))
                .updates(&[0, 2]),
        )
    }
}
