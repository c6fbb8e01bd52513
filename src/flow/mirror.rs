//! Copies a verified release to another store: a bucket elsewhere, a web server's folder, a USB stick.
//!
//! Documents are copied as they are, seals and all: whoever fetches from the copy needs no other key, and
//! who keeps it cannot change it.

use std::fs::File;
use std::path::PathBuf;

use super::Error;
use super::obtain::{self, Supply};
use super::pointer::Publisher;
use super::statements;
use crate::model::image::Blob;
use crate::model::name::{ChannelName, Version};
use crate::model::release::{self, Release, Whole};
use crate::model::seal::{MAX_BYTES, Sealed, Verified};
use crate::model::trust::{self, MAX_CHAIN};
use crate::model::{channel::Channel, sums};
use crate::step::progress::Hear;
use crate::step::receive::{self, Location};
use crate::step::store::{Key, Put, Source, Store, StoreError};
use crate::step::{atomic, upload};

/// What to copy, and where to.
pub struct Copy {
    /// Where to.
    pub to: Store,
    /// The version; absent: where the channel points.
    pub version: Option<Version>,
    /// The channel, which is copied too if it points to the version.
    pub channel: ChannelName,
    /// Where archives are kept on the way.
    pub cache: PathBuf,
}

/// What was copied.
pub struct Copied {
    /// The release.
    pub release: Verified<Release>,
    /// Objects that were not there before.
    pub new: usize,
    /// The channel, if the copy leads to the release now.
    pub channel: Option<Verified<Channel>>,
}

/// Copies, in the order in which a publication goes: the release after what it names, the channel last.
pub async fn mirror(publisher: &Publisher, copy: &Copy, hear: Hear<'_>) -> Result<Copied, Error> {
    let (from, project) = (&publisher.store, &publisher.project);
    let current = publisher.current(&copy.channel).await?.and_then(|current| current.channel);
    let version = match (&copy.version, &current) {
        (Some(version), _) => version.clone(),
        (None, Some(channel)) => channel.version.clone(),
        (None, None) => return Err(Error::NoChannel(copy.channel.clone())),
    };
    let release = publisher.release(&version).await?;

    let mut new = 0;
    let folder = copy.cache.join(project.as_str());
    for archive in &release.archives {
        let Some(archive) = release.archive_named(&archive.file) else {
            continue;
        };
        let key = Key::file(project, &version, &archive.file);
        let places = [Location { store: from.clone(), key: key.clone() }];
        let path = obtain::archive(&Supply::of(&places, &folder), &archive, None, hear).await?.path;
        let blob = upload::measure(&path)?;
        new += upload::file(&copy.to, &key, (&path, &blob), hear).await?;
        let whole = Whole { file: archive.file.clone(), blob };
        let signers = publisher.trusted.signers();
        let stated = statements::fetch(&places[0], &path, (&archive.image, &whole), &signers).await?;
        for (key, bundle) in stated {
            new += put(&copy.to, &key, &bundle).await?;
        }
    }
    for one in &release.patches {
        let place = Location { store: from.clone(), key: Key::file(project, &version, &one.file) };
        let folder = atomic::scratch(&folder).map_err(|error| Error::Write(folder.clone(), error))?;
        let path = folder.path().join(&one.file);
        let io = |error| Error::Write(path.clone(), error);
        receive::blob(&place, &one.blob(), &File::create_new(&path).map_err(io)?, hear).await?;
        new += upload::file(&copy.to, &place.key, (&path, &one.blob()), hear).await?;
    }
    for (number, bytes) in trust_documents(from, publisher).await? {
        new += put(&copy.to, &Key::trust(project, number), &bytes).await?;
    }
    for file in [sums::FILE_NAME, sums::SIGNATURE_NAME, trust::FILE_NAME, release::FILE_NAME] {
        let key = Key::file(project, &version, file);
        match from.get(&key, MAX_CHAIN.max(MAX_BYTES)).await {
            Ok(bytes) => new += put(&copy.to, &key, &bytes).await?,
            // A project that never changed its keys has no trust documents.
            Err(StoreError::Missing { .. }) if file == trust::FILE_NAME => {}
            Err(error) => return Err(error.into()),
        }
    }
    let channel = match current.filter(|channel| channel.version == version) {
        Some(channel) => Some(point(publisher, copy, channel).await?),
        None => None,
    };
    Ok(Copied { release, new, channel })
}

/// Replaces the channel of the copy, unless it is as new.
async fn point(
    publisher: &Publisher,
    copy: &Copy,
    channel: Verified<Channel>,
) -> Result<Verified<Channel>, Error> {
    let key = Key::channel(&publisher.project, &copy.channel);
    let now = publisher.store.get(&key, MAX_BYTES).await?;
    let before = match copy.to.get(&key, MAX_BYTES).await {
        Ok(before) => Some(before),
        Err(StoreError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if before.as_ref() == Some(&now) {
        return Ok(channel);
    }
    if let Some(before) = &before
        && let Ok(before) = publisher.trusted.channel(&Sealed::from_bytes(before.clone()))
        && before.sequence >= channel.sequence
    {
        return Ok(before);
    }
    copy.to.replace(&key, before.as_deref(), &now).await?;
    Ok(channel)
}

/// The trust documents, by number; the first that is missing ends them.
async fn trust_documents(from: &Store, publisher: &Publisher) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut found = Vec::new();
    for number in 1..=publisher.trusted.version() {
        match from.get(&Key::trust(&publisher.project, number), MAX_BYTES).await {
            Ok(bytes) => found.push((number, bytes)),
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

async fn put(to: &Store, key: &Key, bytes: &[u8]) -> Result<usize, Error> {
    let put = to.put(key, &Blob::of(bytes), Source::Bytes(bytes), &|_| {}).await?;
    Ok(usize::from(put == Put::New))
}
