//! What this machine remembers of a project: the trust documents it followed, and the newest pointer of
//! each channel.
//!
//! It lives in the *state* folder, because clearing a cache must not clear rollback protection. Each
//! change is a read, a merge and a write under a lock, so two commands at once lose nothing of each
//! other; nobody holds the lock while bytes are downloaded.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use crate::model::channel::ChannelError;
use crate::model::name::{ChannelName, ProjectName};
use crate::model::seen::{Pointer, Seen};
use crate::model::strict;
use crate::model::trust::{self, MAX_CHAIN, Step, TrustError, Trusted};

/// Why the memory cannot be used. A memory that cannot be read is never taken for an empty one.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// The disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Not what was written.
    #[error("`{}` is damaged", .0.display())]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// Trust documents that do not follow from the pinned key.
    #[error("`{}` is damaged", .0.display())]
    Chain(PathBuf, #[source] TrustError),
    /// Another process saw something that contradicts this.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// The memory of a project, as those see it who pinned a key: what another key showed under the same
/// name is another project.
#[derive(Debug, Clone)]
pub struct Memory {
    folder: PathBuf,
}

const MAX_BYTES: usize = 1 << 20;

/// The memory of what these keys showed of a project.
#[must_use]
pub fn of(state: &Path, project: &ProjectName, trusted: &Trusted) -> Memory {
    Memory { folder: state.join("seen").join(project.as_str()).join(trusted.pinned().hex()) }
}

impl Memory {
    /// What was seen; `None` when nothing was ever remembered, or the memory was lost.
    pub fn seen(&self) -> Result<Option<Seen>, RememberError> {
        let file = self.folder.join("seen.json");
        match read(&file, MAX_BYTES)? {
            Some(bytes) => {
                strict::from_slice(&bytes).map(Some).map_err(|error| RememberError::Damaged(file, error))
            }
            None => Ok(None),
        }
    }

    /// The trust documents that were followed, in order.
    pub fn chain(&self) -> Result<Vec<Step>, RememberError> {
        let file = self.folder.join(trust::FILE_NAME);
        let bytes = read(&file, MAX_CHAIN)?.unwrap_or_default();
        trust::chain(&bytes).map_err(|error| RememberError::Chain(file, error))
    }

    /// Begins to remember, so that a lost memory can be told from a new one.
    pub fn begin(&self) -> Result<(), RememberError> {
        let _lock = self.lock()?;
        match self.seen()? {
            Some(_) => Ok(()),
            None => self.write(&Seen::nothing()),
        }
    }

    /// Remembers a pointer. Called after the image is loaded, so that a failed fetch can be repeated.
    pub fn note(
        &self,
        channel: &ChannelName,
        pointer: Pointer,
        trusted: &Trusted,
    ) -> Result<(), RememberError> {
        let _lock = self.lock()?;
        let mut seen = self.seen()?.unwrap_or_else(Seen::nothing);
        seen.note(channel, pointer, trusted)?;
        self.write(&seen)
    }

    /// Remembers the documents that were followed; a longer memory stays.
    pub fn keep_chain(&self, followed: &[Step]) -> Result<(), RememberError> {
        let _lock = self.lock()?;
        if followed.len() <= self.chain()?.len() {
            return Ok(());
        }
        let file = self.folder.join(trust::FILE_NAME);
        let bytes: Vec<u8> = followed.iter().flat_map(Step::bytes).collect();
        atomic::write(&file, &bytes, 0o600).map_err(|error| RememberError::Io(file, error))
    }

    fn write(&self, seen: &Seen) -> Result<(), RememberError> {
        let file = self.folder.join("seen.json");
        let bytes = serde_json::to_vec(seen).unwrap_or_default();
        atomic::write(&file, &bytes, 0o600).map_err(|error| RememberError::Io(file, error))
    }

    fn lock(&self) -> Result<File, RememberError> {
        let lock = || {
            fs::create_dir_all(&self.folder)?;
            let lock = File::create(self.folder.join("lock"))?;
            lock.lock()?;
            Ok(lock)
        };
        lock().map_err(|error| RememberError::Io(self.folder.clone(), error))
    }
}

fn read(file: &Path, max: usize) -> Result<Option<Vec<u8>>, RememberError> {
    match atomic::read_bounded(file, max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RememberError::Io(file.to_owned(), error)),
    }
}
