//! Where releases live. A closed set of kinds behind one set of calls.
//!
//! ```text
//! <project>/channels/<channel>.sigstore.json        small, replaced, written last
//! <project>/releases/<version>/release.sigstore.json  never changed
//! <project>/releases/<version>/<archive>.tar.gz       never changed
//! <project>/releases/<version>/SHA256SUMS, .sig        never changed
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::atomic::{self, Draft};
use crate::model::digest::Hasher;
use crate::model::image::Blob;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release;

/// A place for releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A folder: needs no account, and is how a USB stick works.
    Directory(PathBuf),
}

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("store `{store}` has no `{key}`")]
    Missing {
        /// Which store.
        store: Store,
        /// Which object.
        key: Key,
    },
    /// It was there with other bytes, and may not change.
    #[error("store `{store}` already has another `{key}`")]
    Conflict {
        /// Which store.
        store: Store,
        /// Which object.
        key: Key,
    },
    /// The disk.
    #[error("store `{store}`: cannot access `{key}`")]
    Io {
        /// Which store.
        store: Store,
        /// Which object.
        key: Key,
        /// Why.
        source: io::Error,
    },
}

/// The name of an object, always made from parsed names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A channel's pointer.
    #[must_use]
    pub fn channel(project: &ProjectName, channel: &ChannelName) -> Self {
        Self(format!("{project}/channels/{channel}.sigstore.json"))
    }

    /// A file of a release. `file` comes from a verified release or is a constant.
    #[must_use]
    pub fn file(project: &ProjectName, version: &Version, file: &str) -> Self {
        Self(format!("{project}/releases/{version}/{file}"))
    }

    /// A release.
    #[must_use]
    pub fn release(project: &ProjectName, version: &Version) -> Self {
        Self::file(project, version, release::FILE_NAME)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no store.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a store: use a folder, or `file:///folder`")]
pub struct BadStore(String);

impl FromStr for Store {
    type Err = BadStore;
    fn from_str(text: &str) -> Result<Self, BadStore> {
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err(BadStore(text.to_owned()));
        }
        Ok(Self::Directory(path.into()))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(folder) => write!(f, "{}", folder.display()),
        }
    }
}

/// A pointer is a thousand bytes; what is larger is none.
const MAX_POINTER: usize = 1 << 20;

impl Store {
    /// A small object.
    pub fn get(&self, key: &Key, max: usize) -> Result<Vec<u8>, StoreError> {
        atomic::read_bounded(&self.path(key), max).map_err(|error| self.error(key, error))
    }

    /// A large object, for reading from its start.
    pub fn open(&self, key: &Key) -> Result<File, StoreError> {
        atomic::open_file(&self.path(key)).map_err(|error| self.error(key, error))
    }

    /// Puts an object that will never change. The same bytes are no conflict, so a publication
    /// that was killed can be run again.
    pub fn put(&self, key: &Key, expected: &Blob, content: &mut dyn Read) -> Result<(), StoreError> {
        let path = self.path(key);
        let mut put = || {
            if path.exists() {
                return Ok(false);
            }
            let mut draft = Draft::beside(&path)?;
            if copy(content, draft.file())? != *expected {
                return Err(io::Error::other("the file changed while it was copied"));
            }
            match draft.keep_new(&path, 0o644) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        };
        if put().map_err(|error| self.error(key, error))? { Ok(()) } else { self.compare(key, expected) }
    }

    fn compare(&self, key: &Key, expected: &Blob) -> Result<(), StoreError> {
        let found = copy(&mut self.open(key)?, &mut io::sink()).map_err(|error| self.error(key, error))?;
        if found == *expected {
            Ok(())
        } else {
            Err(StoreError::Conflict { store: self.clone(), key: key.clone() })
        }
    }

    /// Replaces a small object, if it still is what the caller read.
    pub fn replace(&self, key: &Key, before: Option<&[u8]>, now: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key);
        let Self::Directory(root) = self;
        let lock = || {
            fs::create_dir_all(root)?;
            let lock = File::create(root.join(".lock"))?;
            lock.lock()?;
            Ok(lock)
        };
        let _lock = lock().map_err(|error| self.error(key, error))?;
        let current = match atomic::read_bounded(&path, MAX_POINTER) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.error(key, error)),
        };
        if current.as_deref() != before {
            return Err(StoreError::Conflict { store: self.clone(), key: key.clone() });
        }
        atomic::write(&path, now, 0o644).map_err(|error| self.error(key, error))
    }

    fn path(&self, key: &Key) -> PathBuf {
        let Self::Directory(root) = self;
        root.join(Path::new(&key.0))
    }

    fn error(&self, key: &Key, source: io::Error) -> StoreError {
        let (store, key) = (self.clone(), key.clone());
        match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { store, key },
            _ => StoreError::Io { store, key, source },
        }
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<Blob> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            let size = hasher.size();
            return Ok(Blob { digest: hasher.finish(), size });
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}
