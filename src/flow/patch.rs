//! Patches: made with a release, signed with it, tried before anybody sees them, and used by whoever has the
//! older archive when they cost less than the parts that differ.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::obtain::{self, Supply};
use super::pointer::Publisher;
use super::release::Publication;
use crate::model::archive::delta::{self, Plan, Source};
use crate::model::archive::index::Index;
use crate::model::archive::patch::Table;
use crate::model::archive::patch_name;
use crate::model::digest::Digest;
use crate::model::name::Version;
use crate::model::release::{Archive, Patch, Release};
use crate::model::seal::Verified;
use crate::model::size::Size;
use crate::step::partial::Partial;
use crate::step::patch::{self, Made, Side};
use crate::step::progress::{Event, Hear};
use crate::step::receive::{self, Line, Location, ReceiveError, Wanted};
use crate::step::seeds::Seed;
use crate::step::store::{Key, StoreError};
use crate::step::{download, members};

/// The releases that patches begin at, known before anything is built.
pub(super) async fn older(ask: &Publication, publisher: &Publisher) -> Result<Vec<Verified<Release>>, Error> {
    let mut older = Vec::new();
    for version in &ask.patch_from {
        older.push(publisher.release(version).await.map_err(|error| match error {
            Error::Store(StoreError::Missing { .. }) => Error::NotReleased(version.clone()),
            error => error,
        })?);
    }
    Ok(older)
}

/// Makes the patches of a release, from each version that was asked for to each archive that it had.
pub(super) async fn make(
    ask: &Publication,
    publisher: &Publisher,
    older: &[Verified<Release>],
    archives: &[Archive],
    hear: Hear<'_>,
) -> Result<Vec<Patch>, Error> {
    let mut patches = Vec::new();
    for release in older {
        let from = &release.version;
        for archive in archives {
            let Some(old) = release.archive(&archive.tier, archive.platform()) else {
                let (tier, platform) = (&archive.tier, archive.platform());
                hear(Event::Warning(&format!("{from} has no `{tier}` for {platform}, so there is no patch")));
                continue;
            };
            let old = here(ask, publisher, from, &old, hear).await?;
            let new = side(&ask.folder.join(&archive.file))?;
            patches.extend(between(ask, from, archive, (&old, &new), hear)?);
        }
    }
    Ok(patches)
}

/// The archive of an older version, on this machine and verified.
async fn here(
    ask: &Publication,
    publisher: &Publisher,
    from: &Version,
    old: &Verified<Archive>,
    hear: Hear<'_>,
) -> Result<Side, Error> {
    let key = Key::file(&publisher.project, from, &old.file);
    let places = [Location { store: publisher.store.clone(), key }];
    let folder = ask.cache.join(publisher.project.as_str());
    side(&obtain::archive(&Supply::of(&places, &folder), old, None, hear).await?.path)
}

/// A patch, if it is worth it.
fn between(
    ask: &Publication,
    from: &Version,
    archive: &Archive,
    (old, new): (&Side, &Side),
    hear: Hear<'_>,
) -> Result<Option<Patch>, Error> {
    let file = patch_name(&archive.file, from);
    hear(Event::Doing(&format!("making `{file}`")));
    let parts = Plan::new(&new.index, &[Source::archive(&old.index)], &members::compressor()).fetched();
    let Some(Made { whole, table }) = patch::make(old, new, &ask.folder.join(&file), parts, hear)? else {
        let parts = Size(parts);
        hear(Event::Doing(&format!("leaving `{file}` out: it would save nothing of {parts} that differ")));
        return Ok(None);
    };
    let base = Digest::of(&old.index.to_bytes());
    let (archive, from, size, digest) = (archive.file.clone(), from.clone(), whole.size, whole.digest);
    Ok(Some(Patch { archive, from, base, file, size, digest, table }))
}

/// Fetches a patch as an operator would who has nothing but the older archive, and makes all that it is for.
pub(super) async fn rehearse(
    ask: &Publication,
    publisher: &Publisher,
    place: &Location,
    signed: &Patch,
    whole: &Path,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let release = publisher.release(&signed.from).await?;
    let old = release.archive_with(&signed.base).ok_or_else(|| Error::NotNamed(signed.from.clone()))?;
    let (old, new) = (here(ask, publisher, &signed.from, &old, hear).await?, side(whole)?);
    let missing: Vec<usize> = (0..new.index.members().len()).collect();
    let wanted = Wanted { new: &new.index, old: &old.index, missing: &missing };
    let mut take = |table: &_, run: usize, frame: &[u8]| {
        patch::apply(table, run, frame, &old, &new.index)?;
        Ok::<_, Error>(())
    };
    receive::patch(place, signed, wanted, Line::default(), &mut take, hear).await
}

/// Makes missing members with a patch, if there is one for an archive that is here and it costs less than to
/// fetch them. Tells which are still missing, and how many bytes came.
pub(super) async fn apply(
    supply: &Supply<'_>,
    place: &Location,
    index: &Index,
    missing: Vec<usize>,
    seeds: &[Seed],
    partial: &Partial,
    hear: Hear<'_>,
) -> Result<(Vec<usize>, u64), Error> {
    let parts = delta::size(&delta::fetches(index, &missing));
    // A link leads to one object, and members are made by the compressor that made them before.
    let may_help = !place.key.is_link() && *index.compressor() == members::compressor();
    let mut offered = supply.patches.iter().filter(|(patch, _)| may_help && patch.size < parts);
    let base = |patch: &Patch| seeds.iter().find(|seed| Digest::of(&seed.index.to_bytes()) == patch.base);
    let found = offered.find_map(|(patch, key)| Some((patch, key, base(patch)?)));
    let Some((patch, key, base)) = found else { return Ok((missing, 0)) };

    let (size, parts) = (Size(patch.size), Size(parts));
    hear(Event::Doing(&format!("downloading `{}`: {size} instead of {parts}", patch.file)));
    let old = Side { file: Arc::clone(&base.file), index: Arc::clone(&base.index) };
    let place = Location { store: place.store.clone(), key: key.clone() };
    let wanted = Wanted { new: index, old: &old.index, missing: &missing };
    let (mut made, mut came) = (Vec::new(), 0);
    let mut take = |table: &Table, run: usize, frame: &[u8]| {
        came += frame.len() as u64 + if came == 0 { patch.table.size } else { 0 };
        for (member, bytes) in patch::apply(table, run, frame, &old, index)? {
            partial.write(&bytes, index.place(member).start).map_err(ReceiveError::Write)?;
            made.push(member);
        }
        Ok::<_, Error>(())
    };
    match receive::patch(&place, patch, wanted, supply.line, &mut take, hear).await {
        Err(error @ Error::Receive(ReceiveError::Write(_))) => return Err(error),
        Err(error) => {
            let why = format!("the patch is of no use, so the parts that differ are fetched: {error}");
            hear(Event::Warning(&why));
        }
        Ok(()) => {}
    }
    Ok((missing.into_iter().filter(|member| made.binary_search(member).is_err()).collect(), came))
}

/// An archive on this disk. Every member that is read of it is hashed.
fn side(path: &Path) -> Result<Side, Error> {
    let file = download::local(path)?;
    let index = patch::index(&file)?;
    Ok(Side { file: Arc::new(file), index: Arc::new(index) })
}
