//! Hands a checked archive on, without an engine: as a file, or as a tar for whoever reads.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::atomic::Draft;
use super::stream;

/// Why it did not get there.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The file.
    #[error("cannot write `{}`", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// Whoever reads.
    #[error("the tar was not read to its end")]
    Pipe(#[source] io::Error),
}

/// Copies a file that was checked.
pub fn copy(file: &mut impl Read, target: &Path) -> Result<(), DeliverError> {
    let mut write = || {
        let mut draft = Draft::beside(target)?;
        stream::copy(file, draft.file())?;
        draft.keep(target, 0o644)
    };
    write().map_err(|error| DeliverError::Write(target.to_owned(), error))
}

/// Writes the tar that engines load.
pub fn pipe(tar: &mut impl Read, out: &mut dyn Write) -> Result<(), DeliverError> {
    stream::copy(tar, &mut *out).and_then(|_| out.flush()).map_err(DeliverError::Pipe)
}
