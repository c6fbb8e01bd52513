//! Channels by hand: look at one, point it to a version that was published, renew it, withdraw a version.

use super::Error;
use super::pointer::{Current, Publisher, Role};
use crate::model::channel::{Channel, Yank};
use crate::model::name::{ChannelName, Version};
use crate::model::seal::Verified;
use crate::step::keyring::SigningKey;

/// Points a channel to a version that was published, forward or back, and may raise its floor.
pub async fn set(
    publisher: &Publisher,
    name: &ChannelName,
    version: &Version,
    floor: Option<Version>,
    key: &SigningKey,
) -> Result<Verified<Channel>, Error> {
    publisher.may(key, Role::Channel)?;
    let before = publisher.current(name).await?;
    let release = publisher.release(version).await?;
    let mut next = publisher.next(name, before.as_ref(), &release).await?;
    if let Some(floor) = floor {
        if let Some(current) = next.floor.filter(|current| *current > floor) {
            return Err(Error::LowerFloor { current, floor });
        }
        next.floor = Some(floor);
    }
    publisher.put(before.as_ref(), &next, key).await
}

/// Signs channels again, unchanged but for sequence and dates. Without names, all there are.
pub async fn renew(
    publisher: &Publisher,
    names: &[ChannelName],
    key: &SigningKey,
) -> Result<Vec<Verified<Channel>>, Error> {
    publisher.may(key, Role::Channel)?;
    let mut channels = Vec::new();
    if names.is_empty() {
        channels = publisher.channels().await?;
    }
    for name in names {
        let current = publisher.current(name).await?.ok_or_else(|| Error::NoChannel(name.clone()))?;
        channels.push((name.clone(), current));
    }
    let mut renewed = Vec::new();
    for (name, before) in &channels {
        renewed.push(again(publisher, name, before, None, key).await?);
    }
    Ok(renewed)
}

/// Withdraws a version in every channel, and points those that lead to it to another one. What is
/// done already is left alone, so that a killed command is run again.
pub async fn yank(
    publisher: &Publisher,
    yank: &Yank,
    key: &SigningKey,
) -> Result<Vec<Verified<Channel>>, Error> {
    publisher.may(key, Role::Channel)?;
    if !publisher.store.versions(&publisher.project).await?.contains(&yank.version) {
        return Err(Error::NotReleased(yank.version.clone()));
    }
    let channels = publisher.channels().await?;
    if channels.is_empty() {
        return Err(Error::NobodyListens);
    }
    let instead = match &yank.instead {
        Some(version) => Some(publisher.release(version).await?),
        None => None,
    };
    let points_there =
        |current: &Current| current.channel.as_ref().is_some_and(|c| c.version == yank.version);
    if let (Some((name, _)), None) = (channels.iter().find(|(_, current)| points_there(current)), &instead) {
        return Err(Error::NoReplacement { channel: name.clone(), version: yank.version.clone() });
    }
    let mut done = Vec::new();
    for (name, before) in &channels {
        match before.channel.as_ref().filter(|channel| channel.yanked.contains(yank)) {
            Some(channel) => done.push(channel.clone()),
            None => done.push(again(publisher, name, before, Some(yank), key).await?),
        }
    }
    Ok(done)
}

async fn again(
    publisher: &Publisher,
    name: &ChannelName,
    before: &Current,
    yank: Option<&Yank>,
    key: &SigningKey,
) -> Result<Verified<Channel>, Error> {
    let current = before.channel.as_ref().ok_or_else(|| Error::RetiredChannel(name.clone()))?;
    let version = match yank {
        Some(Yank { version, instead: Some(instead), .. }) if *version == current.version => instead,
        _ => &current.version,
    };
    let release = publisher.release(version).await?;
    let mut next = publisher.next(name, Some(before), &release).await?;
    if let Some(yank) = yank {
        next.yanked.retain(|other| other.version != yank.version);
        next.yanked.push(yank.clone());
        next.yanked.sort_by(|one, two| one.version.cmp(&two.version));
    }
    publisher.put(Some(before), &next, key).await
}
