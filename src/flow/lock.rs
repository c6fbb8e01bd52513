//! From recipes to a lock: every file that their steps download, by digest and in the content store.

use std::collections::BTreeSet;

use super::Error;
use super::build::Workshop;
use crate::model::digest::Digest;
use crate::model::lock::change::{self, Change};
use crate::model::lock::want::{Want, What};
use crate::model::lock::{Lock, Pin};
use crate::model::name::{Platform, TierName};
use crate::step::content::ContentStore;
use crate::step::progress::{Event, Hear};
use crate::step::resolve::Resolver;
use crate::step::web::{Downloads, Web};
use crate::step::{atomic, obtain, read};

/// How to treat what is locked already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It stays; only what has no answer is resolved.
    Locked,
    /// Everything is resolved again, to what is newest.
    Nothing,
}

/// Whether the lock is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Yes.
    Lock,
    /// No: only say what would change.
    Nothing,
}

/// What to lock.
pub struct Locking {
    /// Which tiers; empty: all of the project.
    pub tiers: Vec<TierName>,
    /// How to treat what is locked already.
    pub keep: Keep,
    /// Whether the lock is written.
    pub write: Write,
    /// How to download.
    pub downloads: Downloads,
}

/// What came of it.
pub struct Locked {
    /// The new lock.
    pub lock: Lock,
    /// What differs from the old one.
    pub changes: Vec<Change>,
    /// Whether the file is or would be another one.
    pub differs: bool,
}

/// Locks. What is locked and in the content store already is neither resolved nor downloaded.
pub async fn lock(workshop: &Workshop, ask: &Locking, hear: Hear<'_>) -> Result<Locked, Error> {
    let recipes = read::recipes(&workshop.recipes)?;
    let platforms = recipes.project()?.platforms;
    let old = recipes.lock().cloned().unwrap_or_default();
    let store = ContentStore::open(&workshop.content)?;
    let web = Web::new(&ask.downloads)?;
    let mut resolver = Resolver::new(&web, &store, &old, hear);

    let tiers: BTreeSet<&TierName> =
        if ask.tiers.is_empty() { recipes.tiers().collect() } else { ask.tiers.iter().collect() };
    let mut new = Lock::default();
    if !ask.tiers.is_empty() {
        // What other tiers ask stays as it is.
        new = old.clone();
    }
    let mut fresh: BTreeSet<Digest> = BTreeSet::new();
    for tier in tiers {
        for platform in &platforms {
            let wants = recipes.wants(tier, platform)?;
            if let Some(reason) = never(&wants) {
                hear(Event::Warning(&format!("`{tier}` cannot be locked: {reason}")));
                continue;
            }
            for want in wants {
                if fresh.insert(want.of) {
                    let pin = answer(&want, platform, &old, &new, ask.keep, &mut resolver).await?;
                    new.pins.insert(want.of, pin);
                }
            }
        }
    }
    if ask.write == Write::Lock {
        obtain::files(new.files().into_values(), &store, &web, hear).await?;
    }
    let (before, after) = (old.render(), new.render());
    let differs = recipes.lock().is_none() || before != after;
    if ask.write == Write::Lock && differs {
        let path = recipes.lock_path();
        atomic::write(&path, after.as_bytes(), 0o644).map_err(|error| Error::Write(path, error))?;
    }
    Ok(Locked { changes: change::between(&old, &new), lock: new, differs })
}

/// The answer that is locked, or a new one.
async fn answer(
    want: &Want,
    platform: &Platform,
    old: &Lock,
    new: &Lock,
    keep: Keep,
    resolver: &mut Resolver<'_>,
) -> Result<Pin, Error> {
    if let (Keep::Locked, Some(pin)) = (keep, old.pins.get(&want.of)) {
        return Ok(pin.clone());
    }
    let before: Vec<&Pin> = want.before.iter().filter_map(|of| new.pins.get(of)).collect();
    Ok(resolver.pin(want, platform, &before).await?)
}

fn never(wants: &[Want]) -> Option<String> {
    wants.iter().find_map(|want| match &want.what {
        What::Never(reason) => Some(format!("{}: {reason}", want.place)),
        _ => None,
    })
}
