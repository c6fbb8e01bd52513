//! Writes the files of a new project, and never over one that is there.

use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use crate::model::scaffold::File;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Written,
    /// It was there, and is as it was.
    Kept,
}

/// Writes what is not there.
pub fn scaffold(folder: &Path, files: &[File]) -> Result<Vec<Fate>, (PathBuf, io::Error)> {
    let mut fates = Vec::new();
    for File { path, text } in files {
        let target = folder.join(path);
        match atomic::write_new(&target, text.as_bytes(), 0o644) {
            Ok(()) => fates.push(Fate::Written),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fates.push(Fate::Kept),
            Err(error) => return Err((target, error)),
        }
    }
    Ok(fates)
}
