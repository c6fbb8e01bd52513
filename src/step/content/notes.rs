//! What the store notes beside its blobs: what they come to in archives, and what images were built of.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ContentError, ContentStore, MAX_DOCUMENT};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::layer;
use crate::model::name::{ImageTag, Platform};
use crate::step::atomic;

/// What layers come to in archives as they are cut and compressed now; the name changes with that.
const ARCHIVED: &str = "archived-2";

/// Layers of root filesystems; the name goes on with the normal form that they have.
const FORESEEN: &str = "foreseen";

/// Whose turn it is to mark an image.
const TURNS: &str = "turns-1";

/// What is stated of images: which plan made them last.
const STATED: &str = "stated-1";

impl ContentStore {
    /// What a blob comes to in an archive, if it was ever packed.
    #[must_use]
    pub fn archived_size(&self, digest: &Digest) -> Option<u64> {
        let text = atomic::read_bounded(&self.archived(digest), 32).ok()?;
        String::from_utf8(text).ok()?.trim().parse().ok()
    }

    /// Remembers it.
    pub fn remember_archived_size(&self, digest: &Digest, size: u64) -> Result<(), ContentError> {
        self.note(&self.archived(digest), format!("{size}\n").as_bytes())
    }

    /// The layer that a root filesystem comes to, if it was ever made.
    #[must_use]
    pub fn foreseen(&self, root: &Digest, epoch: u64) -> Option<Digest> {
        let text = atomic::read_bounded(&self.root(root, epoch), 64).ok()?;
        Digest::from_hex(&String::from_utf8(text).ok()?).ok()
    }

    /// Remembers which one it is.
    pub fn remember_foreseen(&self, root: &Digest, epoch: u64, layer: &Blob) -> Result<(), ContentError> {
        self.note(&self.root(root, epoch), layer.digest.hex().as_bytes())
    }

    fn root(&self, root: &Digest, epoch: u64) -> PathBuf {
        self.folder.join(format!("{FORESEEN}-{}", layer::FORM)).join(format!("{}-{epoch}", root.hex()))
    }

    /// How often somebody began to build an image.
    pub(super) fn turn(&self, tag: &ImageTag, platform: &Platform) -> u64 {
        let text = atomic::read_bounded(&self.turns(tag, platform), 32).unwrap_or_default();
        String::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(super) fn turns(&self, tag: &ImageTag, platform: &Platform) -> PathBuf {
        let name = Digest::of(format!("{}/{} {platform}", tag.project(), tag.tier()).as_bytes()).hex();
        self.folder.join(TURNS).join(name)
    }

    /// Notes what nobody needs after the machine went down.
    pub(super) fn note_at_once(&self, path: &Path, text: &str) -> Result<(), ContentError> {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
            fs::write(path, text)
        };
        write().map_err(|error| self.io(error))
    }

    fn note(&self, path: &Path, bytes: &[u8]) -> Result<(), ContentError> {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
            atomic::write(path, bytes, 0o644)
        };
        write().map_err(|error| self.io(error))
    }

    fn archived(&self, digest: &Digest) -> PathBuf {
        self.folder.join(ARCHIVED).join(digest.hex())
    }

    /// Where an image comes from, as the build that made it last stated it.
    #[must_use]
    pub fn provenance(&self, image: &Image) -> Option<Vec<u8>> {
        atomic::read_bounded(&self.stated(image), MAX_DOCUMENT).ok()
    }

    /// Remembers it.
    pub fn remember_provenance(&self, image: &Image, stated: &[u8]) -> Result<(), ContentError> {
        if self.provenance(image).is_some_and(|known| known == stated) {
            return Ok(());
        }
        self.note(&self.stated(image), stated)
    }

    /// Images of two platforms share a tag, and the same image may have two.
    fn stated(&self, image: &Image) -> PathBuf {
        let name = Digest::of(format!("{} {}", image.tag, image.manifest.digest).as_bytes()).hex();
        self.folder.join(STATED).join(name)
    }
}
