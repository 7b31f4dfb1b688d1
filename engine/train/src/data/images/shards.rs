//! Files that are parts of a data set's parts, told by their names: `train-000000.tar`, `validation-00000-of-00004.parquet`, `test/0.tar`.

use std::path::Path;

use super::super::DataError;
use super::super::account::Account;
use super::super::place::Place;
use super::layout::{TEST, TRAIN};
use crate::text::escape;

/// The most names that braces stand for.
const MOST: usize = 1_000_000;
/// The longest name with braces, in bytes.
const LONGEST: usize = 4096;

/// A file of a part.
#[derive(Debug)]
pub(super) struct Shard {
    /// Its name from the folder that was given.
    pub(super) name: String,
    pub(super) place: Place,
}

/// The shards of one part.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// What names call it; empty where they tell no part.
    pub(super) name: String,
    pub(super) shards: Vec<Shard>,
}

/// The shards of both parts.
#[derive(Debug, Default)]
pub(super) struct Both {
    pub(super) train: Part,
    pub(super) test: Part,
    /// Those of other parts that might be tested on, in the order in which they would be chosen.
    pub(super) others: Vec<Part>,
}

/// Tells the parts by the words of the shards' names, those of a file's name before those of its folders'. Where no name tells one, all are of
/// one part, which is split.
///
/// # Errors
/// Some names tell a part and others none, or one tells two.
pub(super) fn parts(
    path: &Path,
    shards: Vec<Shard>,
    account: &mut Account,
) -> Result<Both, DataError> {
    let mut both = told(path, shards)?;
    let chosen = both.test.name.clone();
    for Part { name, shards } in std::mem::take(&mut both.others) {
        account.note(left_out(&name, shards.len(), &chosen));
    }
    Ok(both)
}

/// What is said of a part that might have been the test part.
pub(super) fn left_out(name: &str, count: usize, chosen: &str) -> String {
    let files = match count {
        1 => format!("1 file of \"{name}\" is"),
        _ => format!("{count} files of \"{name}\" are"),
    };
    format!("{files} not read, as \"{chosen}\" is the test part")
}

/// Whether a name is that of a Parquet file.
pub(in crate::data) fn is_parquet(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".parquet")
}

/// [`parts`], with those that are not chosen.
///
/// # Errors
/// As [`parts`].
pub(super) fn told(path: &Path, shards: Vec<Shard>) -> Result<Both, DataError> {
    let (mut known, mut unknown): (Vec<Part>, Vec<Shard>) = Default::default();
    for shard in shards {
        let told = part_of(&shard.name).map_err(|(one, two)| {
            let name = escape(&shard.name);
            let problem = format!("\"{name}\" is named after two parts, {one} and {two}");
            DataError::malformed(path, problem)
        })?;
        let Some(name) = told else {
            unknown.push(shard);
            continue;
        };
        match known.iter_mut().find(|part| part.name == name) {
            Some(part) => part.shards.push(shard),
            None => known.push(Part { name: name.into(), shards: vec![shard] }),
        }
    }
    let mut both = Both::default();
    match (known.first(), unknown.first()) {
        (Some(part), Some(shard)) => {
            let one = part.shards.first().map_or("", |shard| &shard.name);
            let problem = format!(
                "has \"{}\", a part of {}, and \"{}\", whose name tells no part; call it train-… or {}-…, or move it away",
                escape(one),
                part.name,
                escape(&shard.name),
                TEST.join("-…, ")
            );
            return Err(DataError::malformed(path, problem));
        }
        (None, _) => both.train.shards = unknown,
        (Some(_), None) => {
            let mut take = |name: &str| {
                let at = known.iter().position(|part| part.name == name)?;
                Some(known.remove(at))
            };
            both.train = take(TRAIN).unwrap_or_default();
            let mut tests = TEST.iter().filter_map(|name| take(name));
            both.test = tests.next().unwrap_or_default();
            both.others = tests.collect();
        }
    }
    Ok(both)
}

/// The part that a name tells, or the two that it does.
fn part_of(name: &str) -> Result<Option<&'static str>, (&'static str, &'static str)> {
    for component in name.rsplit('/') {
        let words = component.split(|c: char| !c.is_ascii_alphanumeric());
        let known = |word: &str| {
            let mut all = TEST.iter().chain([&TRAIN]);
            all.find(|part| word.eq_ignore_ascii_case(part)).copied()
        };
        let mut told = words.filter_map(known);
        match (told.next(), told.next()) {
            (Some(one), Some(two)) if one != two => return Err((one, two)),
            (Some(part), _) => return Ok(Some(part)),
            (None, _) => {}
        }
    }
    Ok(None)
}

/// The names that one with braces stands for, as in a shell: `{000..146}` is every number with as many digits, `{a,b}` is each of these.
///
/// # Errors
/// Braces that are not closed, or hold something else; too many names.
pub(super) fn expand(name: &str) -> Result<Vec<String>, String> {
    if name.len() > LONGEST {
        return Err(format!("has more than {LONGEST} bytes in its name"));
    }
    let Some((before, rest)) = name.split_once('{') else { return Ok(vec![name.to_owned()]) };
    let (mut depth, mut end, mut pieces) = (0, None, vec![0]);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = Some(at);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => pieces.push(at + 1),
            _ => {}
        }
    }
    let end = end.ok_or("has a { that no } closes")?;
    let (inside, behind) = (&rest[..end], &rest[end + 1..]);
    let too_many = || format!("has braces for more than {MOST} names");
    let mut choices = Vec::new();
    match inside.split_once("..") {
        Some((first, last)) if pieces.len() == 1 && !inside.contains('{') => {
            let (Ok(from), Ok(to)) = (first.parse::<usize>(), last.parse::<usize>()) else {
                return Err(format!(
                    "has {{{}}}, where two numbers are allowed, as {{000..146}}",
                    escape(inside)
                ));
            };
            if from > to {
                return Err(format!("has {{{}}}, whose first number is larger", escape(inside)));
            }
            if to - from >= MOST {
                return Err(too_many());
            }
            let width = first.len();
            choices.extend((from..=to).map(|number| format!("{number:0width$}")));
        }
        _ => {
            let ends = pieces[1..].iter().map(|next| next - 1).chain([end]);
            for (&first, last) in pieces.iter().zip(ends) {
                choices.extend(expand(&rest[first..last])?);
            }
        }
    }
    let rest = expand(behind)?;
    if choices.len().saturating_mul(rest.len()) > MOST {
        return Err(too_many());
    }
    let join = |choice: &String| {
        let begun = format!("{before}{choice}");
        rest.iter().map(move |rest| format!("{begun}{rest}")).collect::<Vec<String>>()
    };
    Ok(choices.iter().flat_map(join).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_names() {
        assert_eq!(expand("a/b.tar").unwrap(), ["a/b.tar"]);
        assert_eq!(expand("t-{008..010}.tar").unwrap(), ["t-008.tar", "t-009.tar", "t-010.tar"]);
        assert_eq!(
            expand("{train,val}-{0..1}.tar").unwrap(),
            ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]
        );
        assert_eq!(
            expand("x-{t-{9..10},v-{a}}.tar").unwrap(),
            ["x-t-9.tar", "x-t-10.tar", "x-v-a.tar"]
        );
        for (name, words) in [
            ("t-{0..1.tar", "no } closes"),
            ("t-{0..x}.tar", "two numbers are allowed"),
            ("t-{2..1}.tar", "whose first number is larger"),
            ("t-{0..1000000}.tar", "more than 1000000 names"),
            ("{0..999999}{0..1}", "more than 1000000 names"),
        ] {
            let error = expand(name).unwrap_err();
            assert!(error.contains(words), "{name}: {error}");
        }
    }

    #[test]
    fn words_of_names_tell_parts() {
        for (name, part) in [
            ("train-000000.tar", Some("train")),
            ("imagenet1k-validation-07.tar", Some("validation")),
            ("Test/0.tar", Some("test")),
            ("train/val_3.tar", Some("val")),
            ("training-1.tar", None),
            ("000000.tar", None),
        ] {
            assert_eq!(part_of(name), Ok(part), "{name}");
        }
        assert_eq!(part_of("train-val-0.tar"), Err(("train", "val")));
    }
}
