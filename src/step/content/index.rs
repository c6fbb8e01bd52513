//! Which images the store has: `index.json`, that any OCI tool reads. A lock guards its change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use oci_spec::image::ImageManifest;
use serde::{Deserialize, Serialize};

use super::{ContentError, ContentStore, MAX_DOCUMENT};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, Mark};
use crate::model::name::{ImageTag, Platform};
use crate::model::registry;
use crate::step::atomic;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INPUTS: &str = "dev.imgforge.inputs";
const CHARTER: &str = "dev.imgforge.charter";

/// `index.json`, with one descriptor for each tag and platform.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Listed>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A platform as indexes have it.
#[derive(Serialize, Deserialize, PartialEq)]
struct Listed {
    architecture: String,
    os: String,
}

impl From<&Platform> for Listed {
    fn from(platform: &Platform) -> Self {
        Self { architecture: platform.architecture.clone(), os: platform.os.clone() }
    }
}

/// Tools that write an index may leave its type out.
fn index_type() -> String {
    registry::INDEX.to_owned()
}

impl Descriptor {
    /// Images of several platforms have one tag.
    fn is_of(&self, tag: &ImageTag, platform: &Platform) -> bool {
        self.is_for(platform) && self.annotations.get(REF_NAME).is_some_and(|name| *name == tag.to_string())
    }

    fn is_of_any_version(&self, tag: &ImageTag, platform: &Platform) -> bool {
        let listed = self.annotations.get(REF_NAME).and_then(|name| name.parse::<ImageTag>().ok());
        let same = |listed: &ImageTag| listed.project() == tag.project() && listed.tier() == tag.tier();
        self.is_for(platform) && listed.as_ref().is_some_and(same)
    }

    fn is_for(&self, platform: &Platform) -> bool {
        self.platform.as_ref().is_none_or(|listed| *listed == platform.into())
    }

    fn has(&self, mark: &Mark) -> bool {
        let says = |key: &str, digest: Digest| {
            self.annotations.get(key).is_some_and(|text| *text == digest.to_string())
        };
        says(INPUTS, mark.inputs) && says(CHARTER, mark.charter)
    }
}

/// A mark that an image gets if it is good, and if nobody has begun to build it after this turn.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    mark: Mark,
    turn: u64,
}

impl ContentStore {
    /// Lists a manifest, whatever it describes, under a name of its own: a cache, for example.
    pub fn list_manifest(&self, media_type: &str, manifest: Blob, name: &str) -> Result<(), ContentError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        index.manifests.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|found| found != name));
        index.manifests.push(Descriptor {
            media_type: media_type.to_owned(),
            digest: manifest.digest,
            size: manifest.size,
            platform: None,
            annotations: BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]),
        });
        self.write(&index)
    }

    /// Every manifest that is listed.
    pub fn manifests(&self) -> Result<Vec<Digest>, ContentError> {
        Ok(self.index()?.manifests.into_iter().map(|entry| entry.digest).collect())
    }

    /// Lists images under their tags, and stores their manifests. With a mark, an image is known again when it
    /// is built again; it gets none if somebody has begun to build it since.
    pub fn list(&self, images: &[(&Image, Option<Pending>)]) -> Result<(), ContentError> {
        if images.is_empty() {
            return Ok(());
        }
        for (image, _) in images {
            if self.document(&image.manifest.digest).is_err() {
                self.take(&mut image.manifest_bytes().as_slice())?;
            }
        }
        let _lock = self.lock()?;
        let mut index = self.index()?;
        for (image, pending) in images {
            let of_this = |entry: &Descriptor| entry.is_of(&image.tag, &image.platform);
            let has_turn = |pending: &&Pending| self.turn(&image.tag, &image.platform) == pending.turn;
            let mark = pending.as_ref().filter(has_turn).map(|pending| pending.mark);
            let listed = index.manifests.iter().find(|entry| of_this(entry));
            if pending.is_some()
                && mark.is_none()
                && listed.is_some_and(|entry| entry.digest == image.manifest.digest)
            {
                continue;
            }
            index.manifests.retain(|entry| !of_this(entry));
            let mut annotations = BTreeMap::from([(REF_NAME.to_owned(), image.tag.to_string())]);
            if let Some(Mark { inputs, charter }) = mark {
                annotations.insert(INPUTS.to_owned(), inputs.to_string());
                annotations.insert(CHARTER.to_owned(), charter.to_string());
            }
            index.manifests.push(Descriptor {
                media_type: registry::MANIFEST.to_owned(),
                digest: image.manifest.digest,
                size: image.manifest.size,
                platform: Some((&image.platform).into()),
                annotations,
            });
        }
        self.write(&index)
    }

    /// Takes the marks off images that are about to be built again, and off other versions of them, which have steps
    /// in common. Gives those images that had the right one. Whoever then fails, or is killed, leaves none: what a
    /// builder has by then may be something else.
    pub fn unmark(
        &self,
        wanted: &[(&ImageTag, &Platform, Mark)],
    ) -> Result<Vec<(Pending, Option<Image>)>, ContentError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let known = |(tag, platform, mark): &(&ImageTag, &Platform, Mark)| {
            let mut entries = index.manifests.iter();
            let entry = entries.find(|entry| entry.is_of(tag, platform) && entry.has(mark));
            let image = entry.and_then(|entry| self.read(entry, tag, platform).ok());
            let turn = self.turn(tag, platform) + 1;
            self.note_at_once(&self.turns(tag, platform), &turn.to_string())?;
            Ok((Pending { mark: *mark, turn }, image.map(|(image, _)| image)))
        };
        let known = wanted.iter().map(known).collect::<Result<_, ContentError>>()?;
        let mut had = false;
        for entry in &mut index.manifests {
            if wanted.iter().any(|(tag, platform, _)| entry.is_of_any_version(tag, platform)) {
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
        let entry = index.manifests.iter().find(|entry| entry.is_of(tag, platform));
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
}

/// Reading an index written by others is not needed yet, but ours must be one that others read.
#[cfg(test)]
mod tests {
    use std::fs;

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
    fn images_of_two_platforms_have_one_tag() {
        let (folder, store, image, config) = listed();
        let platform: Platform = "linux/arm64".parse().unwrap();
        let config = String::from_utf8(config).unwrap().replace("amd64", "arm64").into_bytes();
        let other = Image::new(image.tag.clone(), platform.clone(), &config, image.layers.clone()).unwrap();
        store.take(&mut config.as_slice()).unwrap();
        store.list(&[(&other, None)]).unwrap();
        assert_eq!(store.image(&image.tag, &image.platform).unwrap().0, image);
        assert_eq!(store.image(&image.tag, &platform).unwrap().0, other);
        let index = ImageIndex::from_file(folder.path().join("index.json")).unwrap();
        let platforms = index
            .manifests()
            .iter()
            .map(|entry| entry.platform().clone().unwrap().architecture().to_string());
        assert_eq!(platforms.collect::<Vec<_>>(), ["amd64", "arm64"]);
    }

    #[test]
    fn a_mark_is_there_for_one_build() {
        let (_folder, store, image, _) = listed();
        let [one, other] = ["one", "other"]
            .map(|text| Mark { inputs: Digest::of(text.as_bytes()), charter: Digest::of(b"c") });
        let unmark = |tag, mark| store.unmark(&[(tag, &image.platform, mark)]).unwrap().remove(0);
        let list = |pending| store.list(&[(&image, Some(pending))]).unwrap();
        let (pending, known) = unmark(&image.tag, one);
        assert_eq!(known, None, "it never had one");
        list(pending);
        let (pending, known) = unmark(&image.tag, one);
        assert_eq!(known, Some(image.clone()));
        assert_eq!(unmark(&image.tag, one).1, None, "whoever had it did not give it back");
        list(pending);
        let (pending, known) = unmark(&image.tag, one);
        assert_eq!(known, None, "somebody else has begun since");
        list(pending);
        let (pending, known) = unmark(&image.tag, other);
        assert_eq!(known, None, "it is another one");
        list(pending);
        let next: ImageTag = "p/t:1.0.1".parse().unwrap();
        assert_eq!(unmark(&next, one).1, None);
        let (late, known) = unmark(&image.tag, other);
        assert_eq!(known, None, "another version may have run its steps again");
        let (pending, _) = unmark(&image.tag, one);
        list(pending);
        list(late);
        assert_eq!(unmark(&image.tag, one).1, Some(image.clone()), "who comes late takes nothing away");
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
