//! Which pictures are trained on and which are tested on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use std::path::Path;

use super::super::DataError;
use super::super::account::Used;
use super::super::source::{HeldOut, SPLIT};
use super::examples::{Examples, Parts};
use crate::config::Images;
use crate::random;

/// The training and the test examples: a missing part is split from the other one, and a validation part takes the place of the test part.
pub(super) fn divide(parts: Parts, config: &Images) -> Result<(Examples, Examples), DataError> {
    let count =
        |asked: Option<u64>| asked.map(|asked| usize::try_from(asked).unwrap_or(usize::MAX));
    let (train_count, test_count) = (count(config.train_count), count(config.test_count));
    let (train, test) = match (parts.train, parts.test) {
        (Some(train), Some(test)) => (
            subset(train, train_count, "data.train_count", config.split_seed)?,
            subset(test, test_count, "data.test_count", config.split_seed)?,
        ),
        (Some(only), None) | (None, Some(only)) => {
            cut_in_two(only, train_count, test_count, config)?
        }
        (None, None) => return Err(nothing(config)),
    };
    for (part, key) in [(&train, "data.train_count"), (&test, "data.test_count")] {
        if part.len() == 0 {
            return Err(DataError::setting(
                key,
                format!("no images are left of those in {}", part.place),
            ));
        }
    }
    match config.validation_fraction {
        Some(fraction) => validation(train, HeldOut::validation(fraction, config.split_seed)),
        None => Ok((train, test)),
    }
}

/// The examples without their validation part, and that part, each class by its share. The test part has no say in it.
fn validation(train: Examples, held_out: HeldOut) -> Result<(Examples, Examples), DataError> {
    let there = train.len();
    if there < 2 {
        let problem = format!("{there} training images are not parted in two");
        return Err(DataError::setting(held_out.key, problem));
    }
    let count = held_out.count(there as u64)? as usize;
    let order = random::permutation(there, &held_out.draw);
    let (left, validation) = by_class(&train.labels, &order, there - count, count);
    let both = [left.as_slice(), &validation].concat();
    Ok(train.pick(&both).halves(left.len()))
}

/// `count` of the examples, in the order of a seeded permutation; all of them as they are without a count.
fn subset(
    examples: Examples,
    count: Option<usize>,
    key: &'static str,
    seed: u64,
) -> Result<Examples, DataError> {
    let there = examples.len();
    match count {
        None => Ok(examples),
        Some(count) if count == there => Ok(examples),
        Some(asked) if asked > there => {
            Err(DataError::Count { key, asked, there, place: examples.place })
        }
        Some(count) => {
            let mut picks = random::permutation(there, &[seed, SPLIT]);
            picks.truncate(count);
            examples.line_up(&mut picks);
            Ok(examples.pick(&picks))
        }
    }
}

/// One part as two, by class: training examples from the front of a seeded permutation, test examples from its back, so
/// that another `train_count` tests on the same images.
fn cut_in_two(
    only: Examples,
    train: Option<usize>,
    test: Option<usize>,
    config: &Images,
) -> Result<(Examples, Examples), DataError> {
    let (mut train, mut test) = picks(&only.labels, &only.place, train, test, config)?;
    only.line_up(&mut train);
    only.line_up(&mut test);
    let both: Vec<usize> = train.iter().chain(&test).copied().collect();
    let (train_part, test_part) = only.pick(&both).halves(train.len());
    Ok((train_part, test_part))
}

/// How a run would part a part that is alone: pictures of each class to train on and to test on. None where there are both parts, or too few
/// pictures for two.
pub(super) fn foreseen(parts: &Parts, config: &Images) -> Option<Used> {
    let ((Some(only), None) | (None, Some(only))) = (&parts.train, &parts.test) else {
        return None;
    };
    let (train, test) = picks(&only.labels, &only.place, None, None, config).ok()?;
    let of = |picks: &[usize]| {
        let labels: Vec<u32> = picks.iter().map(|&pick| only.labels[pick]).collect();
        counts(&labels, parts.classes.len())
    };
    (!train.is_empty() && !test.is_empty()).then(|| Used { train: of(&train), test: of(&test) })
}

/// Which of the pictures of a part that is alone are trained on, and which are tested on.
fn picks(
    labels: &[u32],
    place: &str,
    train: Option<usize>,
    test: Option<usize>,
    config: &Images,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let there = labels.len();
    let fraction = HeldOut::test(config.test_fraction, config.split_seed).fraction()?;
    let too_many = |key, asked| DataError::Count { key, asked, there, place: place.to_owned() };
    // Of each class that has two pictures, one is tested on.
    let shared = several(labels);
    let held_out = ((there as f64 * fraction).round() as usize).max(1).max(shared);
    let test_count = test.unwrap_or_else(|| {
        train.map_or(held_out, |train| held_out.min(there.saturating_sub(train)))
    });
    if test_count > there {
        return Err(too_many("data.test_count", test_count));
    }
    let train_count = train.unwrap_or(there - test_count);
    if train_count > there {
        return Err(too_many("data.train_count", train_count));
    }
    if train_count + test_count > there {
        return Err(too_many("data.train_count + data.test_count", train_count + test_count));
    }
    let order = random::permutation(there, &[config.split_seed, SPLIT]);
    Ok(by_class(labels, &order, train_count, test_count))
}

/// There are none.
pub(super) fn nothing(config: &Images) -> DataError {
    let path = config.path.as_deref().unwrap_or_default();
    DataError::malformed(Path::new(path), "holds no pictures")
}

/// Samples of each of `classes`.
pub(in crate::data) fn counts(labels: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for &label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

fn classes(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |most| *most as usize + 1)
}

/// Classes that have two samples or more.
fn several(labels: &[u32]) -> usize {
    counts(labels, classes(labels)).into_iter().filter(|count| *count > 1).count()
}

/// `train` samples from the front of `order` and `test` others from its back, each class by its share: within one of
/// it, and where the numbers allow that, one at least of each class that has two is on either side.
fn by_class(
    labels: &[u32],
    order: &[usize],
    train: usize,
    test: usize,
) -> (Vec<usize>, Vec<usize>) {
    let there = counts(labels, classes(labels));
    let least: Vec<u64> = there.iter().map(|&count| u64::from(count > 1)).collect();
    let most: Vec<u64> = there.iter().map(|&count| count.saturating_sub(1)).collect();
    let mut tested = apportion(test as u64, &there, &least, &most);
    let left: Vec<u64> = there.iter().zip(&tested).map(|(all, test)| all - test).collect();
    let least: Vec<u64> = left.iter().map(|&count| count.min(1)).collect();
    let mut trained = apportion(train as u64, &left, &least, &left);
    let take = |quota: &mut [u64], pick: usize| {
        let left = &mut quota[labels[pick] as usize];
        let taken = *left > 0;
        *left = left.saturating_sub(1);
        taken
    };
    let front = order.iter().copied().filter(|&pick| take(&mut trained, pick)).collect();
    let mut back: Vec<usize> =
        order.iter().rev().copied().filter(|&pick| take(&mut tested, pick)).collect();
    back.reverse();
    (front, back)
}

/// `total` in whole numbers by the shares of `there`, none under `least` or over `most`: by the largest remainders.
/// Where the bounds leave no way, they are 0 and what is there. `total` is at most the sum of `there`.
fn apportion(total: u64, there: &[u64], least: &[u64], most: &[u64]) -> Vec<u64> {
    let sum = |numbers: &[u64]| numbers.iter().sum::<u64>();
    let all = sum(there);
    let low = if sum(least) > total { vec![0; there.len()] } else { least.to_vec() };
    let high = if sum(most) < total { there.to_vec() } else { most.to_vec() };
    if all == 0 {
        return low;
    }
    let share = |at: usize| u128::from(total) * u128::from(there[at]);
    let mut given: Vec<u64> = (0..there.len())
        .map(|at| ((share(at) / u128::from(all)) as u64).max(low[at]).min(high[at]))
        .collect();
    // How much a class lacks of its exact share, times `all`.
    let lacks = |at: usize, given: u64| share(at) as i128 - i128::from(given) * i128::from(all);
    let mut missing = total as i64 - sum(&given) as i64;
    let step = missing.signum();
    let room = |at: usize, given: u64| if step > 0 { given < high[at] } else { given > low[at] };
    let mut next: BinaryHeap<(i128, Reverse<usize>)> = (0..there.len())
        .filter(|&at| room(at, given[at]))
        .map(|at| (lacks(at, given[at]) * i128::from(step), Reverse(at)))
        .collect();
    while missing != 0
        && let Some((_, Reverse(at))) = next.pop()
    {
        given[at] = given[at].saturating_add_signed(step);
        missing -= step;
        if room(at, given[at]) {
            next.push((lacks(at, given[at]) * i128::from(step), Reverse(at)));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_by_class() {
        // 60, 30, 8 and 2 samples, and a class of one.
        let sizes = [60usize, 30, 8, 2, 1];
        let labels: Vec<u32> =
            sizes.iter().zip(0..).flat_map(|(&size, class)| vec![class; size]).collect();
        let order = random::permutation(labels.len(), &[3]);
        let of = |picks: &[usize]| {
            let labels: Vec<u32> = picks.iter().map(|&pick| labels[pick]).collect();
            counts(&labels, sizes.len())
        };
        let (train, test) = by_class(&labels, &order, 81, 20);
        assert_eq!((of(&test), of(&train)), (vec![12, 6, 1, 1, 0], vec![48, 24, 7, 1, 1]));
        // Whatever the counts, they are exact, nothing is in both, and the test part does not depend on the other.
        for (train, test) in
            [(81, 20), (10, 20), (1, 1), (1, 100), (100, 1), (50, 4), (3, 97), (5, 4)]
        {
            let (a, b) = by_class(&labels, &order, train, test);
            let mut all = [&a[..], &b[..]].concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!((a.len(), b.len(), all.len()), (train, test, train + test));
            assert_eq!(b, by_class(&labels, &order, 1, test).1);
            if test >= 4 && train >= 5 {
                assert!(of(&b)[..4].iter().all(|count| *count > 0), "{train} {test}");
                assert!(of(&a).iter().all(|count| *count > 0), "{train} {test}");
            }
        }
        assert_eq!(several(&labels), 4);
        assert_eq!(by_class(&[], &[], 0, 0), (vec![], vec![]));
    }
}
