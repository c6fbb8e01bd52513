//! What a store has: releases, what leads to them, and what a killed publication left.

use super::Error;
use super::pointer::Publisher;
use crate::model::attestation::Topic;
use crate::model::name::{ChannelName, Version};
use crate::model::release::{self, Release};
use crate::model::retention::{self, Line};
use crate::model::seal::Verified;
use crate::model::{sums, trust};
use crate::step::progress::{Event, Hear};
use crate::step::store::{Key, StoreError};

/// A version in a store.
pub struct Listed {
    /// Which.
    pub version: Version,
    /// Its release; absent when it was never finished.
    pub release: Option<Verified<Release>>,
    /// The channels that point to it.
    pub channels: Vec<ChannelName>,
    /// Files that state what its archives are.
    pub statements: Vec<String>,
    /// Files there that no release names.
    pub strays: Vec<String>,
}

/// Lists what was published, the oldest first.
pub async fn list(publisher: &Publisher) -> Result<Vec<Listed>, Error> {
    let channels = publisher.channels().await?;
    let mut listed = Vec::new();
    for version in publisher.store.versions(&publisher.project).await? {
        let release = match publisher.release(&version).await {
            Ok(release) => Some(release),
            Err(Error::Store(StoreError::Missing { .. })) => None,
            Err(error) => return Err(error),
        };
        let files = publisher.store.files(&publisher.project, &version).await?;
        let (known, strays): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| belongs(release.as_deref(), file));
        let states = |file: &String| release.as_deref().is_some_and(|release| is_statement(release, file));
        let statements = known.into_iter().filter(states).collect();
        let leads = |current: &super::pointer::Current| {
            current.channel.as_ref().is_some_and(|channel| channel.version == version)
        };
        let names = channels.iter().filter(|(_, current)| leads(current)).map(|(name, _)| name.clone());
        listed.push(Listed { release, channels: names.collect(), statements, strays, version });
    }
    Ok(listed)
}

fn belongs(release: Option<&Release>, file: &str) -> bool {
    let paper = [release::FILE_NAME, sums::FILE_NAME, sums::SIGNATURE_NAME, trust::FILE_NAME].contains(&file);
    release.is_some_and(|release| {
        let archives = release.archives.iter().map(|archive| &archive.file);
        paper
            || is_statement(release, file)
            || archives.chain(release.patches.iter().map(|patch| &patch.file)).any(|name| name == file)
    })
}

fn is_statement(release: &Release, file: &str) -> bool {
    let archives = release.archives.iter();
    archives.flat_map(|archive| Topic::ALL.map(|topic| topic.bundle(&archive.file))).any(|name| name == file)
}

/// What may be removed.
pub struct Prunable {
    /// The version.
    pub version: Version,
    /// Its files that go; the release document first, so that nothing half is ever offered.
    pub keys: Vec<Key>,
    /// Whether all of the release goes, or only what a killed publication left.
    pub why: Why,
}

/// Why something may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody needs the version any more.
    Old,
    /// No release names it: a publication was killed, and was never run again.
    Unfinished,
}

/// Decides what may be removed: never what a channel points to, allows, or could be rolled back to.
pub async fn prunable(publisher: &Publisher, keep: usize) -> Result<Vec<Prunable>, Error> {
    let listed = list(publisher).await?;
    let versions: Vec<Version> =
        listed.iter().filter(|one| one.release.is_some()).map(|one| one.version.clone()).collect();
    let mut lines = Vec::new();
    for (name, current) in publisher.channels().await? {
        // A channel that cannot be read protects something, and nobody can say what.
        let channel = current.channel.ok_or(Error::RetiredChannel(name))?;
        lines.push(Line { current: channel.version.clone(), floor: channel.floor.clone() });
    }
    let old = retention::removable(&versions, &lines, keep);
    let mut prunable = Vec::new();
    for one in listed {
        let place = |file: &String| Key::file(&publisher.project, &one.version, file);
        if old.contains(&one.version) {
            let mut files = publisher.store.files(&publisher.project, &one.version).await?;
            files.sort_by_key(|file| file != release::FILE_NAME);
            let keys = files.iter().map(place).collect();
            prunable.push(Prunable { keys, why: Why::Old, version: one.version });
        } else if !one.strays.is_empty() {
            let keys = one.strays.iter().map(place).collect();
            prunable.push(Prunable { keys, why: Why::Unfinished, version: one.version });
        }
    }
    Ok(prunable)
}

/// Removes it.
pub async fn prune(publisher: &Publisher, prunable: &[Prunable], hear: Hear<'_>) -> Result<(), Error> {
    for one in prunable {
        for key in &one.keys {
            hear(Event::Doing(&format!("removing `{key}`")));
            publisher.store.remove(key).await?;
        }
    }
    Ok(())
}
