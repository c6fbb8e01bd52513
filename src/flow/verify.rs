//! Checks archives offline against the release beside them. No socket is opened.

use std::path::{Path, PathBuf};

use super::Error;
use crate::model::key::TrustedKeys;
use crate::model::release::{self, Archive, Release};
use crate::model::seal::Verified;
use crate::step::progress::Hear;
use crate::step::{check, download};

/// An archive that matches its release in every byte.
pub struct Sound {
    /// Its release.
    pub release: Verified<Release>,
    /// The archives that were checked.
    pub archives: Vec<Verified<Archive>>,
}

/// Verifies one archive, or every archive of the release in a folder.
pub fn verify(path: &Path, keys: &TrustedKeys, hear: Hear<'_>) -> Result<Sound, Error> {
    let (folder, file) = split(path);
    let sealed = download::release_beside(&folder)?
        .ok_or_else(|| Error::NoRelease { file: path.display().to_string(), name: release::FILE_NAME })?;
    let release = sealed.verify(keys)?;
    let wanted: Vec<Verified<Archive>> = match &file {
        Some(file) => release.archive_named(file).into_iter().collect(),
        None => release.archives.iter().filter_map(|archive| release.archive_named(&archive.file)).collect(),
    };
    if wanted.is_empty() {
        let present = super::fetch::list(release.archives.iter().map(|archive| &archive.file));
        return Err(Error::NotInRelease { file: file.unwrap_or_default(), present });
    }
    let mut archives = Vec::new();
    for archive in wanted {
        let file = download::local(&folder.join(&archive.file))?;
        archives.push(check::archive(file, archive, hear)?.into_archive());
    }
    Ok(Sound { release, archives })
}

fn split(path: &Path) -> (PathBuf, Option<String>) {
    if path.is_dir() {
        return (path.to_owned(), None);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    (path.parent().unwrap_or(Path::new("")).to_owned(), name)
}
