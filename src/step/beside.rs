//! Small files beside an archive, and the archive that they are about.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::stream;
use crate::model::image::Blob;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot access `{}`", .0.display())]
pub struct BesideError(PathBuf, #[source] io::Error);

/// What a file is, whole, if it is there.
pub fn measure(path: &Path) -> Result<Option<Blob>, BesideError> {
    match File::open(path).and_then(|mut file| stream::measure(&mut file)) {
        Ok(blob) => Ok(Some(blob)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BesideError(path.to_owned(), error)),
    }
}

/// Writes a small file, over an older one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), BesideError> {
    atomic::write(path, bytes, 0o644).map_err(|error| BesideError(path.to_owned(), error))
}
