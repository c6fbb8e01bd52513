//! From recipes to a published release: build, pack, seal, upload, read back, move the pointer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Error;
use super::build::{Tools, Workshop, build};
use super::export::pack;
use super::fetch::release_of;
use super::sign::papers;
use crate::model::channel::{Channel, ChannelError, LIFETIME};
use crate::model::key::TrustedKeys;
use crate::model::name::{ChannelName, ProjectName, TierName, VariableName, Version};
use crate::model::plan::Ask;
use crate::model::release::Release;
use crate::model::seal::{Sealed, Verified};
use crate::model::time::Timestamp;
use crate::step::content::ContentStore;
use crate::step::keyring::SigningKey;
use crate::step::progress::{Event, Hear};
use crate::step::remember::{self, Memory};
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
    /// Where archives are packed.
    pub folder: PathBuf,
    /// Where this machine remembers what it published.
    pub state: PathBuf,
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
///
/// Everything that can be refused is refused before the first byte moves, and the release document
/// goes first: it claims the version, so that a run that was killed and a rebuild that differs meet
/// an honest "published before" and not half of somebody's files.
pub async fn release(
    workshop: &Workshop,
    tools: &Tools,
    ask: &Publication,
    key: &SigningKey,
    hear: Hear<'_>,
) -> Result<Published, Error> {
    let project = read::recipes(&workshop.recipes)?.project()?.name;
    let keys = TrustedKeys::from(key.public().clone());
    let store = ContentStore::open(&workshop.content)?;
    let memory = remember::open(&ask.state, &project, &keys, &ask.channel)?;
    let before = may_point(ask, &project, &keys, &memory).await?;

    let mut archives = Vec::new();
    for tier in &ask.tiers {
        let wanted = Ask { version: Some(ask.version.clone()), args: ask.args.clone(), ..Ask::default() };
        let image = build(workshop, tools, tier, &wanted, hear).await?;
        archives.push(pack(image, tier, &ask.version, &store, &ask.folder, ask.threads, hear)?.archive);
    }
    let draft = Release { project, version: ask.version.clone(), created: ask.now, archives };

    let (release, papers) = seal(draft, ask, &keys, key).await?;
    upload::release(&ask.store, &release, &papers).await?;
    upload::archives(&ask.store, &release, &ask.folder, hear).await?;
    upload::sums(&ask.store, &release, &papers, key.public()).await?;

    hear(Event::Doing("reading the release back as an operator will"));
    rehearse(&ask.store, &release, &keys, &ask.folder, hear).await?;

    let channel = point(ask, &release, &before, &memory, &keys, key).await?;
    Ok(Published { release, channel })
}

/// The sealed release: the one in the store if this very content was published before.
async fn seal(
    draft: Release,
    ask: &Publication,
    keys: &TrustedKeys,
    key: &SigningKey,
) -> Result<(Verified<Release>, Papers), Error> {
    match download::release(&ask.store, &draft.project, &draft.version).await {
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
async fn rehearse(
    store: &Store,
    release: &Verified<Release>,
    keys: &TrustedKeys,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let found = release_of(store, &release.project, &release.version, keys).await?;
    for archive in &found.archives {
        let Some(archive) = found.archive_named(&archive.file) else {
            continue;
        };
        let mut unchecked =
            download::archive(store, &found.project, &found.version, &archive, folder, hear).await?;
        check::archive(unchecked.file()?, archive, hear)?;
    }
    Ok(())
}

/// The channel as it is, and the sequence that the next one must have.
struct Before {
    channel: Option<(Verified<Channel>, Sealed<Channel>)>,
    next: u64,
}

/// Reads the channel the way operators do. Only its age is no reason to refuse: publishing renews it.
async fn may_point(
    ask: &Publication,
    project: &ProjectName,
    keys: &TrustedKeys,
    memory: &Memory,
) -> Result<Before, Error> {
    let seen = memory.seen()?;
    let after = |sequence: u64| sequence.max(seen.as_ref().map_or(0, |seen| seen.sequence)) + 1;
    let sealed = match download::channel(&ask.store, project, &ask.channel).await {
        Ok(sealed) => sealed,
        Err(StoreError::Missing { .. }) => return Ok(Before { channel: None, next: after(0) }),
        Err(error) => return Err(error.into()),
    };
    let current = sealed.verify(keys)?;
    match current.follow(project, &ask.channel, seen.as_ref(), ask.now) {
        Ok(_) | Err(ChannelError::Expired { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if current.version > ask.version {
        let (channel, current, version) = (ask.channel.clone(), current.version.clone(), ask.version.clone());
        return Err(Error::Backwards { channel, current, version });
    }
    let next = after(current.sequence);
    Ok(Before { channel: Some((current, sealed)), next })
}

/// Moves the pointer, and follows it once as an operator would. One that points here already is only
/// renewed when less than half of its life is left.
async fn point(
    ask: &Publication,
    release: &Verified<Release>,
    before: &Before,
    memory: &Memory,
    keys: &TrustedKeys,
    key: &SigningKey,
) -> Result<Verified<Channel>, Error> {
    let half = ask.now.saturating_add(LIFETIME / 2).unwrap_or(Timestamp::MAX);
    if let Some((current, _)) = &before.channel
        && current.release == release.sealed_digest()
        && current.expires > half
    {
        return Ok(current.clone());
    }
    let next = Channel {
        project: release.project.clone(),
        channel: ask.channel.clone(),
        sequence: before.next,
        issued: ask.now,
        expires: ask.now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX),
        version: ask.version.clone(),
        release: release.sealed_digest(),
        floor: before.channel.as_ref().and_then(|(current, _)| current.floor.clone()),
    };
    let (sealed, channel) = sign::seal(&next, key)?;
    upload::channel(&ask.store, &channel, &sealed, before.channel.as_ref().map(|(_, sealed)| sealed)).await?;
    let found = download::channel(&ask.store, &release.project, &ask.channel).await?.verify(keys)?;
    let seen = found.follow(&release.project, &ask.channel, memory.seen()?.as_ref(), ask.now)?;
    memory.remember(&seen)?;
    Ok(channel)
}
