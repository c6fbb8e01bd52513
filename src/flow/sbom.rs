//! What is in an image that was built.

use super::Error;
use super::build::Workshop;
use crate::model::name::{ImageTag, Platform};
use crate::model::sbom::Inventory;
use crate::step::content::ContentStore;
use crate::step::inventory;

/// Lists the packages of an image in the content store.
pub fn of(workshop: &Workshop, tag: &ImageTag, platform: &Platform) -> Result<Inventory, Error> {
    let store = ContentStore::open(&workshop.content)?;
    let (image, _) = store.image(tag, platform)?;
    Ok(inventory::image(&image, &store)?)
}
