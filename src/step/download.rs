//! Brings documents and archives here from a store. Nothing is believed yet.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::atomic::{Draft, open_file, read_bounded};
use super::progress::{Counted, Event, Hear};
use super::store::{Key, Store, StoreError};
use crate::model::channel::Channel;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release::{self, Archive, Release};
use crate::model::seal::{MAX_BYTES, Sealed, Verified};

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

/// An archive that is on this disk but has not been checked: a file without its final name.
pub struct Unchecked {
    draft: Draft,
    target: PathBuf,
}

impl Unchecked {
    /// The open file.
    pub fn file(&mut self) -> Result<File, DownloadError> {
        self.draft.file().try_clone().map_err(|error| DownloadError::Io(self.target.clone(), error))
    }

    /// Gives the file its name. Call it after the check; without it the file disappears.
    pub fn keep(self) -> Result<PathBuf, DownloadError> {
        let target = self.target;
        match self.draft.keep(&target, 0o644) {
            Ok(()) => Ok(target),
            Err(error) => Err(DownloadError::Io(target, error)),
        }
    }
}

/// Copies an archive into a folder. Never more bytes than the release announces are written.
pub async fn archive(
    store: &Store,
    project: &ProjectName,
    version: &Version,
    archive: &Verified<Archive>,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<Unchecked, DownloadError> {
    hear(Event::Doing(&format!("downloading `{}`", archive.file)));
    let target = folder.join(&archive.file);
    let key = Key::file(project, version, &archive.file);
    let disk = |error| DownloadError::Io(folder.to_owned(), error);
    let mut from = store.read(&key).await?;
    let mut draft = Draft::beside(&target).map_err(disk)?;
    let mut out = Counted::new(draft.file(), archive.size, hear);
    let mut left = archive.size.saturating_add(1);
    while left > 0
        && let Some(mut piece) = from.next().await.map_err(|error| store.error(&key, error))?
    {
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        out.write_all(&piece).map_err(disk)?;
        left -= piece.len() as u64;
    }
    Ok(Unchecked { draft, target })
}
