//! Which release an operator gets, and where its archive is: signed by a trusted key, not older than what
//! was seen, not withdrawn.

use super::fetch::{Bond, Order, Tier, Which};
use super::verify::Trust;
use super::{Error, pointer};
use crate::model::channel::{Channel, Freshness};
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release::{Archive, Release};
use crate::model::seal::Verified;
use crate::model::seen::{Pointer, Seen};
use crate::model::trust::Trusted;
use crate::step::download::ChainError;
use crate::step::progress::{Event, Hear};
use crate::step::receive::Location;
use crate::step::remember::Memory;
use crate::step::store::{Key, Store, StoreError};
use crate::step::{download, remember};

/// What is to be fetched, where from, and what is to be remembered when it has arrived.
pub(super) struct Choice {
    pub(super) release: Verified<Release>,
    pub(super) archive: Verified<Archive>,
    pub(super) channel: Option<(Verified<Channel>, Freshness)>,
    pub(super) trusted: Trusted,
    pub(super) places: Vec<Location>,
    pub(super) memory: Option<Memory>,
    pub(super) note: Option<(ChannelName, Pointer)>,
}

/// A tier's archive, as the first store that answers has it. What a store says is signed, so one that
/// answers wrongly is an error, and one that does not answer is passed over.
pub(super) async fn tier(order: &Order, tier: &Tier, hear: Hear<'_>) -> Result<Choice, Error> {
    let pin = Trusted::pin(tier.project.clone(), tier.pinned.clone());
    let memory = remember::of(&order.state, &tier.project, &pin);
    let seen = recall(tier, &memory, hear)?;
    let mut first = None;
    for (number, store) in tier.stores.iter().enumerate() {
        let asked = Asked { order, tier, store };
        let answer = match pointer::trusted(pin.clone(), &memory, store, &tier.project).await {
            Ok((trusted, _)) => asked.choose(&trusted, &seen, hear).await.map(|answer| (trusted, answer)),
            Err(error) => Err(error),
        };
        let (trusted, (release, channel, note)) = match answer {
            Ok(answer) => answer,
            Err(error) if number + 1 < tier.stores.len() && is_silent(&error) => {
                hear(Event::Warning(&format!("{error}: asking the next store")));
                first.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(first.filter(|_| is_silent(&error)).unwrap_or(error)),
        };
        let archive =
            release.archive(&tier.tier, &tier.platform).ok_or_else(|| no_archive(tier, &release))?;
        let key = Key::file(&release.project, &release.version, &archive.file);
        let place = |store: &Store| Location { store: store.clone(), key: key.clone() };
        // The one that answered, and then the others.
        let (before, rest) = tier.stores.split_at(number);
        let link = tier.link.iter().map(|store| Location { store: store.clone(), key: Key::link() });
        let places = link.chain(rest.iter().chain(before).map(place)).collect();
        return Ok(Choice { release, archive, channel, trusted, places, memory: Some(memory), note });
    }
    Err(Error::NoStore)
}

/// Whether a store did not say anything.
fn is_silent(error: &Error) -> bool {
    let (Error::Store(error) | Error::Chain(ChainError::Store(error))) = error else { return false };
    matches!(error, StoreError::Unreachable { .. } | StoreError::Missing { .. } | StoreError::Denied { .. })
}

/// The archive behind a link: it carries its release. What only a channel says stays unknown.
pub(super) async fn link(order: &Order, store: &Store, trust: &Trust) -> Result<Choice, Error> {
    let key = Key::link();
    let Some((sealed, index)) = download::end(store, &key).await? else {
        return Err(Error::NotAnArchive(store.address().to_string()));
    };
    let (release, trusted, seen) = trust.verify(&sealed, &[], &order.state)?;
    seen.permits(&ChannelName::stable(), &release.version, &trusted)?;
    let archive = release.archive_with(&index).ok_or_else(|| Error::NotInRelease {
        file: store.address().to_string(),
        present: release.file_names(),
    })?;
    let places = vec![Location { store: store.clone(), key }];
    Ok(Choice { release, archive, channel: None, trusted, places, memory: None, note: None })
}

/// What was seen before. A memory that is not there is no reason to stop, but to be said.
fn recall(tier: &Tier, memory: &Memory, hear: Hear<'_>) -> Result<Seen, Error> {
    let seen = memory.seen()?;
    if seen.is_none() && tier.bond == Bond::Pinned {
        hear(Event::Warning(
            "nothing is remembered of this project any more, so an older release cannot be told from the current one this time",
        ));
    }
    Ok(seen.unwrap_or_else(Seen::nothing))
}

/// A release, the channel that led to it, and what is to be remembered of it.
type Answer = (Verified<Release>, Option<(Verified<Channel>, Freshness)>, Option<(ChannelName, Pointer)>);

/// One store, asked for a tier.
struct Asked<'a> {
    order: &'a Order,
    tier: &'a Tier,
    store: &'a Store,
}

impl Asked<'_> {
    async fn choose(&self, trusted: &Trusted, seen: &Seen, hear: Hear<'_>) -> Result<Answer, Error> {
        let Self { order, tier: Tier { project, which, .. }, store } = self;
        match which {
            Which::Pinned(version, name) => {
                // Signed long ago or not, what it says of withdrawn versions counts.
                let heard = match self.listen(name, trusted, seen).await {
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
                    known.note(name, pointer, trusted)?;
                }
                known.permits(name, version, trusted)?;
                let release = release_of(store, project, version, trusted).await?;
                Ok((release, None, heard.map(|pointer| (name.clone(), pointer))))
            }
            Which::Channel(name) => {
                let channel = trusted.channel(&download::channel(store, project, name).await?)?;
                let followed = channel.follow(project, name, seen, trusted, order.patience, order.now)?;
                let release = release_of(store, project, &channel.version, trusted).await;
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
                Ok((release, Some((channel, followed.freshness)), note))
            }
        }
    }

    /// What a channel says, if there is one, however old it is.
    async fn listen(
        &self,
        name: &ChannelName,
        trusted: &Trusted,
        seen: &Seen,
    ) -> Result<Option<Pointer>, Error> {
        match download::channel(self.store, &self.tier.project, name).await {
            Ok(sealed) => {
                Ok(Some(trusted.channel(&sealed)?.stands(&self.tier.project, name, seen, trusted)?))
            }
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
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

fn no_archive(wanted: &Tier, release: &Release) -> Error {
    Error::NoArchive {
        version: release.version.clone(),
        tier: wanted.tier.clone(),
        platform: wanted.platform.clone(),
        present: release.file_names(),
    }
}
