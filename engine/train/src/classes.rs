//! Classes of a model and of data, matched by their names.
//!
//! Names that differ in their Unicode form only are one name. Some formats number their classes only. If one side has
//! numbers, class k of one side is class k of the other.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization;

/// Names of a list that an error shows.
const SHOWN: usize = 8;

/// Which of a model's outputs belongs to each class of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The model's output for each class of the data.
    pub outputs: Vec<u32>,
    /// Whether one side had no names, so that classes were matched by their places.
    pub by_position: bool,
}

impl Matched {
    fn in_order(count: usize) -> Matched {
        Matched { outputs: (0..count as u32).collect(), by_position: true }
    }

    /// Whether each class is the output of its own place.
    pub fn is_identity(&self) -> bool {
        self.outputs.iter().copied().eq(0..self.outputs.len() as u32)
    }
}

/// Whether a list is `0`, `1`, `2`, …, which says no more than places do.
pub fn are_numbers(labels: &[String]) -> bool {
    labels.iter().enumerate().all(|(place, label)| *label == place.to_string())
}

/// The numbers that stand for the names of so many classes.
pub fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

/// Matches all classes of a model with all of the data.
///
/// # Errors
/// What each side has that the other lacks, as the end of a sentence on the model.
pub fn all(model: &[String], data: &[String]) -> Result<Matched, String> {
    let same = model.len() == data.len();
    match by_name(model, data) {
        Ok(outputs) if same => Ok(Matched { outputs, by_position: false }),
        _ if same && (are_numbers(model) || are_numbers(data)) => Ok(Matched::in_order(data.len())),
        _ => Err(difference(model, data)),
    }
}

/// Finds the classes of data, which may be some of them only, among those of a model.
///
/// # Errors
/// Which classes the model does not know, as the end of a sentence on the model.
pub fn some(model: &[String], data: &[String]) -> Result<Matched, String> {
    match by_name(model, data) {
        Ok(outputs) => Ok(Matched { outputs, by_position: false }),
        Err(_) if data.len() <= model.len() && (are_numbers(model) || are_numbers(data)) => {
            Ok(Matched::in_order(data.len()))
        }
        Err(unknown) => Err(format!("does not know {}; it knows {}", list(&unknown), shown(model))),
    }
}

/// The model's output of each name of the data, else the names that are not there or stand there twice.
fn by_name(model: &[String], data: &[String]) -> Result<Vec<u32>, Vec<String>> {
    let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (label, place) in model.iter().zip(0..) {
        places.entry(composed(label)).or_default().push(place);
    }
    let place = |label: &String| match places.get(&composed(label)).map(Vec::as_slice) {
        Some(&[place]) => Ok(place),
        _ => Err(label.clone()),
    };
    let (found, unknown): (Vec<_>, Vec<_>) = data.iter().map(place).partition(Result::is_ok);
    match unknown.is_empty() {
        true => Ok(found.into_iter().flatten().collect()),
        false => Err(unknown.into_iter().filter_map(Result::err).collect()),
    }
}

/// A name in Unicode's composed form, as data are read.
fn composed(label: impl AsRef<str>) -> String {
    let label = label.as_ref();
    label.nfc().collect()
}

fn difference(model: &[String], data: &[String]) -> String {
    let set = |labels: &[String]| labels.iter().map(composed).collect::<BTreeSet<String>>();
    let (known, there) = (set(model), set(data));
    let lacks = |of: &BTreeSet<String>, from: &[String]| -> Vec<String> {
        from.iter().filter(|label| !of.contains(&composed(label))).cloned().collect()
    };
    let (unknown, absent) = (lacks(&known, data), lacks(&there, model));
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("does not know {}", list(&unknown)));
    }
    if !absent.is_empty() {
        parts.push(format!("knows {}, which the data lack", list(&absent)));
    }
    if parts.is_empty() {
        parts.push("has a name twice".to_owned());
    }
    format!(
        "{}: it tells {} classes apart ({}), the data have {} ({})",
        parts.join(" and "),
        model.len(),
        shown(model),
        data.len(),
        shown(data)
    )
}

/// The first names of a list, with control characters escaped.
fn list(labels: &[String]) -> String {
    let shown: Vec<String> =
        labels.iter().take(SHOWN).map(|label| format!("`{}`", label.escape_debug())).collect();
    match labels.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The first names of a whole set of classes, as a sentence shows them; numbers by their ends.
pub fn shown(labels: &[String]) -> String {
    match labels {
        [first, .., last] if are_numbers(labels) => format!("`{first}` to `{last}`"),
        _ => list(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn outputs(matched: Result<Matched, String>) -> (Vec<u32>, bool) {
        let Matched { outputs, by_position } = matched.expect("they match");
        (outputs, by_position)
    }

    #[test]
    fn a_teachers_classes_are_the_datas_in_any_order() {
        let (model, data) = (labels("cat dog emu"), labels("emu cat dog"));
        assert_eq!(outputs(all(&model, &data)), (vec![2, 0, 1], false));
        assert!(all(&model, &model).expect("the same").is_identity());
        let said = all(&model, &labels("ant cat dog")).expect_err("others");
        assert_eq!(
            said,
            "does not know `ant` and knows `emu`, which the data lack: it tells 3 classes apart (`cat`, `dog`, `emu`), the data have 3 (`ant`, `cat`, `dog`)"
        );
        assert!(all(&model, &labels("cat dog")).expect_err("one less").contains("knows `emu`"));
        assert!(all(&labels("cat cat"), &labels("cat cat")).expect_err("twice").contains("twice"));
    }

    #[test]
    fn unicode_forms_of_a_name_are_one_name() {
        let (model, data) = (labels("e\u{301}clair a"), labels("a \u{e9}clair"));
        assert_eq!(outputs(all(&model, &data)), (vec![1, 0], false));
        assert_eq!(outputs(some(&data, &model[..1])), (vec![1], false));
    }

    #[test]
    fn numbers_are_no_names() {
        assert_eq!(outputs(all(&numbers(3), &labels("ant cat dog"))), (vec![0, 1, 2], true));
        assert_eq!(outputs(all(&labels("ant cat dog"), &numbers(3))), (vec![0, 1, 2], true));
        assert_eq!(outputs(all(&numbers(3), &numbers(3))), (vec![0, 1, 2], false));
        let said = all(&numbers(10), &labels("ant cat")).expect_err("another number");
        assert!(said.contains("10 classes apart (`0` to `9`), the data have 2"), "{said}");
        // Folders with numbers in another order than counting are names.
        assert!(all(&labels("0 1 10 2"), &labels("a b c d")).is_err());
    }

    #[test]
    fn data_may_have_some_of_a_models_classes() {
        let model = labels("cat dog emu");
        assert_eq!(outputs(some(&model, &labels("dog emu"))), (vec![1, 2], false));
        assert_eq!(outputs(some(&numbers(10), &labels("3 7"))), (vec![3, 7], false));
        assert_eq!(outputs(some(&model, &numbers(2))), (vec![0, 1], true));
        let said = some(&model, &labels("ant dog yak")).expect_err("unknown");
        assert_eq!(said, "does not know `ant`, `yak`; it knows `cat`, `dog`, `emu`");
        assert!(some(&model, &numbers(4)).is_err(), "more than there are");
    }

    #[test]
    fn long_lists_are_cut_and_control_characters_escaped() {
        let many: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
        let said = all(&many, &labels("a\u{1b}[31m b")).expect_err("others");
        assert!(said.contains("and 12 more") && !said.contains('\u{1b}'), "{said}");
    }
}
