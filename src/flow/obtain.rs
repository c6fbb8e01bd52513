//! From a verified release to a checked archive on this disk: only what is missing is downloaded.
//!
//! The release names the index by its digest, and the index every member: so the index comes first, then
//! each member from wherever it is, and none is written before its digest was right.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Error, patch};
use crate::model::archive::delta::{Plan, Source};
use crate::model::archive::index::Index;
use crate::model::archive::tail;
use crate::model::release::{Archive, Patch};
use crate::model::seal::Verified;
use crate::model::size::Size;
use crate::step::check::{CheckError, Checked};
use crate::step::download::DownloadError;
use crate::step::load::{Goal, Loading};
use crate::step::partial::{self, Partial};
use crate::step::progress::{Event, Hear};
use crate::step::receive::{Line, Location, ReceiveError};
use crate::step::seeds::{self, Seed};
use crate::step::store::Key;
use crate::step::{assemble, check, disk, download, load, members, receive};

/// Where an archive may come from, and where it goes.
pub struct Supply<'a> {
    /// Stores that have it, the best first.
    pub places: &'a [Location],
    /// Archives, and folders of them, that may have members in common with it.
    pub seeds: &'a [PathBuf],
    /// Where it will be.
    pub folder: &'a Path,
    /// What makes it of older ones, with their names in the stores, the smallest first.
    pub patches: &'a [(Verified<Patch>, Key)],
    /// How much of the line may be used.
    pub line: Line,
}

impl<'a> Supply<'a> {
    /// Of a store, into a folder, and nothing else.
    #[must_use]
    pub fn of(places: &'a [Location], folder: &'a Path) -> Self {
        Self { places, seeds: &[], folder, patches: &[], line: Line::default() }
    }
}

/// Where the bytes of an archive came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// All of its bytes.
    pub size: u64,
    /// From this machine: a whole archive that was checked again, members of others, an earlier run.
    pub kept: u64,
    /// Made with a patch of what is on this machine.
    pub made: u64,
    /// From a store.
    pub fetched: u64,
}

/// An archive that is here.
pub struct Obtained {
    /// What was checked.
    pub checked: Checked,
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// The engine that was to have it, and got it while it was checked.
    pub loading: Option<Loading>,
}

/// The archive, checked: the one that is here if it is still whole, else put together. An engine that is to have it
/// gets it while it is checked.
pub async fn archive(
    supply: &Supply<'_>,
    archive: &Verified<Archive>,
    goal: Option<&Goal>,
    hear: Hear<'_>,
) -> Result<Obtained, Error> {
    let path = supply.folder.join(&archive.file);
    loop {
        if let Some((checked, loading)) = here(&path, archive, goal, hear).await? {
            let size = archive.size;
            let origin = Origin { size, kept: size, ..Origin::default() };
            return Ok(Obtained { checked, path, origin, loading });
        }
        let io = |error| DownloadError::Io(path.clone(), error);
        // `None`: somebody else has just finished it.
        let Some(mut partial) = Partial::open(&path, hear).await.map_err(io)? else { continue };
        let origin = fill(supply, archive, &partial, hear).await?;
        partial.sync().map_err(io)?;
        hear(Event::Doing(&format!("verifying `{}`", archive.file)));
        let file = partial.reader().map_err(io)?;
        match checked(file, archive, goal, hear).await {
            Ok((checked, loading)) => {
                let path = partial.keep().map_err(io)?;
                return Ok(Obtained { checked, path, origin, loading });
            }
            Err(error) => {
                partial.discard();
                return Err(error.into());
            }
        }
    }
}

/// An archive that is here already, if it is whole.
async fn here(
    path: &Path,
    archive: &Verified<Archive>,
    goal: Option<&Goal>,
    hear: Hear<'_>,
) -> Result<Option<(Checked, Option<Loading>)>, Error> {
    let Ok(file) = download::local(path) else { return Ok(None) };
    hear(Event::Doing(&format!("verifying `{}`, which is here already", archive.file)));
    match checked(file, archive, goal, hear).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            hear(Event::Warning(&format!("it is damaged, and mended: {error}")));
            partial::demote(path).map_err(|error| DownloadError::Io(path.to_owned(), error))?;
            Ok(None)
        }
    }
}

/// Checks an archive, and gives it to an engine meanwhile: each piece after it was checked, and the end after all of it was.
async fn checked(
    file: File,
    archive: &Verified<Archive>,
    goal: Option<&Goal>,
    hear: Hear<'_>,
) -> Result<(Checked, Option<Loading>), CheckError> {
    let Some(goal) = goal else {
        return Ok((check::archive(file, archive.clone(), None, hear)?, None));
    };
    let (feed, loading) = load::begin(goal, &archive.image).await;
    match check::archive(file, archive.clone(), feed, hear) {
        Ok(checked) => Ok((checked, Some(loading))),
        Err(error) => {
            loading.give_up().await;
            Err(error)
        }
    }
}

/// Brings every byte of an archive to its place: member by member from each store in turn, and where
/// that fails for another reason than the line, once as one piece.
async fn fill(
    supply: &Supply<'_>,
    archive: &Verified<Archive>,
    partial: &Partial,
    hear: Hear<'_>,
) -> Result<Origin, Error> {
    let mut failures: Vec<(&Location, ReceiveError)> = Vec::new();
    for (number, place) in supply.places.iter().enumerate() {
        match by_members(supply, place, archive, partial, hear).await {
            Ok(origin) => return Ok(origin),
            Err(Error::Receive(error)) if error.is_of_this_store() => {
                failures.push((place, error));
                let is_last = number + 1 == supply.places.len();
                let has_ways = !is_last || failures.iter().any(|(_, error)| error.is_of_this_way());
                // The only one, or the first of several, is what all of it ends with.
                if let (Some((_, error)), true) = (failures.last(), has_ways || failures.len() > 1) {
                    let next = if has_ways { ": trying another way" } else { "" };
                    hear(Event::Warning(&format!("{}{next}", said(error))));
                }
            }
            Err(error) => return Err(error),
        }
    }
    let mut last = None;
    for (place, _) in failures.iter().filter(|(_, error)| error.is_of_this_way()) {
        match in_one_piece(supply, place, archive, partial, hear).await {
            Err(Error::Receive(error)) if error.is_of_this_store() => {
                if let Some(before) = last.replace(error) {
                    hear(Event::Warning(&said(&before)));
                }
            }
            other => return other,
        }
    }
    // Of those that were only asked for parts, the first store is the one that was meant.
    Err(last.unwrap_or_else(|| failures.swap_remove(0).1).into())
}

/// An error with its cause, on one line.
fn said(error: &ReceiveError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

/// The index first, then what is neither here nor in any other archive here.
async fn by_members(
    supply: &Supply<'_>,
    place: &Location,
    archive: &Verified<Archive>,
    partial: &Partial,
    hear: Hear<'_>,
) -> Result<Origin, Error> {
    let io = |error| DownloadError::Io(supply.folder.to_owned(), error);
    let (index_at, after) = archive.sealed_end().ok_or_else(|| ReceiveError::Wrong {
        place: place.clone(),
        what: "the release's sizes".to_owned(),
    })?;
    let index = receive::index(place, archive, index_at, &after).await?;
    let size = archive.size + after.len() as u64;
    let is_new = partial.is_new().map_err(io)?;
    reserve(supply, partial, size)?;
    partial.write(&tail::index_member(&index.to_bytes()), index_at).map_err(io)?;
    partial.write(&after, archive.size).map_err(io)?;

    let wanted = if is_new {
        (0..index.members().len()).collect()
    } else {
        members::missing(partial.file(), &index, members::threads())
    };
    let folder = [supply.folder.to_owned()];
    let seeds =
        seeds::find(&[&folder, supply.seeds].concat(), &partial::name(&supply.folder.join(&archive.file)));
    let missing = from_seeds(&seeds, &index, &wanted, partial, hear)?;
    let lacked = sum(&index, &missing);
    let (missing, patched) = patch::apply(supply, place, &index, missing, &seeds, partial, hear).await?;
    let needed = sum(&index, &missing);
    match index_at - needed {
        _ if missing.is_empty() => {}
        0 => hear(Event::Doing(&format!("downloading `{}`: {}", archive.file, Size(size)))),
        here => {
            let (needed, here) = (Size(needed), Size(here));
            let text = format!("downloading `{}`: {needed}, the other {here} are here", archive.file);
            hear(Event::Doing(&text));
        }
    }
    let fetched = receive::members(place, &index, &missing, partial.file(), supply.line, hear).await?;
    // With the index, which came first.
    let fetched = fetched + patched + (archive.size - index_at);
    Ok(Origin { size, kept: index_at - lacked, made: lacked - needed, fetched })
}

/// Makes sure that all of a file finds room, before anything of it is written.
fn reserve(supply: &Supply<'_>, partial: &Partial, size: u64) -> Result<(), Error> {
    let io = |error| DownloadError::Io(supply.folder.to_owned(), error);
    partial.size(size).map_err(io)?;
    Ok(disk::room(supply.folder, size.saturating_sub(partial.allocated().map_err(io)?))?)
}

/// Copies members from other archives here. Tells which are in none of them.
fn from_seeds(
    seeds: &[Seed],
    index: &Index,
    wanted: &[usize],
    partial: &Partial,
    hear: Hear<'_>,
) -> Result<Vec<usize>, Error> {
    let sources: Vec<Source> = seeds.iter().map(|seed| Source::archive(&seed.index)).collect();
    let files: Vec<&File> = seeds.iter().map(|seed| &*seed.file).collect();
    let plan = Plan::of(index, wanted.iter().copied(), &sources, &members::compressor());
    if !plan.found.is_empty() {
        hear(Event::Doing("taking what is the same from archives that are here"));
    }
    let (_, lost) = assemble::copies(index, &plan.found, &files, partial.file(), hear)?;
    let found: BTreeSet<usize> = plan.found.iter().map(|found| found.member).collect();
    let lost: BTreeSet<usize> = lost.into_iter().collect();
    let is_missing = |member: &usize| lost.contains(member) || !found.contains(member);
    Ok(wanted.iter().copied().filter(is_missing).collect())
}

/// Bytes of some members.
fn sum(index: &Index, members: &[usize]) -> u64 {
    members.iter().map(|member| u64::from(index.members()[*member].packed)).sum()
}

/// All of it by one request, whatever is here.
async fn in_one_piece(
    supply: &Supply<'_>,
    place: &Location,
    archive: &Verified<Archive>,
    partial: &Partial,
    hear: Hear<'_>,
) -> Result<Origin, Error> {
    let size = archive.size + archive.sealed_end().map_or(0, |(_, after)| after.len() as u64);
    reserve(supply, partial, size)?;
    hear(Event::Doing(&format!("downloading all of `{}` in one piece: {}", archive.file, Size(size))));
    // The index may have come before the store refused to give more: then nothing wrong is written.
    match members::tail(partial.file()) {
        Ok(tail) if tail.index_blob == archive.index => {
            receive::stream(place, &tail.index, partial.file(), supply.line, hear).await?;
        }
        _ => receive::blindly(place, size, partial.file(), supply.line, hear).await?,
    }
    Ok(Origin { size, fetched: size, ..Origin::default() })
}
