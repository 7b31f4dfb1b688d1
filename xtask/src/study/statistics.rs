//! Differences seed by seed.

/// 97.5 % quantiles of Student's t with 1, 2, … degrees of freedom (National Institute of Standards and Technology, e-Handbook, 1.3.6.7.2).
const T: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// The mean of numbers.
pub(super) fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len() as f64;
    numbers.sum::<f64>() / count
}

/// The mean, and the sample deviation, of two numbers or more.
pub(super) fn spread(numbers: &[f64]) -> (f64, f64) {
    let mean = mean(numbers.iter().copied());
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (mean, (squares / (numbers.len() as f64 - 1.0)).sqrt())
}

/// What one arm is better than another by, on the same seeds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paired {
    pub(super) mean: f64,
    /// Ends of the 95 % interval of the mean, by Student's t.
    pub(super) interval: [f64; 2],
    /// Seeds on which the first is better, and on which the second is.
    pub(super) better: [u64; 2],
    /// Of the exact two-sided sign test.
    pub(super) p: f64,
}

impl Paired {
    /// The first minus the second; both have the same seeds in the same order, two at least and eleven at most.
    pub(super) fn of(first: &[f64], second: &[f64]) -> Self {
        assert_eq!(first.len(), second.len());
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let (mean, deviation) = spread(&differences);
        let half = T[differences.len() - 2] * deviation / (differences.len() as f64).sqrt();
        let count = |is: fn(&f64) -> bool| differences.iter().filter(|d| is(d)).count() as u64;
        let better = [count(|d| *d > 0.0), count(|d| *d < 0.0)];
        Self { mean, interval: [mean - half, mean + half], better, p: sign_test(better) }
    }
}

/// How probable so uneven a split is if both sides are equally likely.
fn sign_test([a, b]: [u64; 2]) -> f64 {
    let (all, least) = (a + b, a.min(b));
    let mut chance = 0.5f64.powi(i32::try_from(all).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for k in 0..=least {
        sum += chance;
        chance *= (all - k) as f64 / (k + 1) as f64;
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand: the differences are 1, 0.5, -0.5, 2 and 0.5, their deviation 0.9083, and 2.776 · 0.9083 / √5 = 1.1276; of five seeds that
    /// differ, one or none is on the other side with 6 / 32.
    #[test]
    fn differences_are_those_worked_out_by_hand() {
        let paired = Paired::of(&[91.0, 92.5, 90.0, 93.0, 91.5], &[90.0, 92.0, 90.5, 91.0, 91.0]);
        assert!((paired.mean - 0.7).abs() < 1e-12);
        let [low, high] = paired.interval;
        assert!((low + 0.427_6).abs() < 1e-3 && (high - 1.827_6).abs() < 1e-3, "{paired:?}");
        assert_eq!(paired.better, [4, 1]);
        assert!((paired.p - 0.375).abs() < 1e-12);
        assert_eq!(sign_test([0, 0]), 1.0);
        assert!((sign_test([5, 0]) - 0.0625).abs() < 1e-12);
    }
}
