//! Whether the files of a data set are still those that were looked at.
//!
//! A fingerprint is taken of names, sizes and times, never of what files hold. It takes a moment for some thousand files
//! and minutes for millions on a slow disk, so it is taken by a thread of its own, not more often than every few
//! seconds, and a request waits a moment for it at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// For so long a fingerprint counts as that of now.
const HOLDS: Duration = Duration::from_secs(3);
/// So long a request waits for one.
const MOMENT: Duration = Duration::from_secs(1);
/// Folders are followed so deep.
const MAX_DEPTH: usize = 64;

/// The fingerprints of the data sets of a server.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    shelf: Arc<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    prints: Mutex<BTreeMap<PathBuf, Print>>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Print {
    /// The last one that was taken, and when.
    last: Option<(u64, Instant)>,
    /// A thread is taking another.
    under_way: bool,
}

impl Fingerprints {
    /// The fingerprint of what lies at `path`, a few seconds old at most; none where taking it takes longer than a
    /// request may wait. What has no path never changes.
    pub(super) fn now(&self, path: Option<&Path>) -> Option<u64> {
        path.map_or(Some(0), |path| self.within(path, Some(MOMENT)))
    }

    /// The same, however long it takes.
    pub(super) fn awaited(&self, path: Option<&Path>) -> Option<u64> {
        path.map_or(Some(0), |path| self.within(path, None))
    }

    /// What lies at `path` has been put there or removed by the server itself.
    pub(super) fn forget(&self, path: &Path) {
        self.shelf.prints.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    fn within(&self, path: &Path, patience: Option<Duration>) -> Option<u64> {
        let begun = Instant::now();
        let mut prints = self.shelf.prints.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let print = prints.entry(path.to_owned()).or_default();
            if let Some((value, at)) = print.last
                && at.elapsed() < HOLDS
            {
                return Some(value);
            }
            if !print.under_way {
                print.under_way = true;
                let (shelf, path) = (Arc::clone(&self.shelf), path.to_owned());
                std::thread::spawn(move || shelf.take(&path));
            }
            let left = patience.map_or(HOLDS, |patience| patience.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                return None;
            }
            let waited = self.shelf.taken.wait_timeout(prints, left);
            prints = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shelf {
    fn take(&self, path: &Path) {
        let value = fingerprint(path);
        let mut prints = self.prints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(print) = prints.get_mut(path) {
            *print = Print { last: Some((value, Instant::now())), under_way: false };
        }
        drop(prints);
        self.taken.notify_all();
    }
}

/// A number that is another one if a file or a folder below `path` is added, removed, renamed or changed; of a file at
/// `path` itself, if it is another one.
fn fingerprint(path: &Path) -> u64 {
    let mut hash = Sha256::new();
    match path.metadata() {
        Ok(data) if data.is_dir() => walk(path, &mut hash, &mut BTreeSet::new(), MAX_DEPTH),
        Ok(data) => note(&data, &mut hash),
        Err(error) => hash.update(error.kind().to_string()),
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Takes in all that is below `folder`, in the order of names. Links are followed, as readers do; a linked folder once.
fn walk(folder: &Path, hash: &mut Sha256, linked: &mut BTreeSet<PathBuf>, depth: usize) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|entry| (entry.file_name(), entry.path())).collect();
    entries.sort();
    for (name, path) in entries {
        let name = name.as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        match path.metadata() {
            Ok(data) if data.is_dir() => {
                hash.update(b"folder");
                let is_new =
                    !path.is_symlink() || path.canonicalize().is_ok_and(|to| linked.insert(to));
                if is_new && depth > 0 {
                    walk(&path, hash, linked, depth - 1);
                }
                hash.update(b"end");
            }
            Ok(data) => note(&data, hash),
            Err(error) => hash.update(error.kind().to_string()),
        }
    }
}

/// Takes in the size of a file and when it was changed; on Unix also when anything of it was, which a copy that keeps the
/// times of files does not hide.
fn note(data: &Metadata, hash: &mut Sha256) {
    hash.update(data.len().to_le_bytes());
    let since = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    hash.update(since.unwrap_or_default().as_nanos().to_le_bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        hash.update(data.ctime().to_le_bytes());
        hash.update(data.ctime_nsec().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_is_another_fingerprint() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("train/a")).unwrap();
        fs::write(at("train/a/1.png"), "one").unwrap();
        let mut seen = vec![fingerprint(root.path())];
        assert_eq!(fingerprint(root.path()), seen[0], "nothing has changed");
        let mut changed = |what: &str| {
            let print = fingerprint(root.path());
            assert!(!seen.contains(&print), "{what}");
            seen.push(print);
        };
        fs::write(at("train/a/2.png"), "two").unwrap();
        changed("a picture more in the folder of a class");
        // The clock of a file system may have ticks of milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(at("train/a/2.png"), "TWO").unwrap();
        changed("a picture of the same size in its place");
        fs::create_dir(at("train/b")).unwrap();
        changed("an empty class");
        fs::rename(at("train/b"), at("train/c")).unwrap();
        changed("a class of another name");
        fs::remove_file(at("train/a/1.png")).unwrap();
        changed("a picture fewer");
        fs::rename(at("train/a/2.png"), at("train/c/2.png")).unwrap();
        changed("a picture in another class");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.path(), at("train/c/loop")).unwrap();
            changed("a link to where it lies, which is followed once");
        }
        let file = fingerprint(&at("train/c/2.png"));
        fs::write(at("train/c/2.png"), "longer").unwrap();
        assert_ne!(fingerprint(&at("train/c/2.png")), file);
        assert_eq!(fingerprint(&at("none")), fingerprint(&at("nothing")));
    }

    #[test]
    fn fingerprints_are_taken_now_and_then() {
        let root = tempfile::tempdir().unwrap();
        let prints = Fingerprints::default();
        let first = prints.awaited(Some(root.path()));
        assert!(first.is_some());
        fs::write(root.path().join("x"), "x").unwrap();
        assert_eq!(prints.now(Some(root.path())), first, "it holds for a while");
        prints.forget(root.path());
        assert_ne!(prints.awaited(Some(root.path())), first);
        assert_eq!(prints.now(None), prints.now(None));
    }
}
