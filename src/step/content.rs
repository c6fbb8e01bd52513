//! The local content store: an OCI layout that holds the images built on this machine.
//!
//! Blobs are named by digest and written once. Any OCI tool can read the folder.

mod incoming;
mod index;
mod notes;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::atomic::{self, Draft};
use super::stream::{self, Hashing};
use crate::model::digest::Digest;
use crate::model::image::{Blob, ImageError};
use crate::model::name::ImageTag;

pub use incoming::Incoming;
pub use index::Pending;

/// A folder with an OCI layout.
#[derive(Debug, Clone)]
pub struct ContentStore {
    folder: PathBuf,
}

/// What went wrong in the content store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The disk.
    #[error("content store `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A document in it is damaged.
    #[error("content store `{}` is damaged: `{file}` cannot be read", .folder.display())]
    Damaged {
        /// The store.
        folder: PathBuf,
        /// The file in it.
        file: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody built it here.
    #[error("there is no image `{0}` in the content store")]
    Missing(ImageTag),
    /// What is stored does not belong together.
    #[error("image `{0}` in the content store is damaged")]
    Image(ImageTag, #[source] ImageError),
}

/// Manifests and configurations are small; a larger one is an error, not an allocation.
const MAX_DOCUMENT: usize = 4 << 20;

impl ContentStore {
    /// Opens or creates a store.
    pub fn open(folder: &Path) -> Result<Self, ContentError> {
        let store = Self { folder: folder.to_owned() };
        let create = || {
            fs::create_dir_all(folder.join("blobs/sha256"))?;
            if !folder.join("oci-layout").exists() {
                atomic::write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
            }
            Ok(())
        };
        create().map_err(|error| store.io(error))?;
        Ok(store)
    }

    /// Whether a blob is here with its right size; its bytes are checked whenever they are read.
    #[must_use]
    pub fn has(&self, blob: &Blob) -> bool {
        fs::metadata(self.path(&blob.digest)).is_ok_and(|data| data.is_file() && data.len() == blob.size)
    }

    /// The names of the blobs that are here.
    pub fn blobs(&self) -> Result<BTreeSet<Digest>, ContentError> {
        let names = || {
            let entries = fs::read_dir(self.folder.join("blobs/sha256"))?;
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        };
        let names = names().map_err(|error| self.io(error))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{}", name.to_str()?).parse().ok()).collect())
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        File::open(self.path(digest)).map_err(|error| self.io(error))
    }

    /// Takes a stream in under the digest that it turns out to have.
    pub fn take(&self, stream: &mut dyn Read) -> Result<Blob, ContentError> {
        self.create(&mut |out| io::copy(stream, out).map(drop))
    }

    /// Takes in what is written, under the digest that it turns out to have.
    pub fn create(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Blob, ContentError> {
        let mut create = || {
            let mut draft = Draft::beside(&self.path(&Digest::of(b"")))?;
            let mut hashing = Hashing::new(draft.file());
            let mut buffered = BufWriter::with_capacity(1 << 18, &mut hashing);
            write(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            let blob = hashing.blob();
            // Also over one that is there: it may be damaged, and the bytes are written anyway.
            draft.keep(&self.path(&blob.digest), 0o644)?;
            Ok(blob)
        };
        create().map_err(|error| self.io(error))
    }

    /// The size of a blob that is here with the right bytes; one with others is removed.
    pub fn checked(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        match self.measured(digest)? {
            Some(found) if found.digest == *digest => Ok(Some(found.size)),
            Some(_) => self.discard(digest).map(|()| None),
            None => Ok(None),
        }
    }

    /// The digest that the bytes of a blob really have, if that is another one; the blob is removed then.
    pub fn damage(&self, digest: &Digest) -> Result<Option<Digest>, ContentError> {
        match self.measured(digest)? {
            Some(found) if found.digest != *digest => self.discard(digest).map(|()| Some(found.digest)),
            _ => Ok(None),
        }
    }

    fn measured(&self, digest: &Digest) -> Result<Option<Blob>, ContentError> {
        let measure = || stream::measure(&mut File::open(self.path(digest))?).map(Some);
        match measure() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            measured => measured.map_err(|error| self.io(error)),
        }
    }

    /// A file without a name on the store's disk, for what is on its way in.
    pub fn draft(&self) -> Result<File, ContentError> {
        tempfile::tempfile_in(&self.folder).map_err(|error| self.io(error))
    }

    /// Waits until nobody else brings blobs in here, and keeps others waiting while the file is open.
    pub fn hold(&self) -> Result<File, ContentError> {
        let hold = || {
            let file = self.holder()?;
            file.lock()?;
            Ok(file)
        };
        hold().map_err(|error| self.io(error))
    }

    /// The same, or nothing when somebody else does at this moment.
    pub fn hold_if_free(&self) -> io::Result<Option<File>> {
        let file = self.holder()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What whoever brings blobs in here locks.
    fn holder(&self) -> io::Result<File> {
        File::create(self.folder.join(".held"))
    }

    /// Removes a damaged blob, so that the next build brings it again.
    pub fn discard(&self, digest: &Digest) -> Result<(), ContentError> {
        match fs::remove_file(self.path(digest)) {
            // Somebody else has found it, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| self.io(error)),
        }
    }

    /// The bytes of a small blob, checked.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let bytes = atomic::read_bounded(&self.path(digest), MAX_DOCUMENT).map_err(|error| self.io(error))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(self.damaged(&digest.to_string(), "its bytes have another digest"))
        }
    }

    /// Where the store is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a blob is.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn io(&self, error: io::Error) -> ContentError {
        ContentError::Io(self.folder.clone(), error)
    }

    fn damaged(
        &self,
        file: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ContentError {
        ContentError::Damaged { folder: self.folder.clone(), file: file.to_owned(), source: source.into() }
    }
}
