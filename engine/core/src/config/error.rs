//! What can be wrong with a configuration, and which name may have been meant.

/// What is wrong with a configuration, in one sentence: the key, the bad value, what is allowed, and where it stands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML.
    #[error("{origin}: not valid TOML: {message}")]
    Syntax {
        /// File (with line) or option.
        origin: String,
        /// What the parser found.
        message: String,
    },
    /// A key that no section has.
    #[error("{origin}: unknown key `{key}`{}", did_you_mean(nearest))]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// The known key most like it, if one is.
        nearest: Option<String>,
        /// Keys that the section has.
        allowed: Vec<String>,
        /// File or option.
        origin: String,
    },
    /// A value that its key does not allow.
    #[error("{origin}: `{key}` is {value}, but {allowed}")]
    Value {
        /// The key, with its section.
        key: String,
        /// The value as TOML, or `missing`.
        value: String,
        /// What would do, as the end of a sentence: `must be …`.
        allowed: String,
        /// File or option.
        origin: String,
    },
    /// A preset that does not exist.
    #[error("unknown preset or file `{name}`{}", did_you_mean(nearest))]
    UnknownPreset {
        /// The name that was asked for.
        name: String,
        /// The preset most like it, if one is.
        nearest: Option<String>,
    },
    /// A file that cannot be read.
    #[error("cannot read the configuration `{path}`: {message}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        message: String,
    },
}

impl ConfigError {
    /// A sentence on what to do, if there is more to say than the error does.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::UnknownKey { key, nearest: None, allowed, .. } => {
                let section = key.rsplit_once('.').map_or("the top level", |(section, _)| section);
                Some(format!("{section} has {}", allowed.join(", ")))
            }
            ConfigError::UnknownPreset { .. } => {
                Some("`taper presets` lists the presets; a file ends in .toml".into())
            }
            _ => None,
        }
    }

    /// The same error, said to stand in `at`.
    pub(super) fn at(mut self, at: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            ConfigError::UnknownKey { key, origin, .. }
            | ConfigError::Value { key, origin, .. } => {
                *origin = at(key);
            }
            _ => {}
        }
        self
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// Where a configuration came from when nothing better is known.
pub(super) const HERE: &str = "configuration";

/// The error of a bad `value` at `key`.
pub(super) fn bad(
    key: impl Into<String>,
    value: impl ToString,
    allowed: impl Into<String>,
) -> ConfigError {
    ConfigError::Value {
        key: key.into(),
        value: value.to_string(),
        allowed: allowed.into(),
        origin: HERE.into(),
    }
}

/// The name most like `wrong`, if one is at most a third of its letters away (a swap of neighbours counts as one change).
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1);
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Edits from `a` to `b`: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_a_swap_once() {
        assert_eq!(distance("widht", "width"), 1);
        assert_eq!(distance("", "lr"), 2);
        assert_eq!(distance("epoch", "epochs"), 1);
    }

    #[test]
    fn nothing_far_away_is_suggested() {
        assert_eq!(nearest("scedule", ["schedule", "steps"].into_iter()), Some("schedule"));
        assert_eq!(nearest("zzz", ["lr", "steps"].into_iter()), None);
    }
}
