//! Which kind of text files are, told by their names.

use std::path::Path;

use super::corpus::{ENDS, is_part};
use crate::config::TextKind;
use crate::data::images::innermost;

/// The kind of text at `path`, told by the names of its files; none where they are others.
pub fn kind_of(path: &Path) -> Option<TextKind> {
    let kinds: Option<Vec<TextKind>> = if path.is_file() {
        Some(vec![of_name(&path.file_name()?.to_string_lossy())?])
    } else {
        let (path, names) = innermost(path);
        // A part may be a folder.
        let inside = |name: String| match is_part(&name) && path.join(&name).is_dir() {
            true => innermost(&path.join(name)).1,
            false => vec![name],
        };
        names.into_iter().flat_map(inside).map(|name| of_name(&name)).collect()
    };
    match kinds?.as_slice() {
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) => Some(*first),
        _ => None,
    }
}

/// The kind of text that a file is by its own name.
pub(in crate::data) fn of_name(name: &str) -> Option<TextKind> {
    let end = Path::new(name).extension()?;
    if ENDS.iter().any(|text| end.eq_ignore_ascii_case(text)) {
        Some(TextKind::Text)
    } else if end.eq_ignore_ascii_case("json") {
        Some(TextKind::Squad)
    } else {
        None
    }
}
