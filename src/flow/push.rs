//! From the content store into a registry, with what the key says of the image beside it.

use super::Error;
use super::build::{Workshop, plan};
use crate::model::attestation::{Attestation, CYCLONEDX, SPDX};
use crate::model::image::Image;
use crate::model::name::TierName;
use crate::model::plan::Ask;
use crate::model::sbom::{cyclonedx, spdx};
use crate::step::content::ContentStore;
use crate::step::keyring::SigningKey;
use crate::step::progress::{Event, Hear};
use crate::step::registry::{Access, Registry, Sent, Target};
use crate::step::{inventory, sign};

/// An image that is in a registry.
#[derive(Debug)]
pub struct Pushed {
    /// Which image.
    pub image: Image,
    /// Where.
    pub target: Target,
    /// Whether it was there before.
    pub sent: Sent,
    /// What the key says of it: the type of each statement, and whether it was there before.
    pub statements: Vec<(&'static str, Sent)>,
}

/// What the legacy signature is called beside the others.
pub const LEGACY: &str = "legacy signature";

/// Pushes images that were built before, signed unless there is no key.
pub async fn push(
    workshop: &Workshop,
    tiers: &[TierName],
    ask: &Ask,
    place: &str,
    access: &Access,
    key: Option<&SigningKey>,
    hear: Hear<'_>,
) -> Result<Vec<Pushed>, Error> {
    let store = ContentStore::open(&workshop.content)?;
    let plans = tiers.iter().map(|tier| plan(workshop, tier, ask)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = plans.iter().map(|plan| (plan.tier.clone(), plan.version.clone())).collect();
    let targets = Target::each(place, &names).map_err(crate::step::registry::RegistryError::from)?;
    // All images are there before anything moves.
    let images =
        plans.iter().map(|plan| store.image(&plan.tag, &plan.platform)).collect::<Result<Vec<_>, _>>()?;
    let mut pushed = Vec::new();
    for ((image, config), target) in images.into_iter().zip(targets) {
        hear(Event::Doing(&format!("pushing `{}` to `{}`", image.tag, target.text())));
        let registry = Registry::open(target, access).await?;
        let sent = registry.image(&image, &config, &store, hear).await?;
        let mut statements = Vec::new();
        if let Some(key) = key {
            hear(Event::Doing("signing it, and what is in it"));
            let packages = inventory::image(&image, &store)?;
            let attestations = [
                Attestation::signature(&image),
                Attestation::of_image(&image, SPDX, &spdx::document(&packages)),
                Attestation::of_image(&image, CYCLONEDX, &cyclonedx::document(&packages)),
            ];
            for attestation in &attestations {
                let bundle = sign::attest(attestation, key)?;
                let sent = registry.attach(&image, attestation, &bundle, key).await?;
                statements.push((attestation.predicate_type(), sent));
            }
            statements.push((LEGACY, registry.legacy(&image, key).await?));
        }
        pushed.push(Pushed { image, target: registry.target().clone(), sent, statements });
    }
    Ok(pushed)
}
