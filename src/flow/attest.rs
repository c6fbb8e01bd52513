//! Signed statements about images: what is in them, and where they come from.

use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Family, Tools, Workshop, plans};
use crate::model::archive;
use crate::model::attestation::{Attestation, Topic};
use crate::model::document::Subject;
use crate::model::image::Image;
use crate::model::name::TierName;
use crate::model::plan::Ask;
use crate::model::{provenance, registry};
use crate::step::build::Steps;
use crate::step::keyring::SigningKey;
use crate::step::progress::{Event, Hear};
use crate::step::{beside, inventory, sign};

/// What was written about one image.
#[derive(Debug)]
pub struct Attested {
    /// Which image.
    pub image: Image,
    /// The archive that the statements name too, because it lies beside them.
    pub archive: Option<String>,
    /// The files, and the type of the statement in each.
    pub files: Vec<(PathBuf, &'static str)>,
}

/// States what each image is and signs that. The images are built first, which does nothing when they are
/// there: so what is said of a recipe is said of the image that it makes, and of no older one.
pub async fn attest(
    workshop: &Workshop,
    tools: &Tools,
    tiers: &[TierName],
    ask: &Ask,
    folder: &Path,
    key: &SigningKey,
    hear: Hear<'_>,
) -> Result<Vec<Attested>, Error> {
    let plans = plans(workshop, tiers, ask)?;
    let family = Family::gather(workshop, tools, plans, Steps::Cached, hear).await?;
    let images = family.build(hear).await?;
    let mut all = Vec::new();
    for ((plan, context), image) in family.plans().zip(images) {
        hear(Event::Doing(&format!("stating what `{}` is", plan.tag)));
        let packages = inventory::image(&image, family.store())?;
        let file = archive::file_name(&plan.tier, &plan.version, &image.platform);
        let mut subjects = Attestation::of_parts(&image);
        let archive = beside::measure(&folder.join(&file))?;
        subjects.extend(archive.map(|blob| Subject::new(&file, blob.digest)));
        let mut files = Vec::new();
        for topic in Topic::ALL {
            let origin = || provenance::predicate(plan, context.digest());
            let predicate = topic.of_packages(&packages).unwrap_or_else(origin);
            let statement = Attestation::new(subjects.clone(), topic.predicate_type(), &predicate);
            let path = folder.join(topic.bundle(&file));
            beside::write(&path, &sign::attest(&statement, key)?)?;
            files.push((path, statement.predicate_type()));
        }
        let signature = Attestation::signature(&image);
        let path = folder.join(format!("{}.cosign.tar", file.trim_end_matches(".tar.gz")));
        let bundle = sign::attest(&signature, key)?;
        beside::write(&path, &registry::layout(&image, &bundle, signature.predicate_type()))?;
        files.push((path, signature.predicate_type()));
        all.push(Attested { image, archive: archive.map(|_| file), files });
    }
    Ok(all)
}
