//! What is written down of an upload in progress, so that the next run goes on with it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::step::atomic;

/// An upload in progress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The server's name for it.
    pub(super) upload: String,
    /// What of.
    pub(super) what: What,
}

/// What is uploaded; all of it must be the same for an upload to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct What {
    /// Bucket and key.
    pub(super) object: String,
    /// Bytes of a part.
    pub(super) part: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Nanoseconds since 1970 when the file was written.
    pub(super) modified: u64,
    /// Its digest.
    pub(super) digest: Digest,
}

/// The place of one object's record, held as long as this value lives: two runs on one machine that
/// publish the same object follow each other.
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

const MAX_BYTES: usize = 64 << 10;

impl Place {
    pub(super) fn lock(uploads: &Path, object: &str) -> io::Result<Self> {
        fs::create_dir_all(uploads)?;
        let name = Digest::of(object.as_bytes()).hex();
        let lock = File::create(uploads.join(format!("{name}.lock")))?;
        lock.lock()?;
        Ok(Self { path: uploads.join(format!("{name}.json")), _lock: lock })
    }

    /// What was written down. What cannot be read only costs an upload from the start.
    pub(super) fn read(&self) -> Option<Record> {
        serde_json::from_slice(&atomic::read_bounded(&self.path, MAX_BYTES).ok()?).ok()
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        atomic::write(&self.path, &serde_json::to_vec(record)?, 0o600)
    }

    pub(super) fn clear(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// When a file was written.
pub(super) fn modified(file: &File) -> io::Result<u64> {
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
