//! How far a result is from what it should be. A number that is no number is as far off as can be, and two lists of different lengths have no
//! distance: `f64::max` and `zip` would let both pass.

/// The largest of some errors; infinite if one of them is not a number.
pub fn largest(errors: impl IntoIterator<Item = f64>) -> f64 {
    let errors = errors.into_iter();
    errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max)
}

/// What stands at the same places of two lists.
///
/// # Panics
/// If one is longer than the other.
#[track_caller]
pub fn pairs<'a, A, B>(found: &'a [A], wanted: &'a [B]) -> impl Iterator<Item = (f64, f64)> + 'a
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    assert_eq!(found.len(), wanted.len(), "the lists are of different lengths");
    found.iter().zip(wanted).map(|(&found, &wanted)| (found.into(), wanted.into()))
}

/// Root of the mean square; 0 of nothing.
pub fn rms(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    (numbers.map(|x| x * x).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{largest, pairs, rms};

    #[test]
    fn no_number_is_far_off() {
        assert_eq!(largest([1.0, f64::NAN, 2.0]), f64::INFINITY);
        assert_eq!(largest([1.0, 3.0, 2.0]), 3.0);
        assert_eq!(largest([]), 0.0);
    }

    #[test]
    #[should_panic(expected = "different lengths")]
    fn a_shorter_list_is_no_result() {
        drop(pairs(&[1.0f32], &[1.0f32, 2.0]));
    }

    #[test]
    fn the_mean_is_of_squares() {
        assert_eq!(rms([3.0, 4.0, 0.0, 0.0].into_iter()), 2.5);
    }
}
