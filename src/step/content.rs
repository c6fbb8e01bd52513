//! The local content store: an OCI layout that holds the images built on this machine.
//!
//! Blobs are named by digest and written once. `index.json` lists one manifest for each tag; a
//! lock guards its change. Any OCI tool can read the folder.

mod incoming;
mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageManifest;
use serde::{Deserialize, Serialize};

use super::atomic::{self, Draft};
use super::stream::{self, Hashing};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, ImageError, Mark};
use crate::model::name::{ImageTag, Platform};

pub use incoming::Incoming;

/// A folder with an OCI layout.
#[derive(Debug, Clone)]
pub struct ContentStore {
    folder: PathBuf,
}

/// What went wrong in the content store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The disk.
    #[error("content store `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A document in it is damaged.
    #[error("content store `{}` is damaged: `{file}` cannot be read", .folder.display())]
    Damaged {
        /// The store.
        folder: PathBuf,
        /// The file in it.
        file: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody built it here.
    #[error("there is no image `{0}` in the content store")]
    Missing(ImageTag),
    /// What is stored does not belong together.
    #[error("image `{0}` in the content store is damaged")]
    Image(ImageTag, #[source] ImageError),
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INPUTS: &str = "dev.imgforge.inputs";
const CHARTER: &str = "dev.imgforge.charter";

/// Manifests and configurations are small; a larger one is an error, not an allocation.
const MAX_DOCUMENT: usize = 4 << 20;

/// `index.json`, with one descriptor for each tag.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    #[serde(default = "index_type")]
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Tools that write an index may leave its type out.
fn index_type() -> String {
    "application/vnd.oci.image.index.v1+json".to_owned()
}

impl Descriptor {
    fn is_of(&self, tag: &ImageTag) -> bool {
        self.annotations.get(REF_NAME).is_some_and(|name| *name == tag.to_string())
    }

    fn has(&self, mark: &Mark) -> bool {
        let says = |key: &str, digest: Digest| {
            self.annotations.get(key).is_some_and(|text| *text == digest.to_string())
        };
        says(INPUTS, mark.inputs) && says(CHARTER, mark.charter)
    }
}

impl ContentStore {
    /// Opens or creates a store.
    pub fn open(folder: &Path) -> Result<Self, ContentError> {
        let store = Self { folder: folder.to_owned() };
        let create = || {
            fs::create_dir_all(folder.join("blobs/sha256"))?;
            if !folder.join("oci-layout").exists() {
                atomic::write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
            }
            Ok(())
        };
        create().map_err(|error| store.io(error))?;
        Ok(store)
    }

    /// Whether a blob is here with its right size; its bytes are checked whenever they are read.
    #[must_use]
    pub fn has(&self, blob: &Blob) -> bool {
        fs::metadata(self.path(&blob.digest)).is_ok_and(|data| data.is_file() && data.len() == blob.size)
    }

    /// The names of the blobs that are here.
    pub fn blobs(&self) -> Result<BTreeSet<Digest>, ContentError> {
        let names = || {
            let entries = fs::read_dir(self.folder.join("blobs/sha256"))?;
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        };
        let names = names().map_err(|error| self.io(error))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{}", name.to_str()?).parse().ok()).collect())
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        File::open(self.path(digest)).map_err(|error| self.io(error))
    }

    /// Takes a stream in under the digest that it turns out to have.
    pub fn take(&self, stream: &mut dyn Read) -> Result<Blob, ContentError> {
        self.create(&mut |out| io::copy(stream, out).map(drop))
    }

    /// Takes in what is written, under the digest that it turns out to have.
    pub fn create(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Blob, ContentError> {
        let mut create = || {
            let mut draft = Draft::beside(&self.path(&Digest::of(b"")))?;
            let mut hashing = Hashing::new(draft.file());
            let mut buffered = BufWriter::with_capacity(1 << 18, &mut hashing);
            write(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            let blob = hashing.blob();
            // Also over one that is there: it may be damaged, and the bytes are written anyway.
            draft.keep(&self.path(&blob.digest), 0o644)?;
            Ok(blob)
        };
        create().map_err(|error| self.io(error))
    }

    /// The size of a blob that is here with the right bytes; one with others is removed.
    pub fn checked(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        match self.measured(digest)? {
            Some(found) if found.digest == *digest => Ok(Some(found.size)),
            Some(_) => self.discard(digest).map(|()| None),
            None => Ok(None),
        }
    }

    /// The digest that the bytes of a blob really have, if that is another one; the blob is removed then.
    pub fn damage(&self, digest: &Digest) -> Result<Option<Digest>, ContentError> {
        match self.measured(digest)? {
            Some(found) if found.digest != *digest => self.discard(digest).map(|()| Some(found.digest)),
            _ => Ok(None),
        }
    }

    fn measured(&self, digest: &Digest) -> Result<Option<Blob>, ContentError> {
        let measure = || stream::measure(&mut File::open(self.path(digest))?).map(Some);
        match measure() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            measured => measured.map_err(|error| self.io(error)),
        }
    }

    /// Lists a manifest, whatever it describes, under a name of its own: a cache, for example.
    pub fn list_manifest(&self, media_type: &str, manifest: Blob, name: &str) -> Result<(), ContentError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        index.manifests.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|found| found != name));
        index.manifests.push(Descriptor {
            media_type: media_type.to_owned(),
            digest: manifest.digest,
            size: manifest.size,
            annotations: BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]),
        });
        let bytes = serde_json::to_vec_pretty(&index).unwrap_or_default();
        atomic::write(&self.folder.join("index.json"), &bytes, 0o644).map_err(|error| self.io(error))
    }

    /// Every manifest that is listed.
    pub fn manifests(&self) -> Result<Vec<Digest>, ContentError> {
        Ok(self.index()?.manifests.into_iter().map(|entry| entry.digest).collect())
    }

    /// Lists images under their tags, and stores their manifests. With a mark, an image is known again when it
    /// is built again.
    pub fn list(&self, images: &[(&Image, Option<Mark>)]) -> Result<(), ContentError> {
        for (image, _) in images {
            if self.document(&image.manifest.digest).is_err() {
                self.take(&mut image.manifest_bytes().as_slice())?;
            }
        }
        let _lock = self.lock()?;
        let mut index = self.index()?;
        for (image, mark) in images {
            index.manifests.retain(|entry| !entry.is_of(&image.tag));
            let mut annotations = BTreeMap::from([(REF_NAME.to_owned(), image.tag.to_string())]);
            if let Some(Mark { inputs, charter }) = mark {
                annotations.insert(INPUTS.to_owned(), inputs.to_string());
                annotations.insert(CHARTER.to_owned(), charter.to_string());
            }
            index.manifests.push(Descriptor {
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                digest: image.manifest.digest,
                size: image.manifest.size,
                annotations,
            });
        }
        self.write(&index)
    }

    /// Takes the marks off images that are about to be built again, and gives those images that had the right
    /// one. Whoever then fails, or is killed, leaves none: what a builder has by then may be something else.
    pub fn unmark(
        &self,
        wanted: &[(&ImageTag, &Platform, Mark)],
    ) -> Result<Vec<Option<Image>>, ContentError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let known = |(tag, platform, mark): &(&ImageTag, &Platform, Mark)| {
            let entry = index.manifests.iter().find(|entry| entry.is_of(tag) && entry.has(mark))?;
            Some(self.read(entry, tag, platform).ok()?.0)
        };
        let known = wanted.iter().map(known).collect();
        let mut had = false;
        for entry in &mut index.manifests {
            if wanted.iter().any(|(tag, ..)| entry.is_of(tag)) {
                had |= entry.annotations.remove(INPUTS).is_some();
                had |= entry.annotations.remove(CHARTER).is_some();
            }
        }
        if had {
            self.write(&index)?;
        }
        Ok(known)
    }

    /// The image of a tag, complete and consistent, with the bytes of its configuration.
    pub fn image(&self, tag: &ImageTag, platform: &Platform) -> Result<(Image, Vec<u8>), ContentError> {
        let index = self.index()?;
        let entry = index.manifests.iter().find(|entry| entry.is_of(tag));
        self.read(entry.ok_or_else(|| ContentError::Missing(tag.clone()))?, tag, platform)
    }

    fn read(
        &self,
        entry: &Descriptor,
        tag: &ImageTag,
        platform: &Platform,
    ) -> Result<(Image, Vec<u8>), ContentError> {
        let manifest = self.document(&entry.digest)?;
        let manifest =
            ImageManifest::from_reader(manifest.as_slice()).map_err(|e| self.damaged("manifest", e))?;
        let blob = |descriptor: &oci_spec::image::Descriptor| {
            let digest: Digest =
                descriptor.digest().to_string().parse().map_err(|e| self.damaged("manifest", e))?;
            Ok(Blob { digest, size: descriptor.size() })
        };
        let layers = manifest.layers().iter().map(blob).collect::<Result<Vec<_>, ContentError>>()?;
        let config = self.document(&blob(manifest.config())?.digest)?;
        if !layers.iter().all(|layer| self.has(layer)) {
            return Err(ContentError::Missing(tag.clone()));
        }
        let image = Image::new(tag.clone(), platform.clone(), &config, layers)
            .map_err(|error| ContentError::Image(tag.clone(), error))?;
        Ok((image, config))
    }

    /// A file without a name on the store's disk, for what is on its way in.
    pub fn draft(&self) -> Result<File, ContentError> {
        tempfile::tempfile_in(&self.folder).map_err(|error| self.io(error))
    }

    /// Waits until nobody else brings blobs in here, and keeps others waiting while the file is open.
    pub fn hold(&self) -> Result<File, ContentError> {
        let hold = || {
            let file = self.holder()?;
            file.lock()?;
            Ok(file)
        };
        hold().map_err(|error| self.io(error))
    }

    /// The same, or nothing when somebody else does at this moment.
    pub fn hold_if_free(&self) -> io::Result<Option<File>> {
        let file = self.holder()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What whoever brings blobs in here locks.
    fn holder(&self) -> io::Result<File> {
        File::create(self.folder.join(".held"))
    }

    /// Removes a damaged blob, so that the next build brings it again.
    pub fn discard(&self, digest: &Digest) -> Result<(), ContentError> {
        fs::remove_file(self.path(digest)).map_err(|error| self.io(error))
    }

    /// The bytes of a small blob, checked.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let bytes = atomic::read_bounded(&self.path(digest), MAX_DOCUMENT).map_err(|error| self.io(error))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(self.damaged(&digest.to_string(), "its bytes have another digest"))
        }
    }

    fn index(&self) -> Result<Index, ContentError> {
        match atomic::read_bounded(&self.folder.join("index.json"), MAX_DOCUMENT) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.damaged("index.json", error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Index { schema_version: 2, media_type: index_type(), manifests: Vec::new() })
            }
            Err(error) => Err(self.io(error)),
        }
    }

    fn write(&self, index: &Index) -> Result<(), ContentError> {
        let bytes = serde_json::to_vec_pretty(index).unwrap_or_default();
        atomic::write(&self.folder.join("index.json"), &bytes, 0o644).map_err(|error| self.io(error))
    }

    fn lock(&self) -> Result<File, ContentError> {
        let lock = || {
            let file = File::create(self.folder.join(".lock"))?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| self.io(error))
    }

    /// Where the store is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a blob is.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn io(&self, error: io::Error) -> ContentError {
        ContentError::Io(self.folder.clone(), error)
    }

    fn damaged(
        &self,
        file: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ContentError {
        ContentError::Damaged { folder: self.folder.clone(), file: file.to_owned(), source: source.into() }
    }
}

/// Reading an index written by others is not needed yet, but ours must be one that others read.
#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::ImageIndex;

    use crate::model::image;

    /// A store that lists the sample image.
    fn listed() -> (tempfile::TempDir, ContentStore, Image, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let (image, config) = image::tests::sample();
        for bytes in [&config[..], b"one", b"two"] {
            store.take(&mut &bytes[..]).unwrap();
        }
        store.list(&[(&image, None)]).unwrap();
        (folder, store, image, config)
    }

    #[test]
    fn an_image_comes_back_as_it_was_listed() {
        let (folder, store, image, config) = listed();
        store.list(&[(&image, None)]).unwrap();
        assert_eq!(store.image(&image.tag, &image.platform).unwrap(), (image, config));
        let index = ImageIndex::from_file(folder.path().join("index.json")).unwrap();
        assert_eq!(index.manifests().len(), 1);
    }

    #[test]
    fn a_mark_is_there_for_one_build() {
        let (_folder, store, image, _) = listed();
        let [one, other] = ["one", "other"]
            .map(|text| Mark { inputs: Digest::of(text.as_bytes()), charter: Digest::of(b"c") });
        let unmark = |mark| store.unmark(&[(&image.tag, &image.platform, mark)]).unwrap().remove(0);
        assert_eq!(unmark(one), None, "it never had one");
        store.list(&[(&image, Some(one))]).unwrap();
        assert_eq!(unmark(one), Some(image.clone()));
        assert_eq!(unmark(one), None, "whoever had it did not give it back");
        store.list(&[(&image, Some(one))]).unwrap();
        assert_eq!(unmark(other), None, "it is another one");
        assert_eq!(unmark(one), None, "a build of other inputs is a build, too");
        store.image(&image.tag, &image.platform).unwrap();
    }

    #[test]
    fn a_changed_blob_is_damage_and_a_lost_one_is_missing() {
        let (_folder, store, image, config) = listed();
        let mut changed = config.clone();
        changed[0] ^= 1;
        fs::write(store.path(&image.config.digest), changed).unwrap();
        assert!(matches!(store.image(&image.tag, &image.platform), Err(ContentError::Damaged { .. })));
        fs::write(store.path(&image.config.digest), config).unwrap();
        fs::remove_file(store.path(&image.layers[1].digest)).unwrap();
        assert!(matches!(store.image(&image.tag, &image.platform), Err(ContentError::Missing(_))));
    }
}
