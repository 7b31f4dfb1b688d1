//! Where things lie on the server is told to nobody: what goes out has names in the place of paths. Every answer passes here, so that
//! whoever writes a sentence need not think of it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The paths that the server works with, and what they are called.
#[derive(Debug, Default)]
pub(super) struct Discretion {
    /// The longest first.
    words: Vec<(String, String)>,
}

impl Discretion {
    /// Of a server that keeps everything in `data_dir` and has these data sets.
    pub(super) fn new<'a>(
        data_dir: &Path,
        registered: impl Iterator<Item = (&'a str, &'a Path)>,
    ) -> Discretion {
        let mut discretion = Discretion::default();
        for (name, path) in registered {
            discretion.call(path, &format!("{}{name}", crate::datasets::PREFIX));
        }
        // What lies in these is called by names alone.
        let uploads = data_dir.join("datasets").join("uploads");
        let teachers = data_dir.join("teachers");
        for (folder, prefix) in [
            (data_dir.join("runs"), crate::run::RUN),
            (uploads, crate::datasets::PREFIX),
            (teachers, crate::teachers::TEACHER),
        ] {
            let inside = format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR);
            discretion.call(Path::new(&inside), prefix);
        }
        discretion.call(data_dir, "DATA_DIR");
        let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
        let program = std::env::current_exe().ok();
        for (path, word) in [
            (program.as_deref().and_then(Path::parent).map(Path::to_path_buf), "PROGRAM"),
            (Some(std::env::temp_dir()), "TMP"),
            (home.map(PathBuf::from), "HOME"),
            (std::env::current_dir().ok(), "WORK_DIR"),
        ] {
            if let Some(path) = path {
                discretion.call(&path, word);
                if let Ok(path) = path.canonicalize() {
                    discretion.call(&path, word);
                }
            }
        }
        discretion.words.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        discretion
    }

    /// A path as it is, and as JSON and Rust write it in quotes. The root of a file system is no secret.
    fn call(&mut self, path: &Path, word: &str) {
        if path.parent().is_none() {
            return;
        }
        let plain = path.display().to_string();
        let json = serde_json::Value::from(plain.as_str()).to_string();
        let json = json.trim_matches('"').to_owned();
        let debug = plain.escape_debug().to_string();
        for path in [plain, json, debug] {
            if self.words.iter().all(|(known, _)| *known != path) {
                self.words.push((path, word.into()));
            }
        }
    }

    /// A text without these paths.
    pub(super) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (path, word) in &self.words {
            if let Some(cleaned) = replaced(&text, path, word) {
                text = Cow::Owned(cleaned);
            }
        }
        text
    }
}

/// `text` with `word` for each `path` that is one, and not a part of a longer name; none if there is none.
fn replaced(text: &str, path: &str, word: &str) -> Option<String> {
    let (mut cleaned, mut rest) = (String::new(), 0);
    for (at, _) in text.match_indices(path) {
        let (before, after) = (&text[..at], &text[at + path.len()..]);
        if begins(before) && (path.ends_with(['/', '\\']) || ends(after)) {
            cleaned.push_str(&text[rest..at]);
            cleaned.push_str(word);
            rest = at + path.len();
        }
    }
    (rest > 0).then(|| cleaned + &text[rest..])
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "_-".contains(c)
}

/// Whether a path may begin behind this.
fn begins(before: &str) -> bool {
    let mut last = before.chars().rev();
    match (last.next(), last.next()) {
        // `\n` and the like, as JSON writes them.
        (Some('n' | 'r' | 't'), Some('\\')) => true,
        (Some(c), _) => !is_of_name(c) && !"./".contains(c),
        (None, _) => true,
    }
}

/// Whether a path may end before this. A dot may end the sentence as well.
fn ends(after: &str) -> bool {
    let mut next = after.chars();
    match (next.next(), next.next()) {
        (Some('.'), then) => !then.is_some_and(is_of_name),
        (Some(c), _) => !is_of_name(c),
        (None, _) => true,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_and_nothing_else_changes() {
        let mut discretion = Discretion::new(
            Path::new("/srv/taper \"1\""),
            [("flowers", Path::new("/data")), ("seeds", Path::new("/data/more"))].into_iter(),
        );
        discretion.words.retain(|(path, _)| path.starts_with("/srv") || path.starts_with("/data"));
        for (text, clean) in [
            ("cannot read `/data/a/1.png`: no", "cannot read `dataset:flowers/a/1.png`: no"),
            ("/data", "dataset:flowers"),
            ("it is /data.", "it is dataset:flowers."),
            ("\"x\\n/data: y\"", "\"x\\ndataset:flowers: y\""),
            ("`/data/more/x` and `/data`", "`dataset:seeds/x` and `dataset:flowers`"),
            ("/srv/taper \"1\"/runs/abc/config.toml", "run:abc/config.toml"),
            (r#"{"e":"`/srv/taper \"1\"/taper.sqlite`"}"#, r#"{"e":"`DATA_DIR/taper.sqlite`"}"#),
            ("/srv/taper \"1\"/datasets/uploads/a/x", "dataset:a/x"),
            ("/srv/taper \"1\"/datasets/uploads", "DATA_DIR/datasets/uploads"),
            ("/data.zip /database /data-2 /api/data http://a/data", ""),
            ("", ""),
        ] {
            let same = if clean.is_empty() { text } else { clean };
            assert_eq!(discretion.clean(text), same);
        }
        let mut root = Discretion::default();
        root.call(Path::new("/"), "x");
        assert_eq!(root.clean("/ and /api"), "/ and /api");
    }
}
