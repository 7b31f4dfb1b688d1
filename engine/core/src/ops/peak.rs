//! The peak of an adapter's arithmetic: shader `shaders/peak.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op};

/// y = what 12 chains of multiply-adds come to in each invocation; y is (invocations, 4). There is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// How many run side by side.
    pub invocations: u32,
    /// Rounds of 96 multiply-adds each.
    pub rounds: u32,
}

/// Multiply-adds of a round.
const ROUND: u64 = 96;
/// The factor in v ← factor · v + factor, which tends to 3 from any start.
const FACTOR: f32 = 0.75;

impl Op for Peak {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let Self { invocations, rounds } = *self;
        let launch = Launch::new(Kernel::of("peak", "multiply_add"))
            .output([invocations, 4])
            .dims([invocations, rounds, FACTOR.to_bits()])
            .each(invocations.into())
            .flops(2 * ROUND * u64::from(invocations) * u64::from(rounds));
        (inputs.is_empty() && invocations > 0).then_some(launch)
    }
}
