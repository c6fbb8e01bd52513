//! From an image in the content store to an archive, with what is stated of the image in it.

use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Workshop, plan};
use crate::model::archive::{self, Paper};
use crate::model::attestation::Topic;
use crate::model::image::{Blob, Image};
use crate::model::name::{TierName, Version};
use crate::model::plan::Ask;
use crate::model::release::Archive;
use crate::step::content::ContentStore;
use crate::step::inventory::{self, InventoryError};
use crate::step::pack::{self, Known, PackError, Packed};
use crate::step::progress::{Event, Hear, Work};

/// An archive that was written.
#[derive(Debug)]
pub struct Exported {
    /// Where.
    pub path: PathBuf,
    /// What a release will say of it.
    pub archive: Archive,
}

/// Where archives go, and what the ones before have in common with the next.
pub struct Packing<'a> {
    folder: &'a Path,
    threads: usize,
    known: Known,
}

impl<'a> Packing<'a> {
    /// Into this folder, with so many threads that compress.
    #[must_use]
    pub fn into(folder: &'a Path, threads: usize) -> Self {
        Self { folder, threads, known: Known::default() }
    }
}

/// Packs the image of a tier that was built before.
pub fn export(
    workshop: &Workshop,
    tier: &TierName,
    ask: &Ask,
    packing: &mut Packing<'_>,
    hear: Hear<'_>,
) -> Result<Exported, Error> {
    let plan = plan(workshop, tier, ask)?;
    let store = ContentStore::open(&workshop.content)?;
    let (image, _) = store.image(&plan.tag, &plan.platform)?;
    pack(image, tier, &plan.version, &store, packing, hear)
}

/// Packs an image, and what is stated of it.
pub fn pack(
    image: Image,
    tier: &TierName,
    version: &Version,
    store: &ContentStore,
    packing: &mut Packing<'_>,
    hear: Hear<'_>,
) -> Result<Exported, Error> {
    let file = archive::file_name(tier, version, &image.platform);
    let path = packing.folder.join(&file);
    hear(Event::Doing(&format!("packing `{file}`")));
    let begun = Work::Pack.begin();
    let papers = papers(&image, store, hear)?;
    let Packed { body: Blob { digest, size }, index } =
        pack::pack(&image, &papers, store, &path, packing.threads, &mut packing.known, hear)?;
    begun.end(&file, hear);
    Ok(Exported { path, archive: Archive { tier: tier.clone(), file, size, digest, index, image } })
}

/// What is stated of an image, as documents in the content store. All of it follows from the image and from
/// what it was built of, so the archive stays the same.
fn papers(image: &Image, store: &ContentStore, hear: Hear<'_>) -> Result<Vec<Paper>, Error> {
    let packages = inventory::image(image, store).map_err(|error| damaged(error, store))?;
    let origin = store.provenance(image);
    if origin.is_none() {
        hear(Event::Warning(&format!(
            "nobody knows what `{}` was built of, so its archive does not say: build it again",
            image.tag
        )));
    }
    let mut papers = Vec::new();
    for topic in Topic::ALL {
        let document = topic.of_packages(&packages).map(|document| document.to_string().into_bytes());
        if let Some(document) = document.or_else(|| origin.clone()) {
            let Blob { digest, size } = store.take(&mut document.as_slice())?;
            papers.push(Paper { name: topic.paper(), digest, size });
        }
    }
    Ok(papers)
}

/// A layer that cannot be read may have changed on disk, and that is mended by building again.
fn damaged(error: InventoryError, store: &ContentStore) -> Error {
    let (InventoryError::Read(expected, _) | InventoryError::Item(expected, _)) = error else {
        return error.into();
    };
    match store.damage(&expected) {
        Ok(Some(found)) => PackError::Damaged { expected, found }.into(),
        _ => error.into(),
    }
}
