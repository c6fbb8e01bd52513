//! A store in a folder.
//!
//! Readers may look while it is written: a file appears whole under its name or not at all
//! ([`Draft`]), and a pointer is replaced by a rename. Writers of the pointer take turns by a lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Key, MAX_POINTER, Put, Reader, Source};
use crate::model::image::Blob;
use crate::step::atomic::{self, Draft};
use crate::step::progress::{Counted, Hear};
use crate::step::stream;

pub(super) fn open(root: &Path, key: &Key) -> io::Result<Reader> {
    atomic::open_file(&path(root, key)).map(Reader::File)
}

/// `None` when other bytes are there.
pub(super) fn put(
    root: &Path,
    key: &Key,
    expected: &Blob,
    source: Source<'_>,
    hear: Hear<'_>,
) -> io::Result<Option<Put>> {
    let path = path(root, key);
    if !path.exists() {
        let mut draft = Draft::beside(&path)?;
        let copied = match source {
            Source::Bytes(mut bytes) => stream::copy(&mut bytes, draft.file())?,
            Source::File(file) => {
                stream::copy(&mut Counted::new(File::open(file)?, expected.size, hear), draft.file())?
            }
        };
        if copied != *expected {
            return Err(io::Error::other("the file changed while it was copied"));
        }
        match draft.keep_new(&path, 0o644) {
            Ok(()) => return Ok(Some(Put::New)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let found = stream::measure(&mut atomic::open_file(&path)?)?;
    Ok((found == *expected).then_some(Put::Same))
}

/// Whether it still was what the caller read, and so was replaced.
pub(super) fn replace(root: &Path, key: &Key, before: Option<&[u8]>, now: &[u8]) -> io::Result<bool> {
    let path = path(root, key);
    fs::create_dir_all(root)?;
    let lock = File::create(root.join(".lock"))?;
    lock.lock()?;
    let current = match atomic::read_bounded(&path, MAX_POINTER) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if current.as_deref() != before {
        return Ok(false);
    }
    atomic::write(&path, now, 0o644)?;
    Ok(true)
}

pub(super) fn names(root: &Path, folder: &Key) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path(root, folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are no text are not ours.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn path(root: &Path, key: &Key) -> PathBuf {
    root.join(key.as_str())
}
