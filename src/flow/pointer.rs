//! How those who publish read and move channels: the way operators read them, with a memory of their own.

use super::Error;
use crate::model::channel::{Channel, ChannelError, LIFETIME, Patience, Yank};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release::Release;
use crate::model::seal::{SealError, Sealed, Verified};
use crate::model::seen::Seen;
use crate::model::time::{self, Timestamp};
use crate::model::trust::{Step, Trusted};
use crate::step::keyring::SigningKey;
use crate::step::remember::{self, Memory};
use crate::step::store::{Store, StoreError};
use crate::step::{download, sign, upload};

/// Where a publisher's project is, and whom its operators trust.
pub struct Place {
    /// Whose.
    pub project: ProjectName,
    /// Where releases live.
    pub store: Store,
    /// The key that operators pinned first.
    pub pinned: PublicKey,
    /// Where this machine remembers what it published.
    pub state: std::path::PathBuf,
    /// The time that documents are dated with.
    pub now: Timestamp,
}

/// A publisher at work.
pub struct Publisher {
    /// Whose.
    pub project: ProjectName,
    /// Where releases live.
    pub store: Store,
    /// Whose signature operators believe.
    pub trusted: Trusted,
    /// The documents that led there.
    pub chain: Vec<Step>,
    pub(super) memory: Memory,
    pub(super) now: Timestamp,
}

/// A channel in the store.
pub struct Current {
    /// What it says; absent when a key sealed it that does not count any more.
    pub channel: Option<Verified<Channel>>,
    sealed: Sealed<Channel>,
}

/// What a key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It changes the keys.
    Root,
    /// It seals releases.
    Release,
    /// It seals channels.
    Channel,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "trust documents",
            Self::Release => "releases",
            Self::Channel => "channels",
        })
    }
}

/// The keys that count, and the documents that say so: those remembered, and newer ones of the store.
pub(super) async fn trusted(
    pin: Trusted,
    memory: &Memory,
    store: &Store,
    project: &ProjectName,
) -> Result<(Trusted, Vec<Step>), Error> {
    let mut chain = memory.chain()?;
    let known = pin.follow(&chain)?;
    let newer = download::chain(store, project, known.version().saturating_add(1)).await?;
    if newer.is_empty() {
        return Ok((known, chain));
    }
    let trusted = known.follow(&newer)?;
    chain.extend(newer);
    memory.keep_chain(&chain)?;
    Ok((trusted, chain))
}

impl Publisher {
    /// Reads whom operators trust.
    pub async fn open(place: &Place) -> Result<Self, Error> {
        let Place { project, store, pinned, state, now } = place;
        let pin = Trusted::pin(project.clone(), pinned.clone());
        let memory = remember::of(state, project, &pin);
        let (trusted, chain) = trusted(pin, &memory, store, project).await?;
        let (project, store) = (project.clone(), store.clone());
        Ok(Self { project, store, trusted, chain, memory, now: *now })
    }

    /// The same publisher, after a rotation.
    pub(super) fn with(&self, trusted: Trusted, chain: Vec<Step>) -> Self {
        let (project, store, memory) = (self.project.clone(), self.store.clone(), self.memory.clone());
        Self { project, store, trusted, chain, memory, now: self.now }
    }

    /// Refuses a key whose seals operators would refuse.
    pub fn may(&self, key: &SigningKey, role: Role) -> Result<(), Error> {
        let keys = match role {
            Role::Root => self.trusted.root().0,
            Role::Release => self.trusted.release_keys(),
            Role::Channel => self.trusted.channel_keys(),
        };
        let key = key.public().fingerprint();
        if keys.holds(key) {
            Ok(())
        } else {
            Err(Error::NoRole { key, role, version: self.trusted.version() })
        }
    }

    pub(super) fn seen(&self) -> Result<Seen, Error> {
        Ok(self.memory.seen()?.unwrap_or_else(Seen::nothing))
    }

    /// Reads a channel the way operators do. Its age and its version are no reason to refuse: they are
    /// about to change.
    pub async fn current(&self, name: &ChannelName) -> Result<Option<Current>, Error> {
        let sealed = match download::channel(&self.store, &self.project, name).await {
            Ok(sealed) => sealed,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let channel = match self.trusted.channel(&sealed) {
            Ok(channel) => channel,
            Err(SealError::Retired { .. }) => return Ok(Some(Current { channel: None, sealed })),
            Err(error) => return Err(error.into()),
        };
        let seen = self.seen()?;
        channel.stands(&self.project, name, &seen, &self.trusted)?;
        seen.check_clock(self.now)?;
        channel.is_dated(self.now)?;
        Ok(Some(Current { channel: Some(channel), sealed }))
    }

    /// Every channel of the project.
    pub async fn channels(&self) -> Result<Vec<(ChannelName, Current)>, Error> {
        let mut found = Vec::new();
        for name in self.store.channels(&self.project).await? {
            if let Some(current) = self.current(&name).await? {
                found.push((name, current));
            }
        }
        Ok(found)
    }

    /// A released version, verified.
    pub async fn release(&self, version: &Version) -> Result<Verified<Release>, Error> {
        super::choose::release_of(&self.store, &self.project, version, &self.trusted).await
    }

    /// The channel that points to a release after what is there now: a higher sequence, the same floor,
    /// and every version that any channel calls withdrawn.
    pub(super) async fn next(
        &self,
        name: &ChannelName,
        before: Option<&Current>,
        release: &Verified<Release>,
    ) -> Result<Channel, Error> {
        let before = before.and_then(|current| current.channel.as_ref());
        let mut yanked: Vec<Yank> = before.map(|channel| channel.yanked.clone()).unwrap_or_default();
        for (_, other) in self.channels().await? {
            yanked.extend(other.channel.iter().flat_map(|channel| channel.yanked.clone()));
        }
        yanked.sort_by(|one, two| one.version.cmp(&two.version));
        yanked.dedup_by(|one, two| one.version == two.version);
        let seen = self.seen()?;
        let remembered = seen.pointer(name, &self.trusted).map_or(0, |pointer| pointer.sequence);
        let sequence = before.map_or(0, |channel| channel.sequence).max(remembered).saturating_add(1);
        Ok(Channel {
            project: self.project.clone(),
            channel: name.clone(),
            sequence,
            issued: self.now,
            expires: time::after(self.now, LIFETIME),
            version: release.version.clone(),
            release: release.sealed_digest(),
            floor: before.and_then(|channel| channel.floor.clone()),
            yanked,
        })
    }

    /// Replaces a channel if it still is what was read, and follows it once as an operator would.
    pub(super) async fn put(
        &self,
        before: Option<&Current>,
        next: &Channel,
        key: &SigningKey,
    ) -> Result<Verified<Channel>, Error> {
        if let Some(yank) = next.yanked.iter().find(|yank| yank.version == next.version) {
            return Err(ChannelError::Yanked(yank.clone()).into());
        }
        if let Some(floor) = next.floor.clone().filter(|floor| next.version < *floor) {
            let (channel, version) = (next.channel.clone(), next.version.clone());
            return Err(ChannelError::BelowFloor { channel, version, floor }.into());
        }
        let (sealed, channel) = sign::seal(next, key)?;
        upload::channel(&self.store, &channel, &sealed, before.map(|current| &current.sealed)).await?;
        let found =
            self.trusted.channel(&download::channel(&self.store, &self.project, &next.channel).await?)?;
        let patience = Patience::UntilItExpires;
        let followed =
            found.follow(&self.project, &next.channel, &self.seen()?, &self.trusted, patience, self.now)?;
        self.memory.note(&next.channel, followed.pointer, &self.trusted)?;
        Ok(channel)
    }
}
