//! Looks whether there is room before anything is written: a disk that fills up halfway hurts more than
//! the one program that filled it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
    /// There is no room for several things that will be on one disk at the same time.
    #[error(
        "the disk of `{}` has {} free, and {} are needed: {}",
        .folder.display(), Size(*.free), Size(*.needed), listed(.needs)
    )]
    Peak {
        /// Where.
        folder: PathBuf,
        /// What is needed there.
        needs: Vec<Need>,
        /// All of that, and what is left for others.
        needed: u64,
        /// Bytes that are free there.
        free: u64,
    },
    /// Nobody knows.
    #[error("cannot tell how much room `{}` has", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Bytes that will be needed in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Where.
    pub folder: PathBuf,
    /// What for.
    pub purpose: Purpose,
    /// How many.
    pub bytes: u64,
}

/// What bytes on a disk are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The archive in the cache.
    Archive,
    /// Layers on their way from a registry.
    Layers,
    /// What an engine makes of it.
    Engine,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Archive => "the archive",
            Self::Layers => "its layers",
            Self::Engine => "Docker to unpack it",
        })
    }
}

fn listed(needs: &[Need]) -> String {
    let needs = needs.iter().map(|need| format!("{} for {}", Size(need.bytes), need.purpose));
    needs.chain([format!("{} to spare", Size(SPARE))]).collect::<Vec<_>>().join(", ")
}

/// Room that is left for others.
const SPARE: u64 = 64 << 20;

/// Refuses when a folder has no room for so many bytes more.
pub fn room(folder: &Path, bytes: u64) -> Result<(), DiskError> {
    let needed = bytes.saturating_add(SPARE);
    let free = free(folder)?;
    if free >= needed { Ok(()) } else { Err(DiskError::Full { folder: folder.to_owned(), needed, free }) }
}

/// Refuses when a disk has no room for all that is needed on it at the same time.
pub fn together(needs: Vec<Need>) -> Result<(), DiskError> {
    let mut disks: BTreeMap<u64, Vec<Need>> = BTreeMap::new();
    for need in needs.into_iter().filter(|need| need.bytes > 0) {
        let data = there(&need.folder).metadata();
        let disk = data.map_err(|error| DiskError::Io(need.folder.clone(), error))?.dev();
        disks.entry(disk).or_default().push(need);
    }
    for needs in disks.into_values() {
        let needed = needs.iter().fold(SPARE, |sum, need| sum.saturating_add(need.bytes));
        let Some(folder) = needs.last().map(|need| need.folder.clone()) else { continue };
        let free = free(&folder)?;
        if free < needed {
            return Err(DiskError::Peak { folder, needs, needed, free });
        }
    }
    Ok(())
}

/// The nearest folder that is there.
fn there(folder: &Path) -> &Path {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    if there.as_os_str().is_empty() { Path::new(".") } else { there }
}

/// Bytes that this user may write below a folder, which need not be there yet.
pub fn free(folder: &Path) -> Result<u64, DiskError> {
    let there = there(folder);
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

    #[test]
    fn what_is_on_one_disk_adds_up() {
        let folder = tempfile::tempdir().unwrap();
        let need = |purpose, bytes| Need { folder: folder.path().join("new"), purpose, bytes };
        let (archive, engine) = (Purpose::Archive, Purpose::Engine);
        let half = free(folder.path()).unwrap() / 5 * 3;
        together(vec![need(archive, 1), need(engine, half)]).unwrap();
        let Err(DiskError::Peak { needs, needed, .. }) =
            together(vec![need(archive, half), need(engine, half), need(archive, 0)])
        else {
            panic!("so much room");
        };
        assert_eq!((needs.len(), needed), (2, 2 * half + SPARE));
        assert_eq!(
            listed(&[need(archive, 1_000_000), need(engine, 2_000_000)]),
            "1.0 MB for the archive, 2.0 MB for Docker to unpack it, 67.1 MB to spare"
        );
    }
}
