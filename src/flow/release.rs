//! From recipes to a published release: build, pack, seal, upload, read back, move the pointer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Tools, Workshop, build};
use super::export::pack;
use super::pointer::{Current, Place, Publisher, Role};
use super::sign::papers;
use crate::model::channel::{Channel, ChannelError, LIFETIME};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, TierName, VariableName, Version};
use crate::model::plan::Ask;
use crate::model::release::Release;
use crate::model::seal::Verified;
use crate::model::time::{self, Timestamp};
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
    /// The version.
    pub version: Version,
    /// Build arguments.
    pub args: BTreeMap<VariableName, String>,
    /// The pointer to move.
    pub channel: ChannelName,
    /// Where releases live.
    pub store: Store,
    /// The key that operators pinned first.
    pub pinned: PublicKey,
    /// Where archives are packed.
    pub folder: PathBuf,
    /// Where this machine remembers what it published.
    pub state: PathBuf,
    /// Threads that compress.
    pub threads: usize,
    /// The time that the documents are dated with.
    pub now: Timestamp,
}

/// Who signs what.
pub struct Keys {
    /// Seals the release.
    pub release: SigningKey,
    /// Seals the channel; often the same.
    pub channel: SigningKey,
}

/// What was published.
pub struct Published {
    /// The release.
    pub release: Verified<Release>,
    /// The channel.
    pub channel: Verified<Channel>,
}

/// Publishes. Repeating it is harmless: what is there already is found and left alone.
///
/// Everything that can be refused is refused before the first byte moves, and the release document
/// goes first: it claims the version, so that a run that was killed and a rebuild that differs meet
/// an honest "published before" and not half of somebody's files.
pub async fn release(
    workshop: &Workshop,
    tools: &Tools,
    ask: &Publication,
    keys: &Keys,
    hear: Hear<'_>,
) -> Result<Published, Error> {
    let project = read::recipes(&workshop.recipes)?.project()?.name;
    let publisher = Publisher::open(&Place {
        project: project.clone(),
        store: ask.store.clone(),
        pinned: ask.pinned.clone(),
        state: ask.state.clone(),
        now: ask.now,
    })
    .await?;
    publisher.may(&keys.release, Role::Release)?;
    publisher.may(&keys.channel, Role::Channel)?;
    let store = ContentStore::open(&workshop.content)?;
    let before = may_point(ask, &publisher).await?;

    let mut archives = Vec::new();
    for tier in &ask.tiers {
        let wanted = Ask { version: Some(ask.version.clone()), args: ask.args.clone(), ..Ask::default() };
        let image = build(workshop, tools, tier, &wanted, hear).await?;
        archives.push(pack(image, tier, &ask.version, &store, &ask.folder, ask.threads, hear)?.archive);
    }
    let draft = Release { project, version: ask.version.clone(), created: ask.now, archives };

    let (release, papers) = seal(draft, &publisher, &keys.release, &ask.folder, hear).await?;
    upload::release(&ask.store, &release, &papers).await?;
    upload::archives(&ask.store, &release, &papers, &ask.folder, hear).await?;
    upload::sums(&ask.store, &release, &papers, keys.release.public()).await?;

    hear(Event::Doing("reading the release back as an operator will"));
    rehearse(&publisher, &release, &ask.folder, hear).await?;

    let channel = point(ask, &publisher, &release, before.as_ref(), &keys.channel).await?;
    Ok(Published { release, channel })
}

/// The sealed release: the one in the store if this very content was published before.
async fn seal(
    draft: Release,
    publisher: &Publisher,
    key: &SigningKey,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<(Verified<Release>, Papers), Error> {
    match download::release(&publisher.store, &draft.project, &draft.version).await {
        Ok(sealed) => {
            let before = publisher.trusted.release(&sealed)?;
            if before.archives != draft.archives {
                return Err(Error::Published(draft.version));
            }
            let papers = papers(&before, sealed, &publisher.chain, key, folder, hear)?;
            Ok((before, papers))
        }
        Err(StoreError::Missing { .. }) => {
            let (sealed, release) = sign::seal(&draft, key)?;
            let papers = papers(&release, sealed, &publisher.chain, key, folder, hear)?;
            Ok((release, papers))
        }
        Err(error) => Err(error.into()),
    }
}

/// Fetches everything back and checks it, before anybody is pointed to it.
async fn rehearse(
    publisher: &Publisher,
    release: &Verified<Release>,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let found = publisher.release(&release.version).await?;
    for archive in &found.archives {
        let Some(archive) = found.archive_named(&archive.file) else {
            continue;
        };
        let store = &publisher.store;
        let mut unchecked =
            download::archive(store, &found.project, &found.version, &archive, folder, hear).await?;
        check::archive(unchecked.file()?, archive, hear)?;
    }
    Ok(())
}

/// The channel as it is. What can be refused is refused here, before anything is built.
async fn may_point(ask: &Publication, publisher: &Publisher) -> Result<Option<Current>, Error> {
    let current = publisher.current(&ask.channel).await?;
    if let Some(channel) = current.as_ref().and_then(|current| current.channel.as_ref()) {
        if channel.version > ask.version {
            let (current, version) = (channel.version.clone(), ask.version.clone());
            return Err(Error::Backwards { channel: ask.channel.clone(), current, version });
        }
        if let Some(yank) = channel.yanked.iter().find(|yank| yank.version == ask.version) {
            return Err(ChannelError::Yanked(yank.clone()).into());
        }
    }
    Ok(current)
}

/// Moves the pointer. One that points here already is only renewed when less than half of its life is
/// left.
async fn point(
    ask: &Publication,
    publisher: &Publisher,
    release: &Verified<Release>,
    before: Option<&Current>,
    key: &SigningKey,
) -> Result<Verified<Channel>, Error> {
    let half = time::after(ask.now, LIFETIME / 2);
    if let Some(current) = before.and_then(|current| current.channel.as_ref())
        && current.release == release.sealed_digest()
        && current.expires > half
    {
        return Ok(current.clone());
    }
    let next = publisher.next(&ask.channel, before, release).await?;
    publisher.put(before, &next, key).await
}
