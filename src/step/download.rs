//! Brings documents and archives here from a store. Nothing is believed yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{open_file, read_bounded};
use super::store::{Key, Store, StoreError};
use crate::model::archive::tail::{FIRST_LOOK, Footer, Tail};
use crate::model::channel::Channel;
use crate::model::digest::Digest;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release::{self, Release};
use crate::model::seal::{MAX_BYTES, Sealed};
use crate::model::trust::{self, MAX_CHAIN, Step, TrustError};

/// Why something is not here.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This machine's disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// A sealed channel.
pub async fn channel(
    store: &Store,
    project: &ProjectName,
    name: &ChannelName,
) -> Result<Sealed<Channel>, StoreError> {
    store.get(&Key::channel(project, name), MAX_BYTES).await.map(Sealed::from_bytes)
}

/// A sealed release.
pub async fn release(
    store: &Store,
    project: &ProjectName,
    version: &Version,
) -> Result<Sealed<Release>, StoreError> {
    store.get(&Key::release(project, version), MAX_BYTES).await.map(Sealed::from_bytes)
}

/// The release that an archive in a store carries at its end; `None` when there is no archive, or none
/// that was sealed. Nobody says yet that it is this archive's.
pub async fn carried(
    store: &Store,
    project: &ProjectName,
    version: &Version,
    file: &str,
) -> Result<Option<Sealed<Release>>, StoreError> {
    Ok(end(store, &Key::file(project, version, file)).await?.map(|(sealed, _)| sealed))
}

/// The release that an archive carries at its end, and the digest of its index; `None` when there is no
/// archive, or none that was sealed.
pub async fn end(store: &Store, key: &Key) -> Result<Option<(Sealed<Release>, Digest)>, StoreError> {
    let (mut bytes, size) = match store.end(key, FIRST_LOOK).await {
        Ok(end) => end,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(footer) = Footer::parse(&bytes, size) else {
        return Ok(None);
    };
    if footer.tail_size(size) > bytes.len() as u64 {
        bytes = store.end(key, footer.tail_size(size)).await?.0;
    }
    let tail = Tail::parse(&bytes, size).ok();
    Ok(tail.and_then(|tail| Some((Sealed::from_bytes(tail.sealed?), tail.index_blob.digest))))
}

/// The trust documents of a project from a version on, in order; none is no error.
pub async fn chain(store: &Store, project: &ProjectName, first: u64) -> Result<Vec<Step>, ChainError> {
    let mut steps = Vec::new();
    // Ends at the first that is missing. Each is signed, so nobody can make this long but root keys.
    for version in first..first.saturating_add(MAX_STEPS) {
        match store.get(&Key::trust(project, version), MAX_BYTES).await {
            Ok(bytes) => steps.push(Step::parse(&bytes)?),
            Err(StoreError::Missing { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(steps)
}

/// The trust documents that lie beside an archive.
pub fn chain_beside(folder: &Path) -> Result<Vec<Step>, ChainError> {
    let path = folder.join(trust::FILE_NAME);
    match read_bounded(&path, MAX_CHAIN) {
        Ok(bytes) => Ok(trust::chain(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ChainError::Io(path, error)),
    }
}

/// A trust document on this disk that waits for signatures.
pub fn step(path: &Path) -> Result<Step, ChainError> {
    let bytes = read_bounded(path, MAX_CHAIN).map_err(|error| ChainError::Io(path.to_owned(), error))?;
    Ok(Step::parse(&bytes)?)
}

/// Why trust documents are not here.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They are no trust documents.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// This machine's disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Most trust documents that are read in one go: a rotation a week for twenty years.
const MAX_STEPS: u64 = 1024;

/// The sealed channel that lies beside an archive, or where a store has it; `None` when there is none.
pub fn channel_beside(folder: &Path, name: &ChannelName) -> Result<Option<Sealed<Channel>>, DownloadError> {
    let file = format!("{name}.sigstore.json");
    for path in [folder.join(&file), folder.join("../../channels").join(&file)] {
        match read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => return Ok(Some(Sealed::from_bytes(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DownloadError::Io(path, error)),
        }
    }
    Ok(None)
}

/// The sealed release that lies beside an archive; `None` when there is none.
pub fn release_beside(folder: &Path) -> Result<Option<Sealed<Release>>, DownloadError> {
    let path = folder.join(release::FILE_NAME);
    match read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(Sealed::from_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DownloadError::Io(path, error)),
    }
}

/// A file that is here already.
pub fn local(path: &Path) -> Result<File, DownloadError> {
    open_file(path).map_err(|error| DownloadError::Io(path.to_owned(), error))
}
