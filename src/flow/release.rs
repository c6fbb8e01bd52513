//! From recipes to a published release: build, pack, seal, upload, read back, move the pointer.

use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Workshop, build};
use super::export::pack;
use super::fetch::release_of;
use super::sign::papers;
use crate::model::channel::{Channel, LIFETIME};
use crate::model::key::TrustedKeys;
use crate::model::name::{ChannelName, TierName, Version};
use crate::model::plan::Ask;
use crate::model::release::Release;
use crate::model::seal::Verified;
use crate::model::time::Timestamp;
use crate::step::content::ContentStore;
use crate::step::keyring::SigningKey;
use crate::step::progress::{Event, Hear};
use crate::step::store::{Store, StoreError};
use crate::step::upload::Papers;
use crate::step::{check, download, read, sign, upload};

/// What to publish, and where.
pub struct Publication {
    /// The tiers.
    pub tiers: Vec<TierName>,
    /// Version and build arguments.
    pub version: Version,
    /// The pointer to move.
    pub channel: ChannelName,
    /// Where releases live.
    pub store: Store,
    /// Where archives are packed.
    pub folder: PathBuf,
    /// Threads that compress.
    pub threads: usize,
    /// The time that the documents are dated with.
    pub now: Timestamp,
}

/// What was published.
pub struct Published {
    /// The release.
    pub release: Verified<Release>,
    /// The channel.
    pub channel: Verified<Channel>,
}

/// Publishes. Repeating it is harmless: what is there already is found and left alone.
pub async fn release(
    workshop: &Workshop,
    ask: &Publication,
    key: &SigningKey,
    hear: Hear<'_>,
) -> Result<Published, Error> {
    let project = read::recipes(&workshop.recipes)?.project().name.clone();
    let keys = TrustedKeys::from(key.public().clone());
    let store = ContentStore::open(&workshop.content)?;

    let mut archives = Vec::new();
    for tier in &ask.tiers {
        let wanted = Ask { version: Some(ask.version.clone()), ..Ask::default() };
        let image = build(workshop, tier, &wanted, hear).await?;
        archives.push(pack(image, tier, &ask.version, &store, &ask.folder, ask.threads, hear)?.archive);
    }
    let draft = Release { project, version: ask.version.clone(), created: ask.now, archives };

    let (release, papers) = seal(draft, ask, &keys, key)?;
    upload::archives(&ask.store, &release, &ask.folder, hear)?;
    upload::papers(&ask.store, &release, &papers, key.public())?;

    hear(Event::Doing("reading the release back as an operator will"));
    rehearse(&ask.store, &release, &keys, &ask.folder, hear)?;

    let channel = point(ask, &release, &keys, key)?;
    Ok(Published { release, channel })
}

/// The sealed release: the one in the store if this very content was published before.
fn seal(
    draft: Release,
    ask: &Publication,
    keys: &TrustedKeys,
    key: &SigningKey,
) -> Result<(Verified<Release>, Papers), Error> {
    match download::release(&ask.store, &draft.project, &draft.version) {
        Ok(sealed) => {
            let before = sealed.verify(keys)?;
            if before.archives != draft.archives {
                return Err(Error::Published(draft.version));
            }
            let papers = papers(&before, sealed, key)?;
            Ok((before, papers))
        }
        Err(StoreError::Missing { .. }) => {
            let (sealed, release) = sign::seal(&draft, key)?;
            let papers = papers(&release, sealed, key)?;
            Ok((release, papers))
        }
        Err(error) => Err(error.into()),
    }
}

/// Fetches everything back and checks it, before anybody is pointed to it.
fn rehearse(
    store: &Store,
    release: &Verified<Release>,
    keys: &TrustedKeys,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let found = release_of(store, &release.project, &release.version, keys)?;
    for archive in &found.archives {
        let Some(archive) = found.archive_named(&archive.file) else {
            continue;
        };
        let mut unchecked = download::archive(store, &found.project, &found.version, &archive, folder, hear)?;
        check::archive(unchecked.file()?, archive, hear)?;
    }
    Ok(())
}

fn point(
    ask: &Publication,
    release: &Verified<Release>,
    keys: &TrustedKeys,
    key: &SigningKey,
) -> Result<Verified<Channel>, Error> {
    let before = match download::channel(&ask.store, &release.project, &ask.channel) {
        Ok(sealed) => Some((sealed.verify(keys)?, sealed)),
        Err(StoreError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some((current, _)) = &before {
        if current.release == release.sealed_digest() && current.expires > ask.now {
            return Ok(current.clone());
        }
        if current.version > ask.version {
            let (channel, current, version) =
                (ask.channel.clone(), current.version.clone(), ask.version.clone());
            return Err(Error::Backwards { channel, current, version });
        }
    }
    let next = Channel {
        project: release.project.clone(),
        channel: ask.channel.clone(),
        sequence: before.as_ref().map_or(1, |(current, _)| current.sequence + 1),
        issued: ask.now,
        expires: ask.now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX),
        version: ask.version.clone(),
        release: release.sealed_digest(),
        floor: before.as_ref().and_then(|(current, _)| current.floor.clone()),
    };
    let (sealed, channel) = sign::seal(&next, key)?;
    upload::channel(&ask.store, &channel, &sealed, before.as_ref().map(|(_, sealed)| sealed))?;
    Ok(channel)
}
