//! What is in an image: one that was built, or one in an archive.

use std::path::{Path, PathBuf};

use super::Error;
use super::build::Workshop;
use super::inspect::{self, Opened};
use super::verify::Trust;
use crate::model::attestation::{StatementError, Topic};
use crate::model::digest::Digest;
use crate::model::name::{ImageTag, Platform, ProjectName, Version};
use crate::model::sbom::{Inventory, read};
use crate::model::seal::Sealed;
use crate::step::content::ContentStore;
use crate::step::{download, inventory};

/// Lists the packages of an image in the content store.
pub fn of(workshop: &Workshop, tag: &ImageTag, platform: &Platform) -> Result<Inventory, Error> {
    let store = ContentStore::open(&workshop.content)?;
    let (image, _) = store.image(tag, platform)?;
    Ok(inventory::image(&image, &store)?)
}

/// What is stated in an archive. Every byte of it fits the archive's index.
pub struct Papers {
    path: PathBuf,
    opened: Opened,
    /// Whose index that is.
    pub vouched: Vouched,
}

/// Who vouches for what is stated.
#[derive(Debug, Clone)]
pub enum Vouched {
    /// A key that is trusted sealed the release that names the index.
    By {
        /// Whose release.
        project: ProjectName,
        /// Which.
        version: Version,
        /// Fingerprint of the key.
        signer: Digest,
    },
    /// Nobody that this machine trusts, and why.
    Nobody(String),
}

/// Opens an archive, and asks who vouches for it. A key that is named has to; of pinned projects, one may.
pub fn open(path: &Path, trust: Option<&Trust>, state: &Path) -> Result<Papers, Error> {
    let opened = inspect::open(path)?;
    let vouched = match (&opened.sealed, trust) {
        (_, None) => Vouched::Nobody("no project is pinned here, and no key was named".to_owned()),
        (None, Some(Trust::Pins(_))) => Vouched::Nobody("nobody signed the archive".to_owned()),
        (None, Some(Trust::Key(_))) => return Err(Error::NotAnArchive(path.display().to_string())),
        (Some(sealed), Some(trust)) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let beside = download::chain_beside(folder)?;
            match (trust.verify(&Sealed::from_bytes(sealed.clone()), &beside, state), trust) {
                (Ok((release, ..)), _) => {
                    if release.archive_with(&Digest::of(&opened.index.to_bytes())).is_none() {
                        let (file, present) = (path.display().to_string(), release.file_names());
                        return Err(Error::NotInRelease { file, present });
                    }
                    let (project, version) = (release.project.clone(), release.version.clone());
                    Vouched::By { project, version, signer: release.signer() }
                }
                (Err(error), Trust::Pins(_)) => Vouched::Nobody(error.to_string()),
                (Err(error), Trust::Key(_)) => return Err(error),
            }
        }
    };
    Ok(Papers { path: path.to_owned(), opened, vouched })
}

impl Papers {
    /// One paper, as it stands there.
    pub fn read(&self, topic: Topic) -> Result<Vec<u8>, Error> {
        let name = topic.paper();
        let none = || Error::NoPaper { file: self.path.display().to_string(), paper: name.clone() };
        let paper = self.opened.index.papers().iter().find(|paper| paper.name == name).ok_or_else(none)?;
        let bytes = self.opened.paper(&paper.digest)?;
        // Members are what the index says of them; so has to be what it says of the paper.
        if Digest::of(&bytes) == paper.digest { Ok(bytes) } else { Err(self.other(&name)) }
    }

    /// The packages.
    pub fn inventory(&self) -> Result<Inventory, Error> {
        let bytes = self.read(Topic::Cyclonedx)?;
        read::inventory(self.opened.index.image(), &bytes).map_err(|source| {
            let (paper, archive) = (Topic::Cyclonedx.paper(), self.path.display().to_string());
            Error::Statement(StatementError::Paper { paper, archive, source })
        })
    }

    fn other(&self, paper: &str) -> Error {
        let (paper, archive) = (paper.to_owned(), self.path.display().to_string());
        Error::OtherPaper { paper, archive }
    }
}
