//! What this machine remembers between two fetches: the newest pointer followed, by channel.
//!
//! It lives in the *state* folder, because clearing a cache must not clear rollback protection.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use crate::model::key::TrustedKeys;
use crate::model::name::{ChannelName, ProjectName};
use crate::model::seen::Seen;

/// Why the memory cannot be used. A memory that cannot be read is never taken for an empty one.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// The disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Not what was written.
    #[error("`{}` is damaged", .0.display())]
    Damaged(PathBuf, #[source] serde_json::Error),
}

/// The memory of one channel, locked as long as this value lives: two fetches of the same channel
/// follow each other.
pub struct Memory {
    file: PathBuf,
    _lock: File,
}

const MAX_BYTES: usize = 64 << 10;

/// Opens the memory of a channel, as those see it who trust these keys: what another key showed under
/// the same name is another channel.
pub fn open(
    state: &Path,
    project: &ProjectName,
    keys: &TrustedKeys,
    channel: &ChannelName,
) -> Result<Memory, RememberError> {
    let folder = state.join("seen").join(project.as_str()).join(keys.root().hex());
    let file = folder.join(format!("{channel}.json"));
    let lock = || {
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join(format!("{channel}.lock")))?;
        lock.lock()?;
        Ok(lock)
    };
    match lock() {
        Ok(lock) => Ok(Memory { file, _lock: lock }),
        Err(error) => Err(RememberError::Io(folder, error)),
    }
}

impl Memory {
    /// The newest pointer followed.
    pub fn seen(&self) -> Result<Option<Seen>, RememberError> {
        match atomic::read_bounded(&self.file, MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| RememberError::Damaged(self.file.clone(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RememberError::Io(self.file.clone(), error)),
        }
    }

    /// Remembers a pointer. Called after the image is loaded, so that a failed fetch can be repeated.
    pub fn remember(&self, seen: &Seen) -> Result<(), RememberError> {
        let bytes = serde_json::to_vec(seen).unwrap_or_default();
        atomic::write(&self.file, &bytes, 0o600).map_err(|error| RememberError::Io(self.file.clone(), error))
    }
}
