//! From a pinned key to a loaded image: channel, release, archive, engine; each checked before the
//! next is looked at.

use std::path::PathBuf;

use super::Error;
use crate::model::channel::Channel;
use crate::model::key::TrustedKeys;
use crate::model::name::{ChannelName, Platform, ProjectName, TierName, Version};
use crate::model::release::{Archive, Release};
use crate::model::seal::Verified;
use crate::model::seen::Seen;
use crate::model::time::Timestamp;
use crate::step::check::Checked;
use crate::step::engine::{Address, Engine};
use crate::step::load::{Loaded, Retag};
use crate::step::progress::{Event, Hear};
use crate::step::remember::Memory;
use crate::step::store::{Store, StoreError};
use crate::step::{check, download, load, remember};

/// What an operator wants, and whom they trust.
pub struct Order {
    /// Whose image.
    pub project: ProjectName,
    /// Which image.
    pub tier: TierName,
    /// For which platform.
    pub platform: Platform,
    /// The current release of a channel, or one version.
    pub which: Which,
    /// Where releases live.
    pub store: Store,
    /// Whose signature counts.
    pub keys: TrustedKeys,
    /// Where archives are kept.
    pub cache: PathBuf,
    /// Where this machine remembers what it has seen.
    pub state: PathBuf,
    /// The engine to load into.
    pub engine: Address,
    /// Whether another image may lose its tag.
    pub retag: Retag,
    /// How far to go.
    pub proof: Proof,
    /// This machine's time.
    pub now: Timestamp,
}

/// Which release.
pub enum Which {
    /// The one that a channel points to.
    Channel(ChannelName),
    /// One version; needs no channel, so nothing can be stale.
    Pinned(Version),
}

/// How far a fetch goes after every byte was verified. There is no less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The image is loaded.
    Loaded,
    /// The engine is asked what it has, and a container is made.
    Proven,
}

/// What was fetched.
pub struct Fetched {
    /// The channel that was followed.
    pub channel: Option<Verified<Channel>>,
    /// The release.
    pub release: Verified<Release>,
    /// The archive.
    pub archive: Verified<Archive>,
    /// Where it is kept.
    pub path: PathBuf,
    /// What the engine has; absent when it was not asked.
    pub loaded: Option<Loaded>,
}

/// Fetches, verifies, loads; with [`Proof::Proven`] also proves. Nothing is started.
pub async fn fetch(order: &Order, hear: Hear<'_>) -> Result<Fetched, Error> {
    let (release, followed) = choose(order).await?;
    let archive = release.archive(&order.tier, &order.platform).ok_or_else(|| no_archive(order, &release))?;
    let (checked, path) = obtain(order, &release, archive, hear).await?;

    let engine = Engine::connect(&order.engine).await?;
    load::load(&engine, &checked, order.retag, hear).await?;
    let loaded = match order.proof {
        Proof::Loaded => None,
        Proof::Proven => Some(load::prove(&engine, &checked.archive().image).await?),
    };

    // Only now: a pointer whose image never arrived must not block the one before it.
    let channel = match followed {
        Some((channel, seen, memory)) => {
            memory.remember(&seen)?;
            Some(channel)
        }
        None => None,
    };
    Ok(Fetched { channel, release, archive: checked.into_archive(), path, loaded })
}

type Followed = (Verified<Channel>, Seen, Memory);

async fn choose(order: &Order) -> Result<(Verified<Release>, Option<Followed>), Error> {
    match &order.which {
        Which::Pinned(version) => {
            Ok((release_of(&order.store, &order.project, version, &order.keys).await?, None))
        }
        Which::Channel(name) => {
            let memory = remember::open(&order.state, &order.project, &order.keys, name)?;
            let channel = download::channel(&order.store, &order.project, name).await?.verify(&order.keys)?;
            let seen = channel.follow(&order.project, name, memory.seen()?.as_ref(), order.now)?;
            let release = release_of(&order.store, &order.project, &channel.version, &order.keys).await;
            let release = release.map_err(|error| match error {
                Error::Store(source @ StoreError::Missing { .. }) => {
                    Error::Unreleased { channel: name.clone(), version: channel.version.clone(), source }
                }
                error => error,
            })?;
            if release.sealed_digest() != channel.release {
                return Err(Error::NotNamed(channel.version.clone()));
            }
            Ok((release, Some((channel, seen, memory))))
        }
    }
}

/// The verified release of a version, refused when it is another project's or version's.
pub(super) async fn release_of(
    store: &Store,
    project: &ProjectName,
    version: &Version,
    keys: &TrustedKeys,
) -> Result<Verified<Release>, Error> {
    let release = download::release(store, project, version).await?.verify(keys)?;
    if release.project != *project || release.version != *version {
        let [expected, found] =
            [(project, version), (&release.project, &release.version)].map(|(p, v)| format!("{p} {v}"));
        return Err(Error::Misplaced { expected, found });
    }
    Ok(release)
}

/// The archive, checked: the one in the cache if it is still whole, else downloaded.
async fn obtain(
    order: &Order,
    release: &Verified<Release>,
    archive: Verified<Archive>,
    hear: Hear<'_>,
) -> Result<(Checked, PathBuf), Error> {
    let folder = order.cache.join(release.project.as_str());
    let path = folder.join(&archive.file);
    if let Ok(file) = download::local(&path) {
        hear(Event::Doing(&format!("verifying `{}`, which is here already", archive.file)));
        match check::archive(file, archive.clone(), hear) {
            Ok(checked) => return Ok((checked, path)),
            Err(_) => hear(Event::Warning("the archive in the cache is damaged; downloading it again")),
        }
    }
    let mut unchecked =
        download::archive(&order.store, &release.project, &release.version, &archive, &folder, hear).await?;
    hear(Event::Doing(&format!("verifying `{}`", archive.file)));
    let checked = check::archive(unchecked.file()?, archive, hear)?;
    Ok((checked, unchecked.keep()?))
}

fn no_archive(order: &Order, release: &Release) -> Error {
    Error::NoArchive {
        version: release.version.clone(),
        tier: order.tier.clone(),
        platform: order.platform.clone(),
        present: list(release.archives.iter().map(|archive| &archive.file)),
    }
}

/// Names in backticks, for messages.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
