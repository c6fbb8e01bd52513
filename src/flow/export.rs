//! From an image in the content store to an archive.

use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Workshop, plan};
use crate::model::archive;
use crate::model::image::{Blob, Image};
use crate::model::name::{TierName, Version};
use crate::model::plan::Ask;
use crate::model::release::Archive;
use crate::step::content::ContentStore;
use crate::step::pack::{self, Packed};
use crate::step::progress::{Event, Hear, Work};

/// An archive that was written.
#[derive(Debug)]
pub struct Exported {
    /// Where.
    pub path: PathBuf,
    /// What a release will say of it.
    pub archive: Archive,
}

/// Packs the image of a tier that was built before.
pub fn export(
    workshop: &Workshop,
    tier: &TierName,
    ask: &Ask,
    folder: &Path,
    threads: usize,
    hear: Hear<'_>,
) -> Result<Exported, Error> {
    let plan = plan(workshop, tier, ask)?;
    let store = ContentStore::open(&workshop.content)?;
    let (image, _) = store.image(&plan.tag, &plan.platform)?;
    pack(image, tier, &plan.version, &store, folder, threads, hear)
}

/// Packs an image.
pub(super) fn pack(
    image: Image,
    tier: &TierName,
    version: &Version,
    store: &ContentStore,
    folder: &Path,
    threads: usize,
    hear: Hear<'_>,
) -> Result<Exported, Error> {
    let file = archive::file_name(tier, version, &image.platform);
    let path = folder.join(&file);
    hear(Event::Doing(&format!("packing `{file}`")));
    let begun = Work::Pack.begin();
    let Packed { body: Blob { digest, size }, index } = pack::pack(&image, &[], store, &path, threads, hear)?;
    begun.end(&file, hear);
    Ok(Exported { path, archive: Archive { tier: tier.clone(), file, size, digest, index, image } })
}
