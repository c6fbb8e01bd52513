//! Archives on this machine that a new one may have members in common with: older versions, other tiers,
//! what an interrupted download left.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::atomic;
use super::members;
use crate::model::archive::index::Index;

/// An archive that lies here. What is taken of it is hashed, so it need not be whole, nor signed.
pub struct Seed {
    /// The open file.
    pub file: Arc<File>,
    /// What it says of itself.
    pub index: Arc<Index>,
}

/// Most archives that are looked into; each has an index of a hundred kilobytes.
const MOST: usize = 64;

/// Those among some files and folders that end like an archive. Whatever else lies there is passed over:
/// it only means that more has to be fetched.
#[must_use]
pub fn find(places: &[PathBuf], but: &Path) -> Vec<Seed> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for place in places {
        match std::fs::read_dir(place) {
            Ok(folder) => paths.extend(folder.flatten().map(|entry| entry.path())),
            Err(_) => paths.push(place.clone()),
        }
    }
    let mut paths: Vec<PathBuf> = paths.into_iter().filter(|path| path != but && is_archive(path)).collect();
    paths.sort();
    // The last names are the newest versions.
    paths.into_iter().rev().filter_map(|path| open(&path)).take(MOST).collect()
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".tar.gz") || name.ends_with(".tar.gz.part")
}

fn open(path: &Path) -> Option<Seed> {
    let file = atomic::open_file(path).ok()?;
    let index = members::tail(&file).ok()?.index;
    Some(Seed { file: Arc::new(file), index: Arc::new(index) })
}
