//! Finds the packages of an image: which databases and programs a container sees, and then what is in them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::ops::Range;
use std::sync::Arc;

use object::read::ReadCache;

use super::content::{ContentError, ContentStore};
use super::layers::{self, Window};
use super::members::{self, Part};
use crate::model::archive::index::Index;
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::layer::{self, BadItem, Kind, LayerPath};
use crate::model::listing::Listing;
use crate::model::sbom::{Found, Inventory, database, program};

/// Why the packages of an image cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A layer that cannot be read.
    #[error("layer {0} cannot be read")]
    Read(Digest, #[source] io::Error),
    /// Something that cannot stand in a layer.
    #[error("layer {0} cannot be read")]
    Item(Digest, #[source] BadItem),
    /// A file that is no database, under the name of one.
    #[error("`{0}` is larger than any package database")]
    TooLarge(String),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Lists the packages of an image in the content store.
pub fn image(image: &Image, store: &ContentStore) -> Result<Inventory, InventoryError> {
    let open = |blob: &Blob| Ok((blob.digest, store.open_blob(&blob.digest)?));
    of(image, image.layers.iter().map(open))
}

/// Lists the packages of an image in an archive, whose layers lie at these `places` of its tar. Members are
/// verified against the index on the way; the layers are kept on the disk of the content store as long as
/// this takes.
pub fn archive(
    file: &Arc<File>,
    index: &Arc<Index>,
    places: &[(Digest, Range<u64>)],
    store: &ContentStore,
) -> Result<Inventory, InventoryError> {
    let open = |(digest, place): &(Digest, Range<u64>)| {
        let mut draft = store.draft()?;
        let mut part = Part::read(file, index, place, members::threads());
        io::copy(&mut part, &mut draft)
            .and_then(|_| draft.rewind())
            .map_err(|error| InventoryError::Read(*digest, error))?;
        Ok((*digest, draft))
    };
    of(index.image(), places.iter().map(open))
}

fn of(
    image: &Image,
    open: impl Iterator<Item = Result<(Digest, File), InventoryError>>,
) -> Result<Inventory, InventoryError> {
    let mut listing = Listing::default();
    let mut layers = Vec::new();
    for (index, opened) in open.enumerate() {
        let (digest, file) = opened?;
        let items = layers::items(&file).map_err(|error| InventoryError::Read(digest, error))?;
        let items = items.map_err(|bad| InventoryError::Item(digest, bad))?;
        listing.lay(index, &items);
        layers.push((digest, file, items));
    }
    let mut found = Found::default();
    for (index, (digest, file, items)) in layers.iter().enumerate() {
        let seen = |path: &LayerPath| listing.at(&layer::show(path)).is_some_and(|node| node.layer == index);
        for (path, item) in items.iter().filter(|(path, _)| seen(path)) {
            let (at, size) = match &item.kind {
                Kind::File { at, size } => (*at, *size),
                // The first name tells of it, unless an upper layer takes just that one away.
                Kind::HardLink(first) if !seen(first) => match items.get(first).map(|item| &item.kind) {
                    Some(Kind::File { at, size }) => (*at, *size),
                    _ => continue,
                },
                _ => continue,
            };
            let window = Window::new(file, at, size).map_err(|error| InventoryError::Read(*digest, error))?;
            one(&mut found, layer::show(path), window)
                .map_err(|error| InventoryError::Read(*digest, error))??;
        }
    }
    Ok(Inventory::of(image, found))
}

/// Looks into one file.
fn one(found: &mut Found, path: String, mut file: Window) -> io::Result<Result<(), InventoryError>> {
    if database::kind(&path).is_some() {
        if file.size() > database::MAX_FILE {
            return Ok(Err(InventoryError::TooLarge(path)));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        found.databases.insert(path, bytes);
        return Ok(Ok(()));
    }
    let mut start = [0; 4];
    if file.size() > start.len() as u64 {
        file.read_exact(&mut start)?;
    }
    if start == *b"\x7fELF" {
        let inside = program::notes(&ReadCache::new(file)).and_then(|notes| program::packages(&path, &notes));
        found.program(path, inside);
    }
    Ok(Ok(()))
}
