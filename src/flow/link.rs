//! From a tier to a link that anybody may download its archive with, for a while.

use std::time::Duration;

use super::Error;
use super::pointer::Publisher;
use crate::model::name::{ChannelName, Platform, TierName, Version};
use crate::model::release::Archive;
use crate::model::seal::Verified;
use crate::step::store::Key;

/// What the link is to.
pub struct Wanted {
    /// Which image.
    pub tier: TierName,
    /// Which version; absent: where the channel points.
    pub version: Option<Version>,
    /// That channel.
    pub channel: ChannelName,
    /// For which platform.
    pub platform: Platform,
    /// How long the link works.
    pub lifetime: Duration,
}

/// A link.
pub struct Link {
    /// What to download.
    pub url: String,
    /// What will be downloaded.
    pub archive: Verified<Archive>,
    /// Its version.
    pub version: Version,
}

/// Makes a link to an archive of a verified release.
pub async fn link(publisher: &Publisher, wanted: &Wanted) -> Result<Link, Error> {
    let version = match &wanted.version {
        Some(version) => version.clone(),
        None => match publisher.current(&wanted.channel).await? {
            Some(current) => {
                let channel = current.channel.ok_or_else(|| Error::RetiredChannel(wanted.channel.clone()))?;
                channel.version.clone()
            }
            None => return Err(Error::NoChannel(wanted.channel.clone())),
        },
    };
    let release = publisher.release(&version).await?;
    let archive = release.archive(&wanted.tier, &wanted.platform).ok_or_else(|| Error::NoArchive {
        version: version.clone(),
        tier: wanted.tier.clone(),
        platform: wanted.platform.clone(),
        present: release.file_names(),
    })?;
    let key = Key::file(&publisher.project, &version, &archive.file);
    let url = publisher.store.link(&key, wanted.lifetime).await?;
    Ok(Link { url, archive, version })
}
