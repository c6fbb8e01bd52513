//! What is kept of what was fetched, and what of it may go.

use std::collections::BTreeSet;
use std::path::Path;

use super::Error;
use crate::model::cached::{self, Held};
use crate::step::cache::{self, Cached};
use crate::step::content::ContentStore;
use crate::step::engine::{Address, Engine};
use crate::step::load;
use crate::step::progress::{Event, Hear};

/// Everything in the cache.
pub fn list(folder: &Path) -> Result<Vec<Cached>, Error> {
    Ok(cache::list(folder)?)
}

/// Bytes that interrupted fetches from registries left.
pub fn remains(store: &Path) -> Result<u64, Error> {
    Ok(cache::size(&cache::remains(store)?))
}

/// Removes them, unless such a fetch is going on; tells how many.
pub fn clean_remains(store: &Path) -> Result<u64, Error> {
    if cache::remains(store)?.is_empty() {
        return Ok(0);
    }
    Ok(cache::remove_remains(&ContentStore::open(store)?)?)
}

/// What may go, the oldest first: not the two newest of a tier, and nothing that a container uses. With a
/// limit, only as much as brings the cache below it.
pub async fn needless(
    folder: &Path,
    engine: &Address,
    limit: Option<u64>,
    hear: Hear<'_>,
) -> Result<Vec<Cached>, Error> {
    let all = cache::list(folder)?;
    let in_use = match used(engine).await {
        Ok(in_use) => in_use,
        Err(error) => {
            hear(Event::Warning(&format!(
                "{error}: only the two newest versions of each tier are known to be needed"
            )));
            BTreeSet::new()
        }
    };
    let held: Vec<Held> = all.iter().map(|cached| cached.held.clone()).collect();
    let mut total: u64 = all.iter().map(|cached| cached.size).sum();
    let mut goes = Vec::new();
    for old in cached::needless(&held, &in_use) {
        for cached in all.iter().filter(|cached| cached.held == old) {
            if limit.is_none_or(|limit| total > limit) {
                total -= cached.size;
                goes.push(cached.clone());
            }
        }
    }
    Ok(goes)
}

/// Removes them.
pub fn clean(goes: &[Cached]) -> Result<(), Error> {
    goes.iter().try_for_each(|cached| Ok(cache::remove(cached)?))
}

async fn used(engine: &Address) -> Result<BTreeSet<String>, Error> {
    Ok(load::in_use(&Engine::connect(engine).await?).await?)
}
