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
    "application/vnd.oci.image.index.v1+json".to_owned()
}

impl Descriptor {
    /// Images of several platforms have one tag.
    fn is_of(&self, tag: &ImageTag, platform: &Platform) -> bool {
        self.annotations.get(REF_NAME).is_some_and(|name| *name == tag.to_string())
            && self.platform.as_ref().is_none_or(|listed| *listed == platform.into())
    }

    fn has(&self, mark: &Mark) -> bool {
        let says = |key: &str, digest: Digest| {
            self.annotations.get(key).is_some_and(|text| *text == digest.to_string())
        };
        says(INPUTS, mark.inputs) && says(CHARTER, mark.charter)
    }
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
            index.manifests.retain(|entry| !entry.is_of(&image.tag, &image.platform));
            let mut annotations = BTreeMap::from([(REF_NAME.to_owned(), image.tag.to_string())]);
            if let Some(Mark { inputs, charter }) = mark {
                annotations.insert(INPUTS.to_owned(), inputs.to_string());
                annotations.insert(CHARTER.to_owned(), charter.to_string());
            }
            index.manifests.push(Descriptor {
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                digest: image.manifest.digest,
                size: image.manifest.size,
                platform: Some((&image.platform).into()),
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
            let entry = index.manifests.iter().find(|entry| entry.is_of(tag, platform) && entry.has(mark))?;
            Some(self.read(entry, tag, platform).ok()?.0)
        };
        let known = wanted.iter().map(known).collect();
        let mut had = false;
        for entry in &mut index.manifests {
            if wanted.iter().any(|(tag, platform, _)| entry.is_of(tag, platform)) {
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
