//! Archives that others send, taken apart on the disk: a data set that is trained on often should lie there as files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{self, Caps, Member};
use super::{DataError, cifar, folder, idx};

/// Entries of an archive, of any kind.
const ENTRIES: usize = 1_000_000;
/// Bytes of one file: of the largest IDX file that is read.
const FILE: u64 = 4 << 30;
/// Bytes of a name, of a part of it, and its parts: part, class, name and the folders between.
const NAME: usize = 1024;
const PART: usize = 200;
const PARTS: usize = folder::MAX_DEPTH + 2;

/// Writes what is data in the tar or tar.gz at `archive` into the empty `folder`, durably, and answers how many files
/// that are: pictures as `train/CLASS/…`, `test/` or `val/`; IDX files and CIFAR's by their names alone. A folder
/// around them is left out, and everything else.
///
/// # Errors
/// What every reader of archives refuses: links, devices, absolute names, `..`, damage. More than `most` bytes after
/// decompression. Names that are no UTF-8, too long or too deep, or that another file system takes for the same or for
/// a path. What the system refuses. Then `folder` holds some of the files.
pub fn unpack(archive: &Path, folder: &Path, most: u64) -> Result<usize, DataError> {
    let caps = Caps { entries: ENTRIES, file: FILE, total: most };
    let mut shelf = Shelf { folder, seen: HashMap::new(), root: None, files: Vec::new() };
    archive::walk(archive, caps, |parts, member| match kept(parts) {
        Some((root, path)) => shelf.take(root, &path, member),
        None => Ok(()),
    })?;
    let failed = |error: io::Error| {
        DataError::malformed(archive, format!("what it holds cannot be kept: {error}"))
    };
    shelf.sync().map_err(failed)?;
    Ok(shelf.files.len())
}

/// Where a file goes, if it is data: the folder around it in the archive, and the parts of its path.
fn kept<'a>(parts: &'a [&'a str]) -> Option<(&'a str, Vec<&'a str>)> {
    if let Some((root, part, class, name)) = folder::place(parts) {
        return Some((root, [&[part, class], name].concat()));
    }
    let name = *parts.last()?;
    let known = idx::is_named_so(name) || cifar::CIFAR10.knows(name) || cifar::CIFAR100.knows(name);
    known.then(|| ("", vec![name]))
}

/// What was taken out so far.
struct Shelf<'a> {
    folder: &'a Path,
    /// Every path and each folder above it, as a file system sees them that does not tell cases apart.
    seen: HashMap<String, (String, bool)>,
    /// The folder around the pictures.
    root: Option<String>,
    files: Vec<PathBuf>,
}

impl Shelf<'_> {
    fn take(
        &mut self,
        root: &str,
        path: &[&str],
        member: &mut Member<'_, '_>,
    ) -> Result<(), DataError> {
        self.check(root, path).map_err(|problem| member.refused(problem))?;
        let to = path.iter().fold(self.folder.to_owned(), |to, part| to.join(part));
        let made = to.parent().map_or(Ok(()), std::fs::create_dir_all);
        let made = made.and_then(|()| OpenOptions::new().write(true).create_new(true).open(&to));
        let mut file =
            made.map_err(|error| member.refused(format!("cannot be written: {error}")))?;
        member.copy(&mut file)?;
        self.files.push(to);
        Ok(())
    }

    fn check(&mut self, root: &str, path: &[&str]) -> Result<(), String> {
        let length = path.iter().map(|part| part.len() + 1).sum::<usize>();
        if length > NAME || path.len() > PARTS || path.iter().any(|part| part.len() > PART) {
            return Err(format!(
                "has a name that is too long; allowed are {NAME} bytes, {PARTS} parts and {PART} bytes of each"
            ));
        }
        let bad = |c: char| c.is_control() || "\\:*?\"<>|\u{fffd}".contains(c);
        if path.iter().any(|part| part.contains(bad) || part.ends_with(['.', ' '])) {
            return Err("has a name that some file systems cannot hold, or that is no UTF-8".into());
        }
        if path.len() > 1 && self.root.get_or_insert_with(|| root.to_owned()) != root {
            return Err("lies beside another folder with pictures; one is allowed".into());
        }
        for end in 1..=path.len() {
            let (name, is_file) = (path[..end].join("/"), end == path.len());
            match self.seen.get(&name.to_lowercase()) {
                Some((other, false)) if *other == name && !is_file => {}
                Some((other, _)) if *other == name => return Err("is there twice".into()),
                Some((other, _)) => {
                    let other = other.escape_debug();
                    return Err(format!(
                        "has the same name as \"{other}\" where cases are not told apart"
                    ));
                }
                None => {
                    self.seen.insert(name.to_lowercase(), (name, is_file));
                }
            }
        }
        Ok(())
    }

    /// Makes all of it durable: the files, once they are all written, then the folders.
    fn sync(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| File::open(file)?.sync_all())?;
        if cfg!(unix) {
            let folders = self.seen.values().filter(|(_, is_file)| !is_file);
            for (name, _) in folders {
                File::open(self.folder.join(name))?.sync_all()?;
            }
            File::open(self.folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::tar;
    use super::super::image::tests::png;
    use super::*;

    fn names(folder: &Path, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                found.extend(names(&entry.path(), &format!("{name}/")));
            } else {
                found.push(name);
            }
        }
        found.sort();
        found
    }

    fn try_unpack(bytes: &[u8], most: u64) -> (Result<usize, String>, Vec<String>) {
        let outside = tempfile::tempdir().unwrap();
        let (archive, folder) = (outside.path().join("x.tar"), outside.path().join("set"));
        std::fs::write(&archive, bytes).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let count = unpack(&archive, &folder, most).map_err(|error| error.to_string());
        // Whatever it was, nothing lies beside the folder.
        let beside = std::fs::read_dir(outside.path()).unwrap().count();
        assert_eq!(beside, 2);
        (count, names(&folder, ""))
    }

    #[test]
    fn only_data_is_kept_without_the_folder_around_it() {
        let picture = png(2, 2, [1; 3]);
        let (count, names) = try_unpack(
            &tar(&[
                ("set/train/a/1.png", &picture),
                ("./set/train/b/deep/2.JPG", &picture),
                ("set/val/a/1.png", &picture),
                ("set/train/a/run.sh", b"x"),
                ("set/README", b"x"),
                ("set/train/a/.hidden.png", b"x"),
                ("__MACOSX/train/a/._1.png", b"x"),
                ("other/data_batch_1.bin", b"x"),
                ("raw/train-images-idx3-ubyte.gz", b"x"),
                ("raw/t10k-labels-idx1-ubyte", b"x"),
            ]),
            1 << 20,
        );
        assert_eq!(count, Ok(6));
        assert_eq!(
            names,
            [
                "data_batch_1.bin",
                "t10k-labels-idx1-ubyte",
                "train-images-idx3-ubyte.gz",
                "train/a/1.png",
                "train/b/deep/2.JPG",
                "val/a/1.png",
            ]
        );
    }

    #[test]
    fn names_that_clash_or_mislead_are_refused() {
        let long = format!("train/{}/1.png", "a".repeat(80));
        let longer = format!("{}/x-idx1-ubyte", "a/".repeat(30));
        assert_eq!(try_unpack(&tar(&[(&long, b"x"), (&longer, b"x")]), 1 << 20).0, Ok(2));
        let deep = format!("train/a{}/1.png", "/b".repeat(9));
        for (files, words) in [
            (&["train/a/1.png", "train/a/1.png"][..], "twice"),
            (&["train/a/1.png", "train/a/1.PNG"], "the same name as \"train/a/1.png\""),
            (&["train/a/1.png", "train/A/2.png"], "the same name as \"train/a\""),
            (&["train/a/b.png", "train/a/b.png/c.png"], "twice"),
            (&["train/a/b.png/c.png", "train/a/b.png"], "twice"),
            (&["x/train/a/1.png", "y/train/a/2.png"], "beside another folder"),
            (&["x/train-images-idx3-ubyte", "y/train-images-idx3-ubyte"], "twice"),
            (&[deep.as_str()], "too long"),
            (&["train/a:b/1.png"], "some file systems"),
            (&["train/a\\b/1.png"], "some file systems"),
            (&["train/a./1.png"], "some file systems"),
            (&["train/a\n/1.png"], "some file systems"),
            (&["train/../../1.png"], "leaves the archive"),
            (&["/train/a/1.png"], "absolute"),
        ] {
            let files: Vec<(&str, &[u8])> = files.iter().map(|name| (*name, &b"x"[..])).collect();
            let error = try_unpack(&tar(&files), 1 << 20).0.unwrap_err();
            assert!(error.contains(words), "{files:?}: {error}");
        }
        // Bytes that are no UTF-8.
        let mut bytes = tar(&[("train/a/1.png", b"x")]);
        bytes[6] = 0xff;
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&[b' '; 8])
            .chain(&bytes[156..512])
            .map(|&byte| u32::from(byte))
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let error = try_unpack(&bytes, 1 << 20).0.unwrap_err();
        assert!(error.contains("no UTF-8"), "{error}");
    }

    #[test]
    fn a_bomb_and_a_cut_archive_are_refused() {
        use std::io::Write;
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        bomb.write_all(&tar(&[("train/a/1.png", &vec![0; 8 << 20])])).unwrap();
        let error = try_unpack(&bomb.finish().unwrap(), 1 << 20).0.unwrap_err();
        assert!(error.contains("unpacks to more than 1 MiB"), "{error}");
        let whole = tar(&[("train/a/1.png", &[7; 3000])]);
        let error = try_unpack(&whole[..2000], 1 << 20).0.unwrap_err();
        assert!(error.contains("truncated"), "{error}");
        let (count, names) = try_unpack(&tar(&[("readme", b"x")]), 1 << 20);
        assert_eq!((count, names.len()), (Ok(0), 0));
    }
}
