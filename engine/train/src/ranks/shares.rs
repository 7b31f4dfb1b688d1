//! How ranks share the batches of a stage, and how what they find is put together.
//!
//! A batch is cut into P equal *parts*. A part is what runs at once on a device, as a micro-batch does: batch norm normalises by a part, as PyTorch's
//! does without `SyncBatchNorm`, and each part has random numbers of its own. A *share* is some parts that stand one behind the other in the batch; one
//! rank runs them in their order and adds them up on its device. The shares are put together on the host, in f32 and in *their* order:
//!
//! - gradients, losses and hits are added up;
//! - batch norm's running statistics go from the same start s through each share. A share of n parts leaves s' = (1 − m)ⁿ s + what its parts bring, so
//!   behind shares that came to S they are s' + (1 − m)ⁿ (S − s): what all parts would leave one after the other, as PyTorch's do in P micro-batches.
//!
//! Then the optimiser acts once. Shares belong to a stage: they are timed when it begins, and a checkpoint carries them. A rank only carries them out, so
//! where there are fewer ranks than shares, a rank runs several, each by itself from the same start. So the bits are a function of the seed, the shares,
//! and the adapter and plan of each; not of how many ranks there are, nor of what joins them.

use serde::{Deserialize, Serialize};

use crate::nn::layers::MOMENTUM;

/// A number of parts is taken instead of a larger one that would be faster by no more than this: larger parts keep a device busier.
const SLACK: f64 = 0.1;
/// Parts for each rank, at most: with more, a part would be small, and shares fit the ranks well enough.
const FINEST: u32 = 8;

/// Parts of each batch of a stage that one rank runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many; at least 1.
    pub parts: u32,
    /// The adapter on which it began.
    pub adapter: String,
}

/// The parts that shares have together.
pub fn parts(shares: &[Share]) -> u32 {
    shares.iter().map(|share| share.parts).sum()
}

/// The parts of a batch that each rank is to run. `cuts`: the numbers of equal parts that it may be cut into, fewest first; `seconds`: what each rank takes
/// for the same piece of work. The first rank has a part at least.
///
/// # Panics
/// There is no number of parts, or no rank.
pub fn apportion(cuts: &[u32], seconds: &[f64]) -> Vec<u32> {
    let most = FINEST.saturating_mul(seconds.len() as u32).max(cuts[0]);
    let dealt = |parts: u32| {
        let mut of_rank = vec![0; seconds.len()];
        of_rank[0] = 1;
        for _ in 1..parts {
            // To whom would be done with it first; of equals the first.
            let done = |rank: usize| f64::from(of_rank[rank] + 1) * seconds[rank];
            let next = (0..seconds.len()).min_by(|&a, &b| done(a).total_cmp(&done(b)));
            of_rank[next.expect("a rank")] += 1;
        }
        let last = of_rank.iter().zip(seconds).map(|(&n, s)| f64::from(n) * s / f64::from(parts));
        (last.fold(0.0, f64::max), of_rank)
    };
    let all: Vec<_> = cuts.iter().take_while(|&&parts| parts <= most).map(|&p| dealt(p)).collect();
    let best = all.iter().map(|(time, _)| *time).fold(f64::INFINITY, f64::min);
    let good = all.into_iter().find(|(time, _)| *time <= (1.0 + SLACK) * best);
    good.expect("one of them is the best").1
}

/// The rank that runs each share. A share stays with an adapter of its name where there is one: by its place, else where the least is to be done.
///
/// # Panics
/// There is no rank.
pub fn assign(shares: &[Share], adapters: &[String]) -> Vec<usize> {
    let mut load = vec![0; adapters.len()];
    let mut by: Vec<Option<usize>> = vec![None; shares.len()];
    for (k, share) in shares.iter().enumerate().take(adapters.len()) {
        if adapters[k] == share.adapter {
            by[k] = Some(k);
            load[k] += share.parts;
        }
    }
    let mut left: Vec<usize> = (0..shares.len()).filter(|&k| by[k].is_none()).collect();
    left.sort_by_key(|&k| std::cmp::Reverse(shares[k].parts));
    for k in left {
        let same = |rank: &usize| adapters[*rank] == shares[k].adapter;
        let any = (0..adapters.len()).any(|rank| same(&rank));
        let fit = (0..adapters.len()).filter(|rank| !any || same(rank));
        let rank = fit.min_by_key(|&rank| load[rank]).expect("a rank");
        by[k] = Some(rank);
        load[rank] += shares[k].parts;
    }
    by.into_iter().flatten().collect()
}

/// Adds what a share has added up to what those before it came to.
pub fn add(sum: &mut [f32], share: &[f32]) {
    sum.iter_mut().zip(share).for_each(|(sum, share)| *sum += share);
}

/// Moves running statistics by a share of so many parts, which began at `began` and left `left`.
pub fn move_running(running: &mut [f32], began: &[f32], left: &[f32], parts: u32) {
    // Not `powi`, whose bits may differ between machines.
    let kept = (0..parts).fold(1.0f32, |kept, _| kept * (1.0 - MOMENTUM));
    for ((running, began), left) in running.iter_mut().zip(began).zip(left) {
        *running = left + kept * (*running - began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(of: &[(u32, &str)]) -> Vec<Share> {
        of.iter().map(|&(parts, adapter)| Share { parts, adapter: adapter.into() }).collect()
    }

    fn assigned(of: &[(u32, &str)], adapters: &[&str]) -> Vec<usize> {
        let adapters: Vec<String> = adapters.iter().map(|&name| name.into()).collect();
        assign(&shares(of), &adapters)
    }

    #[test]
    fn equal_ranks_have_a_part_each_and_unequal_ones_what_they_are_worth() {
        let cuts = [1, 2, 4, 8, 16, 32];
        assert_eq!(apportion(&cuts, &[1.0]), [1]);
        assert_eq!(apportion(&cuts, &[1.0, 1.02]), [1, 1]);
        assert_eq!(apportion(&cuts, &[1.0, 1.0, 1.02, 0.98]), [1; 4]);
        assert_eq!(apportion(&cuts, &[1.0, 2.5, 5.0]), [5, 2, 1]);
        // Three and one of four are nearly as good as eleven and five of sixteen.
        assert_eq!(apportion(&cuts, &[1.0, 2.0]), [3, 1]);
        assert_eq!(apportion(&[1, 2, 8, 16], &[1.0, 2.0]), [6, 2]);
        // Who is not worth a part has none, but the first, which has the optimiser as well.
        assert_eq!(apportion(&[1, 2], &[1.0, 9.0]), [1, 0]);
        assert_eq!(apportion(&[1, 2], &[9.0, 1.0]), [1, 1]);
        // More ranks than the batch has parts.
        assert_eq!(apportion(&[1, 3], &[1.0; 4]), [1, 1, 1, 0]);
    }

    #[test]
    fn shares_stay_with_their_adapter() {
        let of = [(5, "a"), (2, "a"), (1, "a")];
        assert_eq!(assigned(&of, &["a", "a", "a", "a"]), [0, 1, 2]);
        assert_eq!(assigned(&of, &["a", "a"]), [0, 1, 1]);
        assert_eq!(assigned(&of, &["a"]), [0, 0, 0]);
        let of = [(5, "a"), (2, "b"), (1, "a"), (1, "b")];
        assert_eq!(assigned(&of, &["b", "a"]), [1, 0, 1, 0]);
        // There is no such adapter any more.
        assert_eq!(assigned(&of, &["c", "c"]), [0, 1, 1, 1]);
    }

    #[test]
    fn running_statistics_go_through_the_shares_as_through_their_parts() {
        let batches = [3.0f32, -1.0, 0.5, 8.0, 2.0];
        let run = |from: f32, of: &[f32]| {
            of.iter().fold(from, |s, b| (1.0 - MOMENTUM) * s + MOMENTUM * b)
        };
        let mut running = [2.5f32];
        for share in [&batches[..2], &batches[2..3], &batches[3..]] {
            let left = [run(2.5, share)];
            move_running(&mut running, &[2.5], &left, share.len() as u32);
        }
        let wanted = run(2.5, &batches);
        assert!((running[0] / wanted - 1.0).abs() < 1e-6, "{running:?} and {wanted}");
        // Of one share alone to the bit.
        let mut running = [2.5f32];
        move_running(&mut running, &[2.5], &[wanted], 5);
        assert_eq!(running[0].to_bits(), wanted.to_bits());
    }
}
