//! Finds the packages of an image: one pass over its layers, from the highest down.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use super::content::{ContentError, ContentStore};
use crate::model::digest::Digest;
use crate::model::image::Image;
use crate::model::layer::{self, BadItem, LayerPath};
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
    let mut above = Above::default();
    let mut files = BTreeMap::new();
    for layer in image.layers.iter().rev() {
        let unreadable = |error| InventoryError::Read(layer.digest, error);
        let mut here = Above::default();
        let mut tar = tar::Archive::new(store.open_blob(&layer.digest)?);
        for entry in tar.entries_with_seek().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let Some(path) = layer::path(&entry.path_bytes())? else { continue };
            if here.whiteout(&path) || above.hides(&path) {
                continue;
            }
            here.seen.insert(path.clone());
            let name = layer::show(&path);
            if database::kind(&name).is_none() || !entry.header().entry_type().is_file() {
                continue;
            }
            if entry.size() > database::MAX_FILE {
                return Err(InventoryError::TooLarge(name));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(unreadable)?;
            files.insert(name, bytes);
        }
        above.add(here);
    }
    Ok(Inventory::of(image, &files))
}

/// What higher layers have put over the lower ones.
#[derive(Default)]
struct Above {
    seen: BTreeSet<LayerPath>,
    /// Removed, with all below them.
    gone: BTreeSet<LayerPath>,
    /// Directories of which only what higher layers hold is there.
    opaque: BTreeSet<LayerPath>,
}

impl Above {
    /// Notes an entry that only says that something of a lower layer is gone.
    fn whiteout(&mut self, path: &LayerPath) -> bool {
        let Some((name, parent)) = path.split_last() else { return false };
        let Some(hidden) = name.strip_prefix(b".wh.") else { return false };
        if hidden == b".wh..opq" {
            self.opaque.insert(parent.to_vec());
        } else {
            self.gone.insert([parent, &[hidden.to_vec()]].concat());
        }
        true
    }

    fn hides(&self, path: &LayerPath) -> bool {
        let parents = || (1..path.len()).map(|end| &path[..end]);
        self.seen.contains(path)
            || self.gone.contains(path)
            || parents().any(|parent| self.gone.contains(parent) || self.opaque.contains(parent))
    }

    fn add(&mut self, layer: Self) {
        self.seen.extend(layer.seen);
        self.gone.extend(layer.gone);
        self.opaque.extend(layer.opaque);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_higher_layer_removed_is_not_there() {
        let path = |text: &str| layer::path(text.as_bytes()).unwrap().unwrap();
        let mut above = Above::default();
        assert!(above.whiteout(&path("a/.wh.b")) && above.whiteout(&path("c/.wh..wh..opq")));
        assert!(!above.whiteout(&path("a/.why")));
        above.seen.insert(path("d/e"));
        let hidden = ["a/b", "a/b/c", "c/x", "c/x/y", "d/e"];
        let there = ["a", "a/bb", "c", "d", "d/e/f"];
        assert!(hidden.iter().all(|text| above.hides(&path(text))));
        assert!(there.iter().all(|text| !above.hides(&path(text))));
    }
}
