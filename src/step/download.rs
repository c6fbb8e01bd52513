//! Brings documents and archives here from a store. Nothing is believed yet.

use std::fs::File;
use std::io::{self, Read as _};
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
pub fn channel(
    store: &Store,
    project: &ProjectName,
    name: &ChannelName,
) -> Result<Sealed<Channel>, StoreError> {
    store.get(&Key::channel(project, name), MAX_BYTES).map(Sealed::from_bytes)
}

/// A sealed release.
pub fn release(
    store: &Store,
    project: &ProjectName,
    version: &Version,
) -> Result<Sealed<Release>, StoreError> {
    store.get(&Key::release(project, version), MAX_BYTES).map(Sealed::from_bytes)
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
pub fn archive(
    store: &Store,
    project: &ProjectName,
    version: &Version,
    archive: &Verified<Archive>,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<Unchecked, DownloadError> {
    hear(Event::Doing(&format!("downloading `{}`", archive.file)));
    let target = folder.join(&archive.file);
    let from = store.open(&Key::file(project, version, &archive.file))?;
    let copy = || {
        let mut draft = Draft::beside(&target)?;
        let mut from = Counted::new(from, archive.size, hear).take(archive.size.saturating_add(1));
        io::copy(&mut from, draft.file())?;
        Ok(draft)
    };
    match copy() {
        Ok(draft) => Ok(Unchecked { draft, target }),
        Err(error) => Err(DownloadError::Io(folder.to_owned(), error)),
    }
}
