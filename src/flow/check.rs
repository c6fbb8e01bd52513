//! Everything that can be said of recipes without building: what is wrong in them, and in the files that
//! their steps would send to the builder.

use super::Error;
use super::build::Workshop;
use crate::model::name::TierName;
use crate::model::plan::Ask;
use crate::model::policy::{Charter, Weight};
use crate::model::recipe::parse::{Finding, Findings};
use crate::step::gather::{self, GatherError};
use crate::step::progress::{Event, Hear};
use crate::step::read::{self, ReadError};

/// Checks every tier; gives their names.
pub fn recipes(workshop: &Workshop, hear: Hear<'_>) -> Result<Vec<TierName>, Error> {
    let recipes = read::recipes(&workshop.recipes)?;
    let mut files = gather::Files::default();
    let mut findings = Vec::new();
    let mut tiers = Vec::new();
    for tier in recipes.tiers() {
        tiers.push(tier.clone());
        let plan = match recipes.plan(tier, &Ask::default()) {
            Ok(plan) => plan,
            Err(ReadError::Recipe(found)) => {
                findings.extend(found.iter().cloned());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let sent = match gather::sent(&plan, &workshop.recipes, &mut files) {
            Ok(sent) => sent,
            Err(GatherError::Absent(found)) => {
                findings.extend(found.iter().cloned());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for leak in gather::leaks(&Charter::of(&plan, &[]), &plan, &sent, &mut files)? {
            match leak.weight {
                Weight::Error => findings.push(Finding::at(&leak.place, leak.reason).fix(leak.fix)),
                Weight::Warning => hear(Event::Warning(&format!("{leak}; {}", leak.fix))),
            }
        }
    }
    Findings::none(findings)?;
    Ok(tiers)
}
