//! Checks archives offline against the release beside them. No socket is opened.

use std::path::{Path, PathBuf};

use super::Error;
use crate::model::key::{PublicKey, TrustedKeys};
use crate::model::release::{self, Archive, Release};
use crate::model::seal::{Sealed, Verified};
use crate::step::pin::Pin;
use crate::step::progress::Hear;
use crate::step::{check, download};

/// An archive that matches its release in every byte.
pub struct Sound {
    /// Its release.
    pub release: Verified<Release>,
    /// The archives that were checked.
    pub archives: Vec<Verified<Archive>>,
}

/// Whose signature counts.
pub enum Trust {
    /// This key's, whatever project it signs for.
    Key(PublicKey),
    /// For each pinned project, its own key's.
    Pins(Vec<Pin>),
}

impl Trust {
    fn verify(&self, sealed: &Sealed<Release>) -> Result<Verified<Release>, Error> {
        let pins = match self {
            Self::Key(key) => return Ok(sealed.verify(&TrustedKeys::from(key.clone()))?),
            Self::Pins(pins) => pins,
        };
        let keys = TrustedKeys::new(pins.iter().map(|pin| pin.key.clone()).collect())?;
        let release = sealed.verify(&keys)?;
        let own = |pin: &&Pin| pin.project == release.project && pin.key.fingerprint() == release.signer();
        match pins.iter().find(own) {
            Some(_) => Ok(release),
            None => Err(Error::Stranger { project: release.project.clone() }),
        }
    }
}

/// Verifies one archive, or every archive of the release in a folder.
pub fn verify(path: &Path, trust: &Trust, hear: Hear<'_>) -> Result<Sound, Error> {
    if !path.exists() {
        return Err(Error::Absent(path.display().to_string()));
    }
    let (folder, file) = split(path);
    let sealed = download::release_beside(&folder)?
        .ok_or_else(|| Error::NoRelease { file: path.display().to_string(), name: release::FILE_NAME })?;
    let release = trust.verify(&sealed)?;
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
