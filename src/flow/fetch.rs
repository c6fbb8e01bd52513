//! From a pinned key to a loaded image: channel, release, archive, engine; each checked before the
//! next is looked at.

use std::path::PathBuf;

use super::{Error, pointer};
use crate::model::channel::{Channel, Freshness, Patience};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, Platform, ProjectName, TierName, Version};
use crate::model::release::{Archive, Release};
use crate::model::seal::Verified;
use crate::model::seen::{Pointer, Seen};
use crate::model::time::Timestamp;
use crate::model::trust::Trusted;
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
    /// The key that was pinned.
    pub pinned: PublicKey,
    /// Whether it was pinned for good, so that something should be remembered.
    pub bond: Bond,
    /// How long a channel is believed.
    pub patience: Patience,
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
    /// One version. It needs no channel; one that is there may say that the version is withdrawn.
    Pinned(Version, ChannelName),
}

/// For how long a project is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// Since `imgforge trust add`: what was seen is remembered, and missed when it is lost.
    Pinned,
    /// For this one command.
    Once,
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
    /// The channel that was followed, and whether it says what is current.
    pub channel: Option<(Verified<Channel>, Freshness)>,
    /// Version of the trust document that counted.
    pub trust: u64,
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
    let pin = Trusted::pin(order.project.clone(), order.pinned.clone());
    let memory = remember::of(&order.state, &order.project, &pin);
    let trusted = pointer::trusted(pin, &memory, &order.store, &order.project).await?.0;
    let seen = recall(order, &memory, hear)?;
    let choice = choose(order, &trusted, &seen, hear).await?;
    let Choice { release, channel, note } = choice;
    let archive = release.archive(&order.tier, &order.platform).ok_or_else(|| no_archive(order, &release))?;
    let (checked, path) = obtain(order, &release, archive, hear).await?;

    let engine = Engine::connect(&order.engine).await?;
    load::load(&engine, &checked, order.retag, hear).await?;
    let loaded = match order.proof {
        Proof::Loaded => None,
        Proof::Proven => Some(load::prove(&engine, &checked.archive().image).await?),
    };

    // Only now: a pointer whose image never arrived must not block the one before it.
    if let Some((name, pointer)) = note {
        memory.note(&name, pointer, &trusted, order.now)?;
    }
    Ok(Fetched { channel, trust: trusted.version(), release, archive: checked.into_archive(), path, loaded })
}

/// What was seen before. A memory that is not there is no reason to stop, but to be said.
fn recall(order: &Order, memory: &Memory, hear: Hear<'_>) -> Result<Seen, Error> {
    let seen = memory.seen()?;
    if seen.is_none() && order.bond == Bond::Pinned {
        hear(Event::Warning(
            "nothing is remembered of this project any more, so an older release cannot be told from the current one this time",
        ));
    }
    Ok(seen.unwrap_or_else(|| Seen::nothing(order.now)))
}

/// A release, and what is to be remembered when it is loaded.
struct Choice {
    release: Verified<Release>,
    channel: Option<(Verified<Channel>, Freshness)>,
    note: Option<(ChannelName, Pointer)>,
}

async fn choose(order: &Order, trusted: &Trusted, seen: &Seen, hear: Hear<'_>) -> Result<Choice, Error> {
    match &order.which {
        Which::Pinned(version, name) => {
            // Signed long ago or not, what it says of withdrawn versions counts.
            let heard = match listen(order, name, trusted, seen).await {
                Ok(heard) => heard,
                Err(error) => {
                    hear(Event::Warning(&format!(
                        "channel `{name}` is not asked whether {version} was withdrawn: {error}"
                    )));
                    None
                }
            };
            let mut known = seen.clone();
            if let Some(pointer) = heard.clone() {
                known.note(name, pointer, trusted, order.now)?;
            }
            known.permits(name, version, trusted)?;
            let release = release_of(&order.store, &order.project, version, trusted).await?;
            Ok(Choice { release, channel: None, note: heard.map(|pointer| (name.clone(), pointer)) })
        }
        Which::Channel(name) => {
            let channel = trusted.channel(&download::channel(&order.store, &order.project, name).await?)?;
            let followed = channel.follow(&order.project, name, seen, trusted, order.patience, order.now)?;
            let release = release_of(&order.store, &order.project, &channel.version, trusted).await;
            let release = release.map_err(|error| match error {
                Error::Store(source @ StoreError::Missing { .. }) => {
                    Error::Unreleased { channel: name.clone(), version: channel.version.clone(), source }
                }
                error => error,
            })?;
            if release.sealed_digest() != channel.release {
                return Err(Error::NotNamed(channel.version.clone()));
            }
            let note = Some((name.clone(), followed.pointer));
            Ok(Choice { release, channel: Some((channel, followed.freshness)), note })
        }
    }
}

/// What a channel says, if there is one, however old it is.
async fn listen(
    order: &Order,
    name: &ChannelName,
    trusted: &Trusted,
    seen: &Seen,
) -> Result<Option<Pointer>, Error> {
    match download::channel(&order.store, &order.project, name).await {
        Ok(sealed) => Ok(Some(trusted.channel(&sealed)?.stands(&order.project, name, seen, trusted)?)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The verified release of a version, refused when it is another project's or version's.
pub(super) async fn release_of(
    store: &Store,
    project: &ProjectName,
    version: &Version,
    trusted: &Trusted,
) -> Result<Verified<Release>, Error> {
    let release = trusted.release(&download::release(store, project, version).await?)?;
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
