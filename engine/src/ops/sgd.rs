//! Stochastic gradient descent over flat buffers: shader `shaders/sgd.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op};

/// params, grads, velocity (n), decays (n / 64) of u32 and, if the gradients are clipped, their factor (1); params and
/// velocity are updated in place and there is no output. n is a multiple of 64. The learning rate is a live number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// PyTorch's `momentum`, without dampening.
    pub momentum: f32,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Added to the gradient as weight_decay · θ, where the row's word in `decays` is not 0.
    pub weight_decay: f32,
}

/// Checks the shapes of an optimiser's inputs; `state` of them are like the parameters. Gives n and whether a factor is there.
pub(super) fn flat(inputs: &[&[u32]], state: usize) -> Option<(u32, bool)> {
    let (like, rest) = inputs.split_at_checked(2 + state)?;
    let &[n] = like[0] else { return None };
    let clipped = match *rest {
        [&[words]] if words == n / 64 => false,
        [&[words], &[1]] if words == n / 64 => true,
        _ => return None,
    };
    (n.is_multiple_of(64) && like.iter().all(|x| **x == [n])).then_some((n, clipped))
}

/// The entry point of an optimiser.
pub(super) fn kernel(file: &str, clipped: bool) -> Kernel {
    Kernel::of(file, if clipped { "step_clipped" } else { "step" })
}

impl Op for Sgd {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let (n, clipped) = flat(inputs, 1)?;
        Some(
            Launch::new(kernel("sgd", clipped).flag("NESTEROV", self.nesterov))
                .dims([n / 4, self.momentum.to_bits(), self.weight_decay.to_bits()])
                .each(u64::from(n / 4).div_ceil(4))
                .flops(6 * u64::from(n))
                .updates(&[0, 2]),
        )
    }
}
