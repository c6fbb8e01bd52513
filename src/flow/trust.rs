//! One set of keys hands over to the next.

use std::collections::BTreeSet;
use std::path::Path;

use super::Error;
use super::pointer::{Current, Publisher, Role};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, Version};
use crate::model::seal::Verified;
use crate::model::trust::{Root, Step, Trust, TrustError, Trusted};
use crate::step::keyring::SigningKey;
use crate::step::{download, sign, upload};

/// What changes. A role that is not named keeps its keys.
pub struct Rotation {
    /// Who may write the next trust document.
    pub root: Option<Vec<PublicKey>>,
    /// How many of them have to agree.
    pub threshold: Option<usize>,
    /// Who may seal releases.
    pub release: Option<Vec<PublicKey>>,
    /// Who may seal channels.
    pub channel: Option<Vec<PublicKey>>,
    /// What becomes of the releases of keys that lose their role.
    pub keep: Keep,
}

/// What becomes of the releases of keys that lose their role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They do not count any more: somebody else may have the key, and may have sealed them.
    None,
    /// Those that are in the store now count on, each by its digest.
    Published,
}

/// How far a rotation came.
pub enum Rotated {
    /// Operators follow it from now on.
    Published {
        /// Whose signature counts now.
        trusted: Box<Trusted>,
        /// Channels that were sealed again.
        renewed: Vec<ChannelName>,
        /// Channels that operators refuse until somebody points them to a release that counts.
        orphaned: Vec<ChannelName>,
        /// Versions that do not count any more.
        dropped: Vec<Version>,
    },
    /// More root keys have to sign.
    Waiting {
        /// The document so far.
        step: Step,
        /// What is missing.
        missing: TrustError,
    },
}

/// Makes the next trust document, signs it with every key at hand, and publishes it if that is enough.
pub async fn rotate(
    publisher: &Publisher,
    rotation: Rotation,
    keys: &[SigningKey],
) -> Result<Rotated, Error> {
    let trusted = &publisher.trusted;
    let now = |keys: &crate::model::key::TrustedKeys| keys.iter().cloned().collect::<Vec<_>>();
    let root = rotation.root.unwrap_or_else(|| now(trusted.root().0));
    let release = rotation.release.unwrap_or_else(|| now(trusted.release_keys()));
    let channel = rotation.channel.unwrap_or_else(|| now(trusted.channel_keys()));
    let threshold = rotation.threshold.unwrap_or_else(|| trusted.root().1.min(root.len()));
    let names = |keys: &[PublicKey]| keys.iter().map(PublicKey::fingerprint).collect::<Vec<_>>();
    let mut document = Trust {
        project: publisher.project.clone(),
        version: trusted.version().saturating_add(1),
        issued: publisher.now,
        root: Root { keys: names(&root), threshold },
        release: names(&release),
        channel: names(&channel),
        keys: Vec::new(),
        kept: Vec::new(),
    };
    for key in root.iter().chain(&release).chain(&channel) {
        if !document.keys.contains(key) {
            document.keys.push(key.clone());
        }
    }
    document.kept = kept(publisher, &document.release, rotation.keep).await?;

    let mut step: Option<Step> = None;
    for key in keys {
        let fingerprint = key.public().fingerprint();
        if !document.root.keys.contains(&fingerprint) {
            publisher.may(key, Role::Root)?;
        }
        match &mut step {
            None => step = Some(Step::begin(sign::seal(&document, key)?.0)?),
            Some(step) => add(step, key)?,
        }
    }
    finish(publisher, step.ok_or(TrustError::Form("it is empty"))?, keys).await
}

/// Adds a signature to a document that waits for it, and publishes it if that is enough.
pub async fn sign(publisher: &Publisher, file: &Path, key: SigningKey) -> Result<Rotated, Error> {
    let mut step = download::step(file)?;
    // Nobody signs what nobody with a say has signed: the bytes could be any.
    match step.count(publisher.trusted.root().0)? {
        (Some(document), _) if document.root.keys.contains(&key.public().fingerprint()) => {}
        (Some(_), _) => publisher.may(&key, Role::Root)?,
        (None, _) => return Err(TrustError::Stranger.into()),
    }
    add(&mut step, &key)?;
    finish(publisher, step, &[key]).await
}

fn add(step: &mut Step, key: &SigningKey) -> Result<(), Error> {
    let another = sign::again(step.payload(), key)?;
    Ok(step.add(another, key.public())?)
}

async fn finish(publisher: &Publisher, step: Step, keys: &[SigningKey]) -> Result<Rotated, Error> {
    // Read the pointers while their seals still count.
    let channels = publisher.channels().await?;
    let trusted = match publisher.trusted.clone().advance(&step) {
        Ok((trusted, _)) => trusted,
        Err(missing @ TrustError::Threshold { .. }) => return Ok(Rotated::Waiting { step, missing }),
        Err(error) => return Err(error.into()),
    };
    if trusted.version() == publisher.trusted.version() {
        return Err(TrustError::Unjoined(trusted.pinned()).into());
    }
    upload::step(&publisher.store, &publisher.project, trusted.version(), &step).await?;
    let chain = [publisher.chain.clone(), vec![step]].concat();
    publisher.memory.keep_chain(&chain)?;
    let next = publisher.with(trusted.clone(), chain);
    let (mut renewed, mut orphaned) = (Vec::new(), Vec::new());
    for (name, before) in channels {
        if renew(&next, &name, &before, keys).await? { renewed.push(name) } else { orphaned.push(name) }
    }
    let dropped = dropped(&next).await?;
    Ok(Rotated::Published { trusted: Box::new(trusted), renewed, orphaned, dropped })
}

/// Seals a channel again for those who follow the new document, if one of the keys at hand may and the
/// release that it names still counts.
async fn renew(
    publisher: &Publisher,
    name: &ChannelName,
    before: &Current,
    keys: &[SigningKey],
) -> Result<bool, Error> {
    let Some(channel) = &before.channel else { return Ok(false) };
    let counts = publisher.trusted.channel_keys().holds(channel.signer());
    let Ok(release) = publisher.release(&channel.version).await else { return Ok(false) };
    if counts {
        return Ok(true);
    }
    match keys.iter().find(|key| publisher.may(key, Role::Channel).is_ok()) {
        Some(key) => {
            let next = publisher.next(name, Some(before), &release).await?;
            publisher.put(Some(before), &next, key).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Releases by keys that lose their role, and those by earlier keys that counted until now.
async fn kept(
    publisher: &Publisher,
    release: &[crate::model::digest::Digest],
    keep: Keep,
) -> Result<Vec<crate::model::digest::Digest>, Error> {
    let mut kept: BTreeSet<_> = publisher.trusted.kept().collect();
    if keep == Keep::Published {
        for version in publisher.store.versions(&publisher.project).await? {
            let found: Verified<_> = publisher.release(&version).await?;
            if !release.contains(&found.signer()) {
                kept.insert(found.sealed_digest());
            }
        }
    }
    Ok(kept.into_iter().collect())
}

/// Versions in the store that operators refuse now.
async fn dropped(publisher: &Publisher) -> Result<Vec<Version>, Error> {
    let mut dropped = Vec::new();
    for version in publisher.store.versions(&publisher.project).await? {
        if publisher.release(&version).await.is_err() {
            dropped.push(version);
        }
    }
    Ok(dropped)
}
