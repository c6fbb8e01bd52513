//! Where releases live. A closed set of kinds behind one set of calls.
//!
//! ```text
//! <project>/trust/<n>.jsonl                           never changed
//! <project>/channels/<channel>.sigstore.json        small, replaced, written last
//! <project>/releases/<version>/release.sigstore.json  never changed
//! <project>/releases/<version>/<archive>.tar.gz       never changed
//! <project>/releases/<version>/SHA256SUMS, .sig        never changed
//! ```

mod address;
mod directory;
mod key;
mod reader;

use std::io;
use std::path::{Path, PathBuf};

pub use address::{Address, BadAddress};
pub use key::Key;
pub use reader::Reader;

use crate::model::image::Blob;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::step::progress::Hear;

/// A place for releases.
#[derive(Debug, Clone)]
pub enum Store {
    /// A folder.
    Directory(PathBuf),
}

/// What is put into a store.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A small object.
    Bytes(&'a [u8]),
    /// A file, which is read in pieces.
    File(&'a Path),
}

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("store `{store}` has no `{key}`")]
    Missing {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
    },
    /// It was there with other bytes, and may not change.
    #[error("store `{store}` already has another `{key}`")]
    Conflict {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
    },
    /// The disk.
    #[error("store `{store}`: cannot access `{key}`")]
    Io {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
        /// Why.
        source: io::Error,
    },
}

/// A pointer is a thousand bytes; what is larger is none.
const MAX_POINTER: usize = 1 << 20;

#[expect(clippy::unused_async, reason = "a folder does not wait; stores over a network do")]
impl Store {
    /// Makes a store of its address. Nothing is asked of it yet.
    #[must_use]
    pub fn open(address: &Address) -> Self {
        match address {
            Address::Directory(folder) => Self::Directory(folder.clone()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Directory(folder) => Address::Directory(folder.clone()),
        }
    }

    /// A small object.
    pub async fn get(&self, key: &Key, max: usize) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.read(key).await?;
        reader.to_end(max).await.map_err(|error| self.error(key, error))
    }

    /// An object, for reading from its start.
    pub async fn read(&self, key: &Key) -> Result<Reader, StoreError> {
        match self {
            Self::Directory(root) => directory::open(root, key).map_err(|error| self.error(key, error)),
        }
    }

    /// Puts an object that will never change. The same bytes are no conflict, so a publication
    /// that was killed can be run again.
    pub async fn put(
        &self,
        key: &Key,
        expected: &Blob,
        source: Source<'_>,
        hear: Hear<'_>,
    ) -> Result<Put, StoreError> {
        let put = match self {
            Self::Directory(root) => directory::put(root, key, expected, source, hear),
        };
        match put.map_err(|error| self.error(key, error))? {
            Some(put) => Ok(put),
            None => Err(self.conflict(key)),
        }
    }

    /// Replaces a small object, if it still is what the caller read.
    pub async fn replace(&self, key: &Key, before: Option<&[u8]>, now: &[u8]) -> Result<(), StoreError> {
        let replaced = match self {
            Self::Directory(root) => directory::replace(root, key, before, now),
        };
        if replaced.map_err(|error| self.error(key, error))? { Ok(()) } else { Err(self.conflict(key)) }
    }

    /// The channels of a project. Only who publishes asks: a reader knows which one it follows.
    pub async fn channels(&self, project: &ProjectName) -> Result<Vec<ChannelName>, StoreError> {
        let names = self.names(&Key::channels(project)).await?;
        Ok(names.iter().filter_map(|name| Key::channel_of(name)).collect())
    }

    /// The versions of a project that have any object, the oldest first.
    pub async fn versions(&self, project: &ProjectName) -> Result<Vec<Version>, StoreError> {
        let names = self.names(&Key::releases(project)).await?;
        let mut versions: Vec<Version> = names.iter().filter_map(|name| name.parse().ok()).collect();
        versions.sort();
        Ok(versions)
    }

    /// What lies directly below a folder, sorted; nothing when there is no such folder.
    async fn names(&self, folder: &Key) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Directory(root) => {
                directory::names(root, folder).map_err(|error| self.error(folder, error))
            }
        }
    }

    fn conflict(&self, key: &Key) -> StoreError {
        StoreError::Conflict { store: self.address(), key: key.clone() }
    }

    /// What went wrong while an object was read.
    pub(super) fn error(&self, key: &Key, source: io::Error) -> StoreError {
        let (store, key) = (self.address(), key.clone());
        match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { store, key },
            _ => StoreError::Io { store, key, source },
        }
    }
}

/// What putting an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was not there before.
    New,
    /// It was there, with these bytes.
    Same,
}
