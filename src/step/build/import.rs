//! Takes a built image into the content store: from blobs that are there already, or from a
//! `docker save` tar, layers made plain.
//!
//! Docker 20.10 writes `<id>/layer.tar`, later engines write an OCI layout; both have the same
//! `manifest.json`, and that is all that is read. Every layer is checked against the
//! configuration's diffIDs.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use futures_util::{StreamExt as _, TryStreamExt as _};
use oci_spec::image::ImageManifest;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, ImageError, Raw};
use crate::model::plan::Plan;
use crate::model::words::quoted;
use crate::step::content::{ContentError, ContentStore};
use crate::step::engine::Engine;
use crate::step::progress::{Event, Hear};

/// Why a built image cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The stream broke.
    #[error("the image could not be read from the builder")]
    Io(#[source] io::Error),
    /// Something expected is not in the tar.
    #[error("the builder's image has no `{0}`")]
    Missing(String),
    /// Not JSON of the right shape.
    #[error("the builder's `manifest.json` cannot be read")]
    Manifest(#[source] serde_json::Error),
    /// No configuration.
    #[error("the configuration of the built image cannot be read")]
    Configuration(#[source] serde_json::Error),
    /// Not a manifest.
    #[error("the builder's manifest cannot be read")]
    Oci(#[source] oci_spec::OciSpecError),
    /// Somebody else's image.
    #[error("the builder gave image {saved}, and had built {built}")]
    Other {
        /// What was built.
        built: String,
        /// What came.
        saved: Digest,
    },
    /// What came does not belong together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

const MAX_MANIFEST: u64 = 4 << 20;

/// An image that a Docker Engine keeps until it is saved.
pub(super) struct Kept<'a> {
    /// Under which name.
    pub(super) name: String,
    /// Its identifier, where the builder told it.
    pub(super) id: Option<String>,
    /// The layers of the image that it starts from.
    pub(super) base: Vec<Digest>,
    /// What it was built from.
    pub(super) plan: &'a Plan,
}

/// Saves images out of a Docker Engine, all in one stream: what they share comes once.
pub(super) fn engine(
    engine: &Engine,
    kept: &[&Kept<'_>],
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Vec<Raw>, ImportError> {
    let tags = quoted(kept.iter().map(|kept| &kept.plan.tag));
    hear(Event::Doing(&format!("taking {tags} into the content store")));
    let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
    let stream = engine.docker.export_images(&names).map_err(io::Error::other).boxed();
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let saved = tokio::task::block_in_place(|| Tar::take(reader, store))?;
    let image = |kept: &&Kept<'_>| {
        let image = saved.image(&kept.name, kept.plan, store)?;
        // The name could have been given to another image in between.
        match &kept.id {
            Some(id) if *id != image.config.digest.to_string() => {
                Err(ImportError::Other { built: id.clone(), saved: image.config.digest })
            }
            _ => Ok(Raw::above(&kept.base, image)?),
        }
    };
    kept.iter().map(image).collect()
}

/// Takes the image whose blobs BuildKit has put into the store.
pub(super) fn blobs(
    manifest: &str,
    base: &[Digest],
    plan: &Plan,
    store: &ContentStore,
) -> Result<Raw, ImportError> {
    let digest = |text: &str| text.parse::<Digest>().map_err(|_| ImportError::Missing(text.to_owned()));
    let bytes = store.document(&digest(manifest)?)?;
    let manifest = ImageManifest::from_reader(bytes.as_slice()).map_err(ImportError::Oci)?;
    let mut layers = Vec::new();
    for layer in manifest.layers() {
        layers.push(Blob { digest: digest(layer.digest().as_ref())?, size: layer.size() });
    }
    let config = store.document(&digest(manifest.config().digest().as_ref())?)?;
    // Layers come as plain tars, so their digests are the diffIDs that the configuration lists.
    let image = Image::new(plan.tag.clone(), plan.platform.clone(), &config, layers)?;
    Ok(Raw::above(base, image)?)
}

/// What a `docker save` tar holds, its blobs in the store.
struct Tar {
    images: Vec<Saved>,
    blobs: HashMap<String, Blob>,
    links: HashMap<String, String>,
}

impl Tar {
    fn take(tar: impl Read, store: &ContentStore) -> Result<Self, ImportError> {
        let (mut blobs, mut links) = (HashMap::new(), HashMap::new());
        let mut manifest = None;
        let mut tar = tar::Archive::new(tar);
        for entry in tar.entries().map_err(ImportError::Io)? {
            let mut entry = entry.map_err(ImportError::Io)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if path == "manifest.json" {
                let mut bytes = Vec::new();
                entry.by_ref().take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(ImportError::Io)?;
                manifest = Some(serde_json::from_slice(&bytes).map_err(ImportError::Manifest)?);
            } else if entry.header().entry_type().is_symlink() {
                // Docker 20.10 writes a layer that occurs in two images once and links to it.
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).trim_start_matches("../").to_owned();
                links.insert(path, target);
            } else if entry.header().entry_type().is_file() && is_blob(&path) {
                blobs.insert(path, plain(&mut entry, store)?);
            }
        }
        // Drains the stream, so that the engine sees its answer read to the end.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(ImportError::Io)?;
        let images = manifest.ok_or_else(|| ImportError::Missing("manifest.json".to_owned()))?;
        Ok(Self { images, blobs, links })
    }

    /// The image that has this name.
    fn image(&self, name: &str, plan: &Plan, store: &ContentStore) -> Result<Image, ImportError> {
        let mut named = self.images.iter();
        let saved = named.find(|saved| saved.repo_tags.iter().flatten().any(|tag| tag == name));
        let saved = saved.ok_or_else(|| ImportError::Missing(name.to_owned()))?;
        let find = |path: &String| {
            let path = self.links.get(path).unwrap_or(path);
            self.blobs.get(path).copied().ok_or_else(|| ImportError::Missing(path.clone()))
        };
        let layers = saved.layers.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let config = find(&saved.config)?;
        let mut bytes = Vec::new();
        let open = store.open_blob(&config.digest)?;
        open.take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(ImportError::Io)?;
        Ok(Image::new(plan.tag.clone(), plan.platform.clone(), &bytes, layers)?)
    }
}

/// Whether an entry can be a layer or a configuration, in either layout.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "engines write lower case")]
fn is_blob(path: &str) -> bool {
    path.starts_with("blobs/") || path.ends_with(".json") || path.ends_with("/layer.tar")
}

/// Stores an entry, decompressed when it is a gzip stream.
fn plain(entry: &mut impl Read, store: &ContentStore) -> Result<Blob, ImportError> {
    let mut start = [0; 2];
    let mut filled = 0;
    while filled < start.len() {
        match entry.read(&mut start[filled..]).map_err(ImportError::Io)? {
            0 => break,
            read => filled += read,
        }
    }
    let mut whole = start[..filled].chain(entry);
    let blob = if start[..filled] == [0x1f, 0x8b] {
        store.take(&mut MultiGzDecoder::new(BufReader::new(whole)))
    } else {
        store.take(&mut whole)
    };
    Ok(blob?)
}
