//! A store in a folder.
//!
//! Readers may look while it is written: a file appears whole under its name or not at all
//! ([`Draft`]), and a pointer is replaced by a rename. Writers of the pointer take turns by a lock.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use super::fault::{Answer, Fault};
use super::span::{Extent, Span};
use super::{Key, MAX_POINTER, Put, Reader, Source};
use crate::model::image::Blob;
use crate::step::atomic::{self, Draft};
use crate::step::progress::{Counted, Hear};
use crate::step::stream;

pub(super) fn open(root: &Path, key: &Key, span: Span) -> Result<Reader, Fault> {
    let mut file = atomic::open_file(&path(root, key))?;
    let total = file.metadata()?.len();
    let bytes = match span {
        Span::From(start) => start..total,
        Span::Part { start, end } => start..end,
        Span::Last(count) => total.saturating_sub(count)..total,
    };
    if bytes.start > bytes.end || bytes.end > total {
        let text = format!("the file has only {total} bytes");
        return Err(Fault::Refused(Answer { status: 416, text }));
    }
    file.seek(io::SeekFrom::Start(bytes.start))?;
    Ok(Reader::file(file, key, Extent { bytes, total }))
}

pub(super) fn size(root: &Path, key: &Key) -> Result<Option<u64>, Fault> {
    match fs::metadata(path(root, key)) {
        Ok(data) => Ok(Some(data.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn put(
    root: &Path,
    key: &Key,
    expected: &Blob,
    source: Source<'_>,
    hear: Hear<'_>,
) -> Result<Put, Fault> {
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
            return Err(io::Error::other("the file changed while it was copied").into());
        }
        match draft.keep_new(&path, 0o644) {
            Ok(()) => return Ok(Put::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    compare(root, key, expected)?.ok_or(Fault::Missing)
}

/// Whether a file is there with these bytes; `None` when none is there.
pub(super) fn compare(root: &Path, key: &Key, expected: &Blob) -> Result<Option<Put>, Fault> {
    let mut file = match atomic::open_file(&path(root, key)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() == expected.size && stream::measure(&mut file)? == *expected {
        return Ok(Some(Put::Same));
    }
    Err(Fault::Conflict)
}

pub(super) fn replace(root: &Path, key: &Key, before: Option<&[u8]>, now: &[u8]) -> Result<(), Fault> {
    let path = path(root, key);
    fs::create_dir_all(root)?;
    let lock = File::create(root.join(".lock"))?;
    lock.lock()?;
    let current = match atomic::read_bounded(&path, MAX_POINTER) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if current.as_deref() != before {
        return Err(Fault::Conflict);
    }
    Ok(atomic::write(&path, now, 0o644)?)
}

/// Also the folder, when it was the last in it.
pub(super) fn remove(root: &Path, key: &Key) -> Result<(), Fault> {
    let path = path(root, key);
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(folder) = path.parent() {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

pub(super) fn names(root: &Path, folder: &Key) -> Result<Vec<String>, Fault> {
    let entries = match fs::read_dir(path(root, folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
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
