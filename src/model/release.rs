//! The release: the signed document that names every archive of one version.

use std::collections::BTreeSet;

use super::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive;
use super::archive::tail::{self, Footer};
use super::digest::Digest;
use super::document::{Document, Subject};
use super::image::{Blob, Image};
use super::name::{ImageTag, Platform, ProjectName, TierName, Version};
use super::seal::Verified;
use super::words::quoted;

/// File name of a sealed release, beside its archives.
pub const FILE_NAME: &str = "release.sigstore.json";

/// All archives of one version. It never expires, so an archive stays verifiable offline for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Whose.
    pub project: ProjectName,
    /// Which.
    pub version: Version,
    /// When the release was made; information only.
    pub created: Timestamp,
    /// Its archives, one for each tier and platform.
    pub archives: Vec<Archive>,
    /// What makes its archives of older ones, for machines that have those; often none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// One archive: the file, and the image in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Which image.
    pub tier: TierName,
    /// File name; follows from tier, version and platform.
    pub file: String,
    /// Bytes of the file's reproducible part, from its beginning. What follows is this very release,
    /// sealed, and the file's end: both are written when it is signed.
    pub size: u64,
    /// Digest of the reproducible part.
    pub digest: Digest,
    /// The index at the end of the reproducible part: it names every member.
    pub index: Blob,
    /// What is inside.
    pub image: Image,
}

/// A patch: for a machine that has an older archive, less to fetch than the parts that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The archive that it makes.
    pub archive: String,
    /// The version of the older archive.
    pub from: Version,
    /// Digest of the older archive's index.
    pub base: Digest,
    /// File name; follows from the archive and the older version.
    pub file: String,
    /// Bytes of the file.
    pub size: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// The table at its beginning: it names every frame.
    pub table: Blob,
}

impl Patch {
    /// All of the file.
    #[must_use]
    pub fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

impl Release {
    /// Its files, for messages.
    #[must_use]
    pub fn file_names(&self) -> String {
        quoted(self.archives.iter().map(|archive| &archive.file))
    }
}

/// An archive's file as it is published, with the sealed release at its end. What `SHA256SUMS` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// File name.
    pub file: String,
    /// All of its bytes.
    pub blob: Blob,
}

impl Archive {
    /// The platform that the image is for.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.image.platform
    }

    /// Where the index begins, and all that follows the reproducible part when the file carries this sealed
    /// release: both are known before a byte of it is. `None` when the sizes cannot be those of an archive.
    #[must_use]
    pub fn end(&self, sealed: &[u8]) -> Option<(u64, Vec<u8>)> {
        let index_at = tail::index_at(self.size, self.index.size)?;
        Some((index_at, tail::after(Footer { index_at, body: self.size }, Some(sealed))))
    }
}

impl Verified<Archive> {
    /// [`Archive::end`] with the very release that this was found in.
    #[must_use]
    pub fn sealed_end(&self) -> Option<(u64, Vec<u8>)> {
        self.end(self.sealed_bytes())
    }
}

impl Verified<Release> {
    /// The archive of a tier for a platform.
    #[must_use]
    pub fn archive(&self, tier: &TierName, platform: &Platform) -> Option<Verified<Archive>> {
        let archive =
            self.archives.iter().find(|archive| archive.tier == *tier && archive.platform() == platform);
        archive.map(|archive| self.part(archive.clone()))
    }

    /// The archive with an index, whatever its file is called now.
    #[must_use]
    pub fn archive_with(&self, index: &Digest) -> Option<Verified<Archive>> {
        let archive = self.archives.iter().find(|archive| archive.index.digest == *index);
        archive.map(|archive| self.part(archive.clone()))
    }

    /// The patches that make an archive, the smallest first.
    #[must_use]
    pub fn patches_to(&self, archive: &Archive) -> Vec<Verified<Patch>> {
        let patches = self.patches.iter().filter(|patch| patch.archive == archive.file);
        let mut patches: Vec<_> = patches.map(|patch| self.part(patch.clone())).collect();
        patches.sort_by_key(|patch| patch.size);
        patches
    }

    /// The archive with a file name.
    #[must_use]
    pub fn archive_named(&self, file: &str) -> Option<Verified<Archive>> {
        let archive = self.archives.iter().find(|archive| archive.file == file);
        archive.map(|archive| self.part(archive.clone()))
    }
}

impl Document for Release {
    const TYPE: &'static str = "https://imgforge.dev/release/v1";
    const NAME: &'static str = "release";

    fn subjects(&self) -> Vec<Subject> {
        self.archives.iter().map(|archive| Subject::new(&archive.file, archive.digest)).collect()
    }

    fn consistent(&self) -> Result<(), String> {
        if self.archives.is_empty() {
            return Err("it names no archive".to_owned());
        }
        let mut seen = BTreeSet::new();
        for archive in &self.archives {
            let (tier, file) = (&archive.tier, &archive.file);
            if *file != archive::file_name(tier, &self.version, archive.platform()) {
                return Err(format!("`{file}` is not the file name of tier `{tier}`"));
            }
            if archive.image.tag != ImageTag::new(&self.project, tier, &self.version) {
                return Err(format!("`{file}` holds an image named `{}`", archive.image.tag));
            }
            if !seen.insert(file) {
                return Err(format!("it names `{file}` twice"));
            }
        }
        for Patch { archive, from, file, .. } in &self.patches {
            if !self.archives.iter().any(|known| known.file == *archive) {
                return Err(format!("patch `{file}` makes `{archive}`, which is not in it"));
            }
            if *from == self.version || *file != archive::patch_name(archive, from) {
                return Err(format!("`{file}` is not the file name of a patch from {from} to `{archive}`"));
            }
            if !seen.insert(file) {
                return Err(format!("it names `{file}` twice"));
            }
        }
        Ok(())
    }
}
