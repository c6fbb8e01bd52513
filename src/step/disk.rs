//! Looks whether there is room before anything is written: a disk that fills up halfway hurts more than
//! the one program that filled it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::model::size::Size;

/// Why something should not be written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no room.
    #[error("`{}` has {} free, and {} are needed", .folder.display(), Size(*.free), Size(*.needed))]
    Full {
        /// Where.
        folder: PathBuf,
        /// Bytes that are needed there.
        needed: u64,
        /// Bytes that are free there.
        free: u64,
    },
    /// Nobody knows.
    #[error("cannot tell how much room `{}` has", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Room that is left for others.
const SPARE: u64 = 64 << 20;

/// Refuses when a folder has no room for so many bytes more.
pub fn room(folder: &Path, bytes: u64) -> Result<(), DiskError> {
    let needed = bytes.saturating_add(SPARE);
    let free = free(folder)?;
    if free >= needed { Ok(()) } else { Err(DiskError::Full { folder: folder.to_owned(), needed, free }) }
}

/// Bytes that this user may write below a folder, which need not be there yet.
pub fn free(folder: &Path) -> Result<u64, DiskError> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let found = statvfs(there).map_err(|error| DiskError::Io(folder.to_owned(), error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        room(&folder.path().join("not/there/yet"), 1).unwrap();
        let Err(DiskError::Full { needed, free, .. }) = room(folder.path(), u64::MAX / 2) else {
            panic!("so much room");
        };
        assert!(needed > free);
    }
}
