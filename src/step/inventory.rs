//! Finds the packages of an image: which databases a container sees, and then what is in them.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::content::{ContentError, ContentStore};
use super::layers;
use crate::model::digest::Digest;
use crate::model::image::Image;
use crate::model::layer::{self, BadItem, Kind};
use crate::model::listing::Listing;
use crate::model::sbom::{Inventory, database};

/// Why the packages of an image cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A layer that cannot be read.
    #[error("layer {0} cannot be read")]
    Read(Digest, #[source] io::Error),
    /// Something that cannot stand in a layer.
    #[error(transparent)]
    Item(#[from] BadItem),
    /// A file that is no database, under the name of one.
    #[error("`{0}` is larger than any package database")]
    TooLarge(String),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Lists the packages of an image.
pub fn image(image: &Image, store: &ContentStore) -> Result<Inventory, InventoryError> {
    let mut listing = Listing::default();
    // Per layer: its databases, and where in the layer each begins and how long it is.
    let mut found = Vec::new();
    for (index, blob) in image.layers.iter().enumerate() {
        let file = store.open_blob(&blob.digest)?;
        let items = layers::items(&file).map_err(|error| InventoryError::Read(blob.digest, error))??;
        listing.lay(index, &items);
        let mut databases = Vec::new();
        for (path, item) in &items {
            let (Kind::File { at, size }, name) = (&item.kind, layer::show(path)) else { continue };
            if database::kind(&name).is_some() {
                databases.push((name, *at, *size));
            }
        }
        found.push((file, blob.digest, databases));
    }
    let mut files = BTreeMap::new();
    for (index, (file, digest, databases)) in found.into_iter().enumerate() {
        let seen = |name: &str| listing.at(name).is_some_and(|node| node.layer == index);
        for (name, at, size) in databases.into_iter().filter(|(name, ..)| seen(name)) {
            if size > database::MAX_FILE {
                return Err(InventoryError::TooLarge(name));
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, at).map_err(|error| InventoryError::Read(digest, error))?;
            files.insert(name, bytes);
        }
    }
    Ok(Inventory::of(image, &files))
}
