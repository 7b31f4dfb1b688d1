//! What chance alone would do.

/// How probable it is that fair coins fall at least as unevenly as `one` times so and `other` times so: the exact two-sided sign test, of which
/// McNemar's exact test is the one over the samples that two classifiers judge differently. 1 where nothing was thrown.
pub fn sign_test(one: u64, other: u64) -> f64 {
    let (thrown, fewer) = (one + other, one.min(other));
    // ln C(n, k) − n ln 2, from one k to the next: as a number it would be 0 from n = 1075 on.
    let mut term = -(thrown as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for k in 0..fewer {
        term += ((thrown - k) as f64).ln() - ((k + 1) as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::sign_test;

    #[test]
    fn coins_fall_as_the_binomial_distribution_says() {
        // Whole numbers over 2ⁿ⁻¹; the last is 2 · Σ_{k ≤ 480} C(1000, k) / 2¹⁰⁰⁰ by Python's own whole numbers.
        for (one, other, expected) in [
            (0, 0, 1.0),
            (3, 3, 1.0),
            (1, 0, 1.0),
            (0, 5, 1.0 / 16.0),
            (2, 10, (1.0 + 12.0 + 66.0) / 2048.0),
            (480, 520, 0.217_448_293_2),
            (520, 480, 0.217_448_293_2),
        ] {
            let found = sign_test(one, other);
            assert!((found - expected).abs() < 1e-9, "{one} to {other}: {found}");
        }
        assert_eq!(sign_test(0, 5000), 0.0);
        assert!((sign_test(2500, 2500) - 1.0).abs() < 1e-12);
    }
}
