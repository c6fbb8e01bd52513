//! Appends the sealed release to an archive: from then on the file can be verified alone.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::atomic::Draft;
use super::progress::{Counted, Hear};
use super::stream::Hashing;
use crate::model::image::Blob;
use crate::model::release::{Archive, Release, Whole};
use crate::model::seal::Sealed;

/// Why an archive carries no seal.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk.
    #[error("cannot append the seal to `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The file is not the one that the release names.
    #[error("`{}` changed while it was signed", .0.display())]
    Changed(PathBuf),
}

/// Replaces whatever follows the reproducible part by the sealed release. The file is copied, so
/// that it is never half signed, and every byte of what was signed is hashed on the way.
pub fn seal(
    folder: &Path,
    archive: &Archive,
    sealed: &Sealed<Release>,
    hear: Hear<'_>,
) -> Result<Whole, AppendError> {
    let path = folder.join(&archive.file);
    let io = |error| AppendError::Io(path.clone(), error);
    let changed = || AppendError::Changed(path.clone());
    let (_, after) = archive.end(sealed.bytes()).ok_or_else(changed)?;

    let mut body = Counted::new(File::open(&path).map_err(io)?, archive.size, hear).take(archive.size);
    let mut draft = Draft::beside(&path).map_err(io)?;
    let mut out = Hashing::new(draft.file());
    out.take_in(&mut body).map_err(io)?;
    if out.so_far() != (Blob { digest: archive.digest, size: archive.size }) {
        return Err(changed());
    }
    out.write_all(&after).map_err(io)?;
    let blob = out.blob();
    draft.keep(&path, 0o644).map_err(io)?;
    Ok(Whole { file: archive.file.clone(), blob })
}
