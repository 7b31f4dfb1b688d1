//! What a network says of each test picture, and what can be seen of that: which classes it knows, which it takes for others, how far its
//! probabilities are to be trusted, and where it is wrong and sure of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statistics::sign_test;

/// Name of the file of [`Verdicts`] in the folder of a member or a teacher. It stands in a folder of its own, as a teacher's is a model folder, and
/// verdicts are none of a model's files.
pub const VERDICTS: &str = "test/verdicts.json";
/// Bins of confidence, of equal width, over which the calibration error is measured (Guo et al. 2017).
pub const BINS: usize = 15;
/// Mistakes that a review lists, at most.
const MISTAKES: usize = 24;

/// What a network says of each test picture, in the order of the test part: `test/verdicts.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdicts {
    /// Name of each class.
    pub classes: Vec<String>,
    /// The class that each picture has.
    pub labels: Vec<u32>,
    /// The class that it is said to have: the most probable one, the first of several.
    pub said: Vec<u32>,
    /// The probability of that class; 0 where the network's outputs are no numbers.
    pub confidences: Vec<f32>,
}

/// What can be seen of verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// Pictures.
    pub count: u64,
    /// Percent of them of which the right class was said.
    pub accuracy: f64,
    /// Expected calibration error in percent: the mean distance of confidence and accuracy over the bins, weighed by their pictures.
    pub ece: f64,
    /// Bins of confidence of equal width, from 0 to 1; a confidence on an edge is of the lower bin.
    pub bins: Vec<Bin>,
    /// Each class, in the order of the outputs.
    pub classes: Vec<ClassReview>,
    /// How many pictures of a class are said to be of another, or of the same: `[class, said, pictures]` where there are any, in order.
    pub confusion: Vec<[u64; 3]>,
    /// Pictures of which a wrong class was said, most confident first; not all, if they are many.
    pub mistakes: Vec<Mistake>,
}

/// Pictures of about one confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    /// How many.
    pub count: u64,
    /// Percent of them that are right; 0 of none.
    pub accuracy: f64,
    /// Their mean confidence in percent; 0 of none.
    pub confidence: f64,
}

/// Pictures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassReview {
    /// Its name.
    pub name: String,
    /// How many are of it.
    pub count: u64,
    /// How many are said to be of it.
    pub said: u64,
    /// How many are both.
    pub right: u64,
    /// Percent of its pictures that are said to be of it (recall); none without pictures.
    pub accuracy: Option<f64>,
}

/// A picture of which a wrong class was said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// Its place in the test part.
    pub index: u64,
    /// The class that it has.
    pub label: u32,
    /// The class that was said.
    pub said: u32,
    /// How probable that class was said to be.
    pub confidence: f32,
}

/// Two networks on the same pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versus {
    /// Pictures.
    pub count: u64,
    /// How many both have right.
    pub both_right: u64,
    /// How many both have wrong.
    pub both_wrong: u64,
    /// Places of those that only the first has right.
    pub only_first: Vec<u64>,
    /// Places of those that only the second has right.
    pub only_second: Vec<u64>,
    /// McNemar's exact test, two-sided: how probable so uneven a split is if both are equally good.
    pub p: f64,
}

impl Verdicts {
    /// No verdict yet on pictures of these classes.
    pub fn of(classes: &[String]) -> Self {
        Self { classes: classes.to_vec(), ..Self::default() }
    }

    /// Adds the verdict on a picture of a class by the network's outputs for it.
    pub fn push(&mut self, label: u32, outputs: &[f32]) {
        let mut best = 0;
        for (class, output) in outputs.iter().enumerate() {
            if *output > outputs[best] {
                best = class;
            }
        }
        let most = outputs.get(best).copied().unwrap_or(f32::NAN);
        let sum: f64 = outputs.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).sum();
        let confidence = (1.0 / sum) as f32;
        self.labels.push(label);
        self.said.push(best as u32);
        self.confidences.push(if confidence.is_finite() { confidence } else { 0.0 });
    }

    /// Whether there is a verdict of known classes on each picture, as in a file that was not changed by hand.
    pub fn is_whole(&self) -> bool {
        let Self { classes, labels, said, confidences } = self;
        let known = |class: &u32| (*class as usize) < classes.len();
        labels.len() == said.len()
            && said.len() == confidences.len()
            && labels.iter().chain(said).all(known)
            && confidences.iter().all(|confidence| (0.0..=1.0).contains(confidence))
    }

    /// What can be seen of them, which are whole.
    ///
    /// # Panics
    /// They are not [`Self::is_whole`].
    pub fn review(&self) -> Review {
        let one = |name: &String| ClassReview {
            name: name.clone(),
            count: 0,
            said: 0,
            right: 0,
            accuracy: None,
        };
        let mut classes: Vec<ClassReview> = self.classes.iter().map(one).collect();
        let mut confusion: BTreeMap<[u64; 2], u64> = BTreeMap::new();
        // Pictures, those that are right, and the sum of confidences.
        let mut bins = [(0u64, 0u64, 0.0f64); BINS];
        let mut mistakes = Vec::new();
        for (index, ((&label, &said), &confidence)) in
            self.labels.iter().zip(&self.said).zip(&self.confidences).enumerate()
        {
            let right = u64::from(label == said);
            classes[label as usize].count += 1;
            classes[said as usize].said += 1;
            classes[label as usize].right += right;
            *confusion.entry([label.into(), said.into()]).or_default() += 1;
            let bin = (f64::from(confidence) * BINS as f64).ceil() as usize;
            let bin = &mut bins[bin.clamp(1, BINS) - 1];
            *bin = (bin.0 + 1, bin.1 + right, bin.2 + f64::from(confidence));
            if right == 0 {
                mistakes.push(Mistake { index: index as u64, label, said, confidence });
            }
        }
        for class in classes.iter_mut().filter(|class| class.count > 0) {
            class.accuracy = Some(percent(class.right as f64, class.count));
        }
        let count = self.labels.len() as u64;
        let right: u64 = classes.iter().map(|class| class.right).sum();
        let apart: f64 = bins.iter().map(|(_, right, sum)| (*right as f64 - sum).abs()).sum();
        mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index)));
        mistakes.truncate(MISTAKES);
        let bin = |(count, right, sum): (u64, u64, f64)| Bin {
            count,
            accuracy: percent(right as f64, count),
            confidence: percent(sum, count),
        };
        Review {
            count,
            accuracy: percent(right as f64, count),
            ece: percent(apart, count),
            bins: bins.into_iter().map(bin).collect(),
            classes,
            confusion: confusion.into_iter().map(|([a, b], count)| [a, b, count]).collect(),
            mistakes,
        }
    }

    /// Which pictures one has right and the other wrong; none if they are not of the same pictures, as far as their classes tell.
    pub fn versus(&self, other: &Self) -> Option<Versus> {
        if (&self.classes, &self.labels) != (&other.classes, &other.labels) {
            return None;
        }
        let mut versus = Versus {
            count: self.labels.len() as u64,
            both_right: 0,
            both_wrong: 0,
            only_first: Vec::new(),
            only_second: Vec::new(),
            p: 1.0,
        };
        for (index, (label, said)) in
            self.labels.iter().zip(self.said.iter().zip(&other.said)).enumerate()
        {
            match (said.0 == label, said.1 == label) {
                (true, true) => versus.both_right += 1,
                (false, false) => versus.both_wrong += 1,
                (true, false) => versus.only_first.push(index as u64),
                (false, true) => versus.only_second.push(index as u64),
            }
        }
        versus.p = sign_test(versus.only_first.len() as u64, versus.only_second.len() as u64);
        Some(versus)
    }
}

/// A share in percent; 0 of none.
fn percent(part: f64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { 100.0 * part / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(of: &[(u32, u32, f32)]) -> Verdicts {
        Verdicts {
            classes: ["a", "b", "c"].map(String::from).to_vec(),
            labels: of.iter().map(|of| of.0).collect(),
            said: of.iter().map(|of| of.1).collect(),
            confidences: of.iter().map(|of| of.2).collect(),
        }
    }

    #[test]
    fn a_verdict_is_the_first_of_the_most_probable_classes() {
        let mut verdicts = Verdicts::of(&["a".into(), "b".into(), "c".into()]);
        verdicts.push(2, &[0.0, 1.0, 1.0]);
        verdicts.push(0, &[f32::NAN, 1.0, 1.0]);
        verdicts.push(1, &[-1e30, 1e30, 0.0]);
        assert_eq!((verdicts.said.as_slice(), verdicts.confidences[1]), (&[1, 0, 1][..], 0.0));
        let e = std::f64::consts::E;
        assert!((f64::from(verdicts.confidences[0]) - e / (2.0 * e + 1.0)).abs() < 1e-7);
        assert_eq!(verdicts.confidences[2], 1.0);
        assert!(verdicts.is_whole());
        let text = serde_json::to_string(&verdicts).expect("written");
        assert_eq!(serde_json::from_str::<Verdicts>(&text).expect("read"), verdicts);
    }

    #[test]
    fn a_review_counts_by_class_and_lists_the_surest_mistakes_first() {
        let review =
            verdicts(&[(0, 0, 0.9), (0, 1, 0.6), (1, 1, 1.0), (1, 0, 0.8), (1, 1, 0.8)]).review();
        assert_eq!((review.count, review.accuracy), (5, 60.0));
        let accuracy: Vec<_> = review.classes.iter().map(|class| class.accuracy).collect();
        assert_eq!(accuracy, [Some(50.0), Some(200.0 / 3.0), None]);
        assert_eq!(review.confusion, [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 2]]);
        let order: Vec<u64> = review.mistakes.iter().map(|mistake| mistake.index).collect();
        assert_eq!(order, [3, 1]);
        // |1 − 1.6| of the bin of both 0.8, 0.1 of that of 0.9, 0.6 of that of 0.6, over 5.
        assert!((review.ece - 100.0 * (0.6 + 0.1 + 0.6) / 5.0).abs() < 1e-5, "{}", review.ece);
        assert_eq!(Verdicts::default().review().ece, 0.0);
    }

    /// What `tests/golden/verdicts.py` makes.
    #[derive(Deserialize)]
    struct Golden {
        logits: Vec<Vec<f32>>,
        labels: Vec<u32>,
        said: Vec<u32>,
        ece: f64,
        bins: Vec<u64>,
        confusion: Vec<Vec<u64>>,
        accuracy: Vec<f64>,
        mistakes: Vec<u64>,
    }

    #[test]
    fn a_review_is_what_pytorch_says_of_the_same_outputs() {
        let text = include_str!("../../../tests/golden/verdicts.json");
        let golden: Golden = serde_json::from_str(text).expect("read");
        let mut verdicts = Verdicts::of(&["a", "b", "c", "d", "e"].map(String::from));
        for (&label, outputs) in golden.labels.iter().zip(&golden.logits) {
            verdicts.push(label, outputs);
        }
        assert_eq!(verdicts.said, golden.said);
        let review = verdicts.review();
        assert!((review.ece - golden.ece).abs() < 1e-4, "{} {}", review.ece, golden.ece);
        let bins: Vec<u64> = review.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(bins, golden.bins);
        let mut confusion = vec![vec![0; 5]; 5];
        for [class, said, count] in review.confusion {
            confusion[class as usize][said as usize] = count;
        }
        assert_eq!(confusion, golden.confusion);
        for (class, expected) in review.classes.iter().zip(golden.accuracy) {
            let accuracy = class.accuracy.expect("has pictures");
            assert!((accuracy - expected).abs() < 1e-4, "{}", class.name);
        }
        let order: Vec<u64> = review.mistakes.iter().map(|mistake| mistake.index).collect();
        assert_eq!(order, golden.mistakes[..order.len()]);
        assert_eq!(order.len(), golden.mistakes.len().min(MISTAKES));
    }

    #[test]
    fn two_networks_are_compared_picture_by_picture() {
        let one = verdicts(&[(0, 0, 0.9), (0, 1, 0.6), (1, 1, 1.0), (1, 0, 0.8)]);
        let other = verdicts(&[(0, 0, 0.9), (0, 0, 0.6), (1, 0, 1.0), (1, 0, 0.8)]);
        let versus = one.versus(&other).expect("the same pictures");
        assert_eq!((versus.both_right, versus.both_wrong, versus.p), (1, 1, 1.0));
        assert_eq!((versus.only_first, versus.only_second), (vec![2], vec![1]));
        assert_eq!(one.versus(&verdicts(&[(1, 0, 0.9)])), None);
    }

    #[test]
    fn verdicts_that_do_not_fit_are_noticed() {
        let whole = verdicts(&[(0, 0, 0.5)]);
        assert!(whole.is_whole());
        for bad in [
            Verdicts { said: vec![3], ..whole.clone() },
            Verdicts { labels: vec![0, 1], ..whole.clone() },
            Verdicts { confidences: vec![1.5], ..whole.clone() },
        ] {
            assert!(!bad.is_whole());
        }
    }
}
