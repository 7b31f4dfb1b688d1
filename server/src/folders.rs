//! Folders of the system that this program uses.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

/// Where what was measured or counted on this machine outlives a command; none, where the system has no such folder.
pub(crate) fn cache() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(folders.cache_dir().join("taper"))
}
