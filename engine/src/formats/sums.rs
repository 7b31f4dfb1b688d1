//! `SHA256SUMS`, as coreutils' `sha256sum` writes and checks it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{FormatError, atomic};

/// Name of the file of check sums.
pub const NAME: &str = "SHA256SUMS";

/// Writes the check sums of all files in `folder`, by name.
///
/// # Errors
/// What the system refuses.
pub fn write(folder: &Path) -> Result<(), FormatError> {
    let io = |source| FormatError::read(folder, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(io)?.is_file() && name != NAME && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("{}  {name}\n", of_file(&folder.join(&name))?));
    }
    atomic::write_bytes(&folder.join(NAME), text)
}

/// SHA-256 of a file as 64 hexadecimal digits.
///
/// # Errors
/// The file cannot be read.
pub fn of_file(path: &Path) -> Result<String, FormatError> {
    let digest = || -> io::Result<Sha256> {
        let (mut file, mut digest) = (File::open(path)?, Sha256::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(digest),
                count => digest.update(&buffer[..count]),
            }
        }
    };
    let digest = digest().map_err(|source| FormatError::read(path, source))?;
    Ok(hex(&digest.finalize()))
}

/// Bytes as hexadecimal digits, two each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks every file that `SHA256SUMS` in `folder` names.
///
/// # Errors
/// A file is missing, or is not the one whose sum was written; the error names it.
pub fn check(folder: &Path) -> Result<(), FormatError> {
    let path = folder.join(NAME);
    let text = std::fs::read_to_string(&path).map_err(|source| FormatError::read(&path, source))?;
    for line in text.lines() {
        let (sum, name) =
            line.split_once("  ").filter(|(_, name)| !name.contains(['/', '\\'])).ok_or_else(
                || FormatError::content(&path, format!("`{line}` is no line of sha256sum")),
            )?;
        let file = folder.join(name);
        if of_file(&file)? != sum {
            return Err(FormatError::content(&file, "its SHA-256 is not the one in SHA256SUMS"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_and_find_a_changed_file() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("b"), "abc").expect("written");
        std::fs::write(folder.path().join("a"), "").expect("written");
        write(folder.path()).expect("written");
        let text = std::fs::read_to_string(folder.path().join(NAME)).expect("read");
        assert_eq!(
            text,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
        check(folder.path()).expect("unchanged");
        std::fs::write(folder.path().join("b"), "abd").expect("written");
        assert!(check(folder.path()).expect_err("changed").to_string().contains("SHA-256"));
    }
}
