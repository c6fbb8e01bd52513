//! The archives that were fetched: kept, because the next version has most of them in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::content::ContentStore;
use crate::model::archive::parse_file_name;
use crate::model::cached::Held;
use crate::model::name::ProjectName;

/// An archive in the cache.
#[derive(Debug, Clone)]
pub struct Cached {
    /// What it is of.
    pub held: Held,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes on the disk.
    pub size: u64,
    /// Whether all of it is there.
    pub state: State,
}

/// Whether all of an archive is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Whole,
    /// An interrupted download left it; the next one goes on with it.
    Unfinished,
}

/// What went wrong in the cache.
#[derive(Debug, thiserror::Error)]
#[error("cannot access `{}`", .0.display())]
pub struct CacheError(PathBuf, #[source] io::Error);

/// What is in the cache, sorted. Files that imgforge did not put there are passed over.
pub fn list(folder: &Path) -> Result<Vec<Cached>, CacheError> {
    let mut all = Vec::new();
    for project in entries(folder)? {
        let name = project.file_name().and_then(|name| name.to_str()?.parse::<ProjectName>().ok());
        let Some(name) = name else { continue };
        if !project.is_dir() {
            continue;
        }
        let files = entries(&project)?;
        all.extend(files.into_iter().filter_map(|path| {
            let file = path.file_name()?.to_str()?;
            let part = file.strip_prefix('.').and_then(|file| file.strip_suffix(".part"));
            let state = if part.is_some() { State::Unfinished } else { State::Whole };
            let (tier, version, platform) = parse_file_name(Path::new(part.unwrap_or(file)))?;
            let size = fs::metadata(&path).ok()?.blocks() * 512;
            let held = Held { project: name.clone(), tier, platform, version };
            Some(Cached { held, path, size, state })
        }));
    }
    all.sort_by(|one, other| one.held.cmp(&other.held));
    Ok(all)
}

/// Removes an archive; one that is not there any more is no error.
pub fn remove(cached: &Cached) -> Result<(), CacheError> {
    match fs::remove_file(&cached.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError(cached.path.clone(), error)),
        _ => Ok(()),
    }
}

/// What interrupted fetches from registries left in their store: a whole one leaves nothing there.
pub fn remains(store: &Path) -> Result<Vec<PathBuf>, CacheError> {
    entries(&store.join("blobs/sha256"))
}

/// Bytes that files take on the disk.
#[must_use]
pub fn size(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|data| data.blocks() * 512).sum()
}

/// Removes what interrupted fetches from registries left, unless one is going on. Tells how many bytes.
pub fn remove_remains(store: &ContentStore) -> Result<u64, CacheError> {
    let folder = store.folder();
    let failed = |error| CacheError(folder.to_owned(), error);
    let Some(_held) = store.hold_if_free().map_err(failed)? else { return Ok(0) };
    let files = remains(folder)?;
    let freed = size(&files);
    files.iter().try_for_each(fs::remove_file).map_err(failed)?;
    Ok(freed)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let failed = |error| CacheError(folder.to_owned(), error);
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}
