//! Random numbers: a counter-based hash of our own, so that a weight, an order, a crop or a procedural image is the
//! same bits on every machine, thread and version of any crate.
//!
//! A number is a pure function of a *key*, and a key is a hash of what it belongs to: `key(&[seed, epoch, sample])`.

/// 2⁶⁴ divided by the golden ratio: the step of SplitMix64's counter.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function (Steele, Lea and Flood 2014): a bijection of 64 bits in which every input bit reaches
/// every output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One key out of several numbers; their order and their count matter.
pub fn key(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(STEP, |hash, part| mix(hash.wrapping_add(STEP) ^ mix(part.wrapping_add(STEP))))
}

/// A number for a name (FNV-1a), to be a part of a key.
pub fn name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A stream of random numbers that belongs to one key (SplitMix64).
#[derive(Debug, Clone)]
pub struct Stream {
    counter: u64,
}

impl Stream {
    /// The stream of the key made from `parts`.
    pub fn new(parts: &[u64]) -> Self {
        Self { counter: key(parts) }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        mix(self.counter)
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A number from the normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// A whole number in 0..`count`, each equally likely to within 2⁻⁶⁴·`count`; 0 if `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }
}

/// The numbers 0..`count` in an order that is a function of `parts` alone (Fisher and Yates).
pub fn permutation(count: usize, parts: &[u64]) -> Vec<usize> {
    let mut stream = Stream::new(parts);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, stream.below(last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        // Written down once: a change here changes every run that was ever made.
        let mut stream = Stream::new(&[1, 2, 3]);
        let seen: Vec<u64> = (0..3).map(|_| stream.bits()).collect();
        assert_eq!(seen, EXPECTED_BITS);
        assert_eq!(permutation(8, &[7]), EXPECTED_ORDER);
    }

    const EXPECTED_BITS: [u64; 3] =
        [17_088_025_837_137_547_563, 7_058_881_675_895_100_185, 2_951_516_726_257_217_968];
    const EXPECTED_ORDER: [usize; 8] = [7, 4, 2, 6, 0, 1, 5, 3];

    #[test]
    fn order_and_count_of_parts_matter() {
        assert_ne!(key(&[1, 2]), key(&[2, 1]));
        assert_ne!(key(&[1]), key(&[1, 0]));
        assert_ne!(key(&[]), key(&[0]));
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = permutation(1000, &[5]);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        assert!(permutation(0, &[5]).is_empty());
    }

    #[test]
    fn small_numbers_are_evenly_likely() {
        let mut stream = Stream::new(&[9]);
        let mut seen = [0usize; 10];
        for _ in 0..10_000 {
            seen[stream.below(10)] += 1;
        }
        assert!(seen.iter().all(|count| (880..1120).contains(count)), "{seen:?}");
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Stream::new(&[10]);
        let x: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = x.iter().sum::<f64>() / 20_000.0;
        let square = x.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.04, "{mean} {square}");
    }
}
