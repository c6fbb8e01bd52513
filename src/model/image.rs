//! An image as imgforge holds and ships it: plain layers, so that a layer's digest is its diffID.

use std::collections::HashSet;

use oci_spec::image::ImageConfiguration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::name::{ImageTag, Platform};

/// Digest and size of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
}

impl Blob {
    /// The blob that these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its only tag.
    pub tag: ImageTag,
    /// What it runs on.
    pub platform: Platform,
    /// The configuration; its digest is the image ID of Docker's classic store.
    pub config: Blob,
    /// The manifest that [`Image::manifest_bytes`] gives; its digest is the image ID of the
    /// containerd store.
    pub manifest: Blob,
    /// Uncompressed layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// An image as an engine wrote it. It has no normal form yet, so it is never packed or listed.
#[derive(Debug, Clone)]
pub struct Raw {
    /// What the engine wrote.
    pub image: Image,
    /// How many of the lowest layers are those of the image that it starts from. They are somebody
    /// else's, and stay as they are.
    pub base: usize,
}

impl Raw {
    /// The image that an engine wrote above layers of somebody else.
    pub fn above(base: &[Digest], image: Image) -> Result<Self, ImageError> {
        let lowest = image.layers.iter().map(|layer| layer.digest);
        if image.layers.len() < base.len() || lowest.zip(base).any(|(found, of_base)| found != *of_base) {
            return Err(ImageError::Base);
        }
        Ok(Self { image, base: base.len() })
    }
}

/// The layers that a configuration lists, by their diffIDs.
pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, ImageError> {
    let parsed = ImageConfiguration::from_reader(config).map_err(ImageError::Config)?;
    let listed = parsed.rootfs().diff_ids().iter();
    listed.map(|text| text.parse().map_err(|_| ImageError::Layers)).collect()
}

/// How an image came to be listed: with it, an image that is built again need not be judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Everything that the build read.
    pub inputs: Digest,
    /// Everything that it was judged by.
    pub charter: Digest,
}

/// Why a configuration does not describe the image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not JSON of the right shape.
    #[error("the image configuration cannot be read")]
    Config(#[source] oci_spec::OciSpecError),
    /// Other layers than the configuration lists.
    #[error("the image has other layers than its configuration lists")]
    Layers,
    /// Other layers at the bottom than those of the image that it starts from.
    #[error("the lowest layers are not those of the image that it starts from")]
    Base,
    /// Another platform.
    #[error("the image is for {found}, not for {expected}")]
    Platform {
        /// What was asked for.
        expected: Platform,
        /// What the configuration says.
        found: String,
    },
    /// More layers than any engine accepts.
    #[error("the image has {0} layers; engines accept 127")]
    TooManyLayers(usize),
    /// The stored manifest is not the one that follows from configuration and layers.
    #[error("the manifest does not follow from configuration and layers")]
    Manifest,
}

/// How files of compressors begin, as Docker and containerd look for them in layers of any media type:
/// gzip, bzip2, xz, zstd.
const MAGICS: [&[u8]; 4] = [&[0x1f, 0x8b, 8], b"BZh", b"\xfd7zXZ\0", &[0x28, 0xb5, 0x2f, 0xfd]];

/// Bytes that are enough for [`is_packed`].
pub const LONGEST_MAGIC: u64 = 6;

/// Whether engines take a layer that begins like this for a compressed one, unpack it, and so see other
/// content than was hashed here, of any size. A plain tar begins with the name of a file.
#[must_use]
pub fn is_packed(start: &[u8]) -> bool {
    // A file of zstd may begin with frames that are skipped, of sixteen kinds.
    let skipped = matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    skipped || MAGICS.iter().any(|magic| start.starts_with(magic))
}

/// Docker's limit for overlay mounts.
const MAX_LAYERS: usize = 127;

impl Image {
    /// The image that a configuration and its layers make.
    pub fn new(
        tag: ImageTag,
        platform: Platform,
        config: &[u8],
        layers: Vec<Blob>,
    ) -> Result<Self, ImageError> {
        let manifest = Blob::of(&manifest(Blob::of(config), &layers));
        let image = Self { tag, platform, config: Blob::of(config), manifest, layers };
        image.check(config)?;
        Ok(image)
    }

    /// Checks that configuration, layers, platform and manifest belong together.
    pub fn check(&self, config: &[u8]) -> Result<(), ImageError> {
        if self.layers.len() > MAX_LAYERS {
            return Err(ImageError::TooManyLayers(self.layers.len()));
        }
        let parsed = ImageConfiguration::from_reader(config).map_err(ImageError::Config)?;
        let found = format!("{}/{}", parsed.os(), parsed.architecture());
        if found != self.platform.to_string() {
            return Err(ImageError::Platform { expected: self.platform.clone(), found });
        }
        let listed = parsed.rootfs().diff_ids();
        if listed.len() != self.layers.len()
            || listed.iter().zip(&self.layers).any(|(text, layer)| *text != layer.digest.to_string())
        {
            return Err(ImageError::Layers);
        }
        if Blob::of(config) != self.config || Blob::of(&self.manifest_bytes()) != self.manifest {
            return Err(ImageError::Manifest);
        }
        Ok(())
    }

    /// The OCI manifest: a pure function of configuration and layers, so it need not be stored.
    #[must_use]
    pub fn manifest_bytes(&self) -> Vec<u8> {
        manifest(self.config, &self.layers)
    }

    /// Whether every blob has at most so many bytes, and no engine would refuse their number. Sums of
    /// sizes in an unverified document could otherwise overflow.
    pub fn bounded(&self, largest: u64) -> Result<(), String> {
        if self.layers.len() > MAX_LAYERS {
            return Err(format!("{} layers", self.layers.len()));
        }
        let blobs = self.layers.iter().chain([&self.config, &self.manifest]);
        match blobs.map(|blob| blob.size).max() {
            Some(size) if size > largest => Err(format!("a blob of {size} bytes")),
            _ => Ok(()),
        }
    }

    /// Layers without repetition, in order: an empty layer often occurs twice.
    #[must_use]
    pub fn unique_layers(&self) -> Vec<Blob> {
        let mut seen = HashSet::new();
        self.layers.iter().copied().filter(|layer| seen.insert(layer.digest)).collect()
    }
}

/// Written by hand-ordered structs: the order of keys is part of every image's identity, and
/// `serde_json::json!` changes it when any crate in the build turns `preserve_order` on.
fn manifest(config: Blob, layers: &[Blob]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest {
        schema_version: u8,
        media_type: &'static str,
        config: Descriptor,
        layers: Vec<Descriptor>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Descriptor {
        media_type: &'static str,
        digest: Digest,
        size: u64,
    }
    let descriptor =
        |media_type, blob: &Blob| Descriptor { media_type, digest: blob.digest, size: blob.size };
    json(&Manifest {
        schema_version: 2,
        media_type: "application/vnd.oci.image.manifest.v1+json",
        config: descriptor("application/vnd.oci.image.config.v1+json", &config),
        layers: layers
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
            .collect(),
    })
}

/// Compact JSON of a value that cannot fail to serialise: strings, numbers, lists, structs.
pub(super) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small image of two layers, and its configuration.
    pub(crate) fn sample() -> (Image, Vec<u8>) {
        of_layers(vec![Blob::of(b"one"), Blob::of(b"two")])
    }

    /// An image of these layers, and its configuration.
    pub(crate) fn of_layers(layers: Vec<Blob>) -> (Image, Vec<u8>) {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| l.digest).collect::<Vec<_>>()},
        });
        let config = config.to_string().into_bytes();
        let tag = "p/t:1.0.0".parse().unwrap();
        let image = Image::new(tag, "linux/amd64".parse().unwrap(), &config, layers).unwrap();
        (image, config)
    }

    #[test]
    fn the_manifest_is_a_pure_function() {
        let (image, config) = sample();
        assert_eq!(Digest::of(&image.manifest_bytes()), image.manifest.digest);
        // Golden: a change of this digest changes the identity of every image ever shipped.
        insta::assert_snapshot!(image.manifest.digest.short(), @"90c73c0d25a4");
        image.check(&config).unwrap();
    }

    #[test]
    fn what_stands_on_an_image_has_its_layers_at_the_bottom() {
        let (image, config) = sample();
        let both = diff_ids(&config).unwrap();
        assert_eq!(both, [Digest::of(b"one"), Digest::of(b"two")]);
        assert_eq!(Raw::above(&both[..1], image.clone()).unwrap().base, 1);
        assert_eq!(Raw::above(&[], image.clone()).unwrap().base, 0);
        for other in [vec![both[1]], [both.clone(), both.clone()].concat()] {
            assert!(matches!(Raw::above(&other, image.clone()), Err(ImageError::Base)), "{other:?}");
        }
    }

    #[test]
    fn what_engines_would_unpack_is_told_from_a_tar() {
        for magic in MAGICS {
            assert!(is_packed(magic) && magic.len() as u64 <= LONGEST_MAGIC);
            assert!(!is_packed(&magic[..magic.len() - 1]));
        }
        assert!(is_packed(b"\x50\x2a\x4d\x18") && !is_packed(b"\x60\x2a\x4d\x18"));
        assert!(!is_packed(b"") && !is_packed(b"bin/sh") && !is_packed(&[0; 6]));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_with_the_reason() {
        let (image, config) = sample();
        let refusal = |change: fn(&mut Image)| {
            let mut other = image.clone();
            change(&mut other);
            other.check(&config).unwrap_err().to_string()
        };
        insta::assert_snapshot!(refusal(|i| i.layers.swap(0, 1)), @"the image has other layers than its configuration lists");
        insta::assert_snapshot!(refusal(|i| i.layers.truncate(1)), @"the image has other layers than its configuration lists");
        insta::assert_snapshot!(refusal(|i| i.platform = "linux/arm64".parse().unwrap()), @"the image is for linux/amd64, not for linux/arm64");
        insta::assert_snapshot!(refusal(|i| i.manifest.size += 1), @"the manifest does not follow from configuration and layers");
        insta::assert_snapshot!(refusal(|i| i.config.digest = i.manifest.digest), @"the manifest does not follow from configuration and layers");
    }
}
