//! From recipes to a published release: build, pack, seal, upload, read back, move the pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Error;
use super::build::{Tools, Workshop, build_for};
use super::choose::release_of;
use super::export::{Packing, pack};
use super::obtain::{self, Supply};
use super::patch;
use super::pointer::{self, Current, Place, Publisher, Role};
use super::scan::Gate;
use super::sign::papers;
use super::statements;
use crate::model::attestation::Statement;
use crate::model::channel::{Channel, ChannelError, LIFETIME};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, Platform, TierName, VariableName, Version};
use crate::model::plan::Ask;
use crate::model::release::{Release, Whole};
use crate::model::seal::{Sealed, Verified};
use crate::model::time::{self, Timestamp};
use crate::model::trust::Trusted;
use crate::step::content::ContentStore;
use crate::step::keyring::SigningKey;
use crate::step::progress::{Event, Hear, Work};
use crate::step::receive::Location;
use crate::step::store::{Conditions, Key, Store, StoreError};
use crate::step::upload::{Papers, UploadError};
use crate::step::{atomic, download, read, remember, sign, upload};

/// What to publish, and where.
pub struct Publication {
    /// The tiers.
    pub tiers: Vec<TierName>,
    /// For which platforms; empty: for all that the project has.
    pub platforms: Vec<Platform>,
    /// The version.
    pub version: Version,
    /// What is known about vulnerabilities, and which of them no image may have.
    pub gate: Option<Gate>,
    /// Build arguments.
    pub args: BTreeMap<VariableName, String>,
    /// The pointer to move.
    pub channel: ChannelName,
    /// Where releases live.
    pub store: Store,
    /// Where operators read them, if that is another way to the same store.
    pub public: Option<Store>,
    /// The key that operators pinned first.
    pub pinned: PublicKey,
    /// Versions that patches begin at.
    pub patch_from: Vec<Version>,
    /// Where the archives of those are kept.
    pub cache: PathBuf,
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
    /// The files that state what its archives are.
    pub statements: Vec<Statement>,
    /// Objects that were not in the store before, the pointer among them.
    pub new: usize,
}

/// What a publication would put into the store.
pub struct Intended {
    /// The release as it would be sealed.
    pub release: Verified<Release>,
    /// Each object in the order in which it would go, and whether it is there already.
    pub objects: Vec<Object>,
    /// Where the channel points now.
    pub before: Option<Verified<Channel>>,
}

/// An object of a publication.
pub struct Object {
    /// Its name.
    pub key: Key,
    /// Its bytes.
    pub size: u64,
    /// Whether it is in the store.
    pub there: bool,
}

/// Publishes. Repeating it is harmless: what is there already is found and left alone.
///
/// Everything that can be refused is refused before the first byte moves. Nothing names an archive
/// before the release document does, which goes when all of it is there, and nobody is led to a release
/// before it was read back: a reader sees all of a version or none of it.
pub async fn release(
    workshop: &Workshop,
    tools: &Tools,
    ask: &Publication,
    keys: &Keys,
    hear: Hear<'_>,
) -> Result<Published, Error> {
    let publisher = open(workshop, ask, keys).await?;
    let before = may_point(ask, &publisher).await?;
    let draft = make(workshop, tools, ask, &publisher, hear).await?;
    publish(ask, &publisher, draft, before, keys, hear).await
}

/// Builds and packs, and tells what a publication would put where. Nothing is written to the store.
pub async fn rehearsal(
    workshop: &Workshop,
    tools: &Tools,
    ask: &Publication,
    keys: &Keys,
    hear: Hear<'_>,
) -> Result<Intended, Error> {
    let publisher = open(workshop, ask, keys).await?;
    let before = may_point(ask, &publisher).await?.and_then(|current| current.channel);
    let draft = make(workshop, tools, ask, &publisher, hear).await?;
    let (release, papers) = seal(ask, &publisher, &draft, &keys.release, hear).await?;
    let objects = intended(ask, &release, &papers).await?;
    Ok(Intended { release, objects, before })
}

async fn open(workshop: &Workshop, ask: &Publication, keys: &Keys) -> Result<Publisher, Error> {
    let publisher = Publisher::open(&Place {
        project: read::recipes(&workshop.recipes)?.project()?.name,
        store: ask.store.clone(),
        pinned: ask.pinned.clone(),
        state: ask.state.clone(),
        now: ask.now,
    })
    .await?;
    publisher.may(&keys.release, Role::Release)?;
    publisher.may(&keys.channel, Role::Channel)?;
    Ok(publisher)
}

/// Builds and packs every tier for every platform.
async fn make(
    workshop: &Workshop,
    tools: &Tools,
    ask: &Publication,
    publisher: &Publisher,
    hear: Hear<'_>,
) -> Result<Release, Error> {
    let store = ContentStore::open(&workshop.content)?;
    let older = patch::older(ask, publisher).await?;
    let mut archives = Vec::new();
    let wanted = Ask { version: Some(ask.version.clone()), args: ask.args.clone(), ..Ask::default() };
    let platforms = match ask.platforms.as_slice() {
        [] => read::recipes(&workshop.recipes)?.project()?.platforms,
        asked => asked.to_vec(),
    };
    let images = build_for(workshop, tools, &ask.tiers, &platforms, &wanted, hear).await?;
    if let Some(gate) = &ask.gate {
        gate.pass(&images, ask.now, &store, hear).await?;
    }
    let mut packing = Packing::into(&ask.folder, ask.threads);
    for (tier, image) in ask.tiers.iter().cycle().zip(images) {
        archives.push(pack(image, tier, &ask.version, &store, &mut packing, hear)?.archive);
    }
    drop(packing);
    archives.sort_by(|one, other| one.file.cmp(&other.file));
    let patches = patch::make(ask, publisher, &older, &archives, hear).await?;
    let (project, version) = (publisher.project.clone(), ask.version.clone());
    Ok(Release { project, version, created: ask.now, archives, patches })
}

/// From archives on this disk to a channel that leads to them.
pub async fn publish(
    ask: &Publication,
    publisher: &Publisher,
    draft: Release,
    before: Option<Current>,
    keys: &Keys,
    hear: Hear<'_>,
) -> Result<Published, Error> {
    let (mut release, mut papers) = seal(ask, publisher, &draft, &keys.release, hear).await?;
    intended(ask, &release, &papers).await?;
    if publisher.store.conditions(&release.project).await? == Conditions::Ignored {
        hear(Event::Warning(
            "this store overwrites although it is asked not to: let only one machine publish at a time",
        ));
    }
    // A run that goes on after a rotation finds what the key before signed.
    let signers = [publisher.trusted.signers(), vec![keys.release.public().clone()]].concat();
    let new = match put(ask, &release, &papers, &signers, hear).await {
        // Somebody else was faster. If theirs is the same content, their seal counts.
        Err(UploadError::Store(StoreError::Conflict { .. })) => {
            (release, papers) = seal(ask, publisher, &draft, &keys.release, hear).await?;
            intended(ask, &release, &papers).await?;
            put(ask, &release, &papers, &signers, hear).await?
        }
        other => other?,
    };

    hear(Event::Doing("reading the release back as an operator will"));
    rehearse(ask, publisher, &release, &papers, hear).await?;

    let (channel, moved) = point(ask, publisher, &release, before.as_ref(), &keys.channel).await?;
    let statements = papers.statements.into_iter().map(|(statement, _)| statement).collect();
    Ok(Published { release, channel, statements, new: new + usize::from(moved) })
}

/// Puts everything but the channel. Archives go in the order of their names, one after the other: the
/// first to be there says whose seal all of them carry, so that two publishers never mix theirs.
async fn put(
    ask: &Publication,
    release: &Verified<Release>,
    papers: &Papers,
    signers: &[PublicKey],
    hear: Hear<'_>,
) -> Result<usize, UploadError> {
    Ok(upload::archives(&ask.store, release, papers, &ask.folder, hear).await?
        + upload::patches(&ask.store, release, &ask.folder, hear).await?
        + upload::statements(&ask.store, release, papers, signers).await?
        + upload::sums(&ask.store, release, papers, signers).await?
        + upload::release(&ask.store, release, papers).await?)
}

/// What goes into the store, in order. Other bytes under the same name are refused here.
async fn intended(ask: &Publication, release: &Release, papers: &Papers) -> Result<Vec<Object>, Error> {
    let published = {
        let key = Key::release(&release.project, &release.version);
        ask.store.size(&key).await?.is_some()
    };
    let mut objects = Vec::new();
    let archives = papers.archives.iter().map(|Whole { file, blob }| (file, *blob));
    let patches = release.patches.iter().map(|patch| (&patch.file, patch.blob()));
    for (file, blob) in archives.chain(patches) {
        let key = Key::file(&release.project, &release.version, file);
        let there = ask.store.has(&key, &blob).await.map_err(|error| match error {
            StoreError::Conflict { .. } if !published => Error::Leftover(release.version.clone(), error),
            error => error.into(),
        })?;
        objects.push(Object { key, size: blob.size, there });
    }
    for (name, bytes) in papers.files() {
        let key = Key::file(&release.project, &release.version, name);
        let there = ask.store.size(&key).await?.is_some();
        objects.push(Object { key, size: bytes.len() as u64, there });
    }
    Ok(objects)
}

/// The sealed release: the one in the store if this very content was published before, or one that an
/// interrupted publication sealed its archives with; else a new one.
async fn seal(
    ask: &Publication,
    publisher: &Publisher,
    draft: &Release,
    key: &SigningKey,
    hear: Hear<'_>,
) -> Result<(Verified<Release>, Papers), Error> {
    let (sealed, release) = match download::release(&publisher.store, &draft.project, &draft.version).await {
        Ok(sealed) => {
            let before = publisher.trusted.release(&sealed)?;
            if before.archives != draft.archives {
                return Err(Error::Published(draft.version.clone()));
            }
            same_patches(&before, draft)?;
            (sealed, before)
        }
        Err(StoreError::Missing { .. }) => match begun(publisher, draft).await? {
            Some(begun) => begun,
            None => sign::seal(draft, key)?,
        },
        Err(error) => return Err(error.into()),
    };
    let papers = papers(&release, sealed, &publisher.chain, key, &ask.folder, hear)?;
    Ok((release, papers))
}

/// Patches are signed with the archives: none can be added, and none left out.
fn same_patches(before: &Release, draft: &Release) -> Result<(), Error> {
    if before.patches == draft.patches {
        return Ok(());
    }
    let versions: BTreeSet<&Version> = before.patches.iter().map(|patch| &patch.from).collect();
    let versions: Vec<String> = versions.into_iter().map(Version::to_string).collect();
    Err(Error::OtherPatches { version: draft.version.clone(), from: versions })
}

/// The release that an archive in the store carries, if it is of this very content. Any other archive
/// is a conflict, which is found when this one is compared with it.
async fn begun(
    publisher: &Publisher,
    draft: &Release,
) -> Result<Option<(Sealed<Release>, Verified<Release>)>, Error> {
    for archive in &draft.archives {
        let found =
            download::carried(&publisher.store, &draft.project, &draft.version, &archive.file).await?;
        if let Some(sealed) = found
            && let Ok(release) = publisher.trusted.release(&sealed)
            && release.archives == draft.archives
        {
            same_patches(&release, draft)?;
            return Ok(Some((sealed, release)));
        }
    }
    Ok(None)
}

/// Fetches everything back the way somebody does who pinned the first key and has seen nothing yet, and checks
/// it, before anybody is pointed to it.
async fn rehearse(
    ask: &Publication,
    publisher: &Publisher,
    release: &Verified<Release>,
    papers: &Papers,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let store = ask.public.as_ref().unwrap_or(&publisher.store);
    // A folder of its own: nothing that is remembered here, or was just packed, may stand for what they get.
    let scratch = atomic::scratch(&ask.folder).map_err(|error| Error::Write(ask.folder.clone(), error))?;
    let pin = Trusted::pin(publisher.project.clone(), ask.pinned.clone());
    let memory = remember::of(scratch.path(), &publisher.project, &pin);
    let (trusted, _) = pointer::trusted(pin, &memory, store, &publisher.project).await?;
    let found = release_of(store, &publisher.project, &release.version, &trusted).await?;
    if found.sealed_digest() != release.sealed_digest() {
        return Err(Error::NotNamed(release.version.clone()));
    }
    // The archives that are read back carry this very release, so as whole files they are these.
    for whole in &papers.archives {
        let Some(archive) = found.archive_named(&whole.file) else {
            continue;
        };
        let key = Key::file(&found.project, &found.version, &archive.file);
        let places = [Location { store: store.clone(), key }];
        let supply = Supply::of(&places, scratch.path());
        let begun = Work::ReadBack.begin();
        let path = obtain::archive(&supply, &archive, None, hear).await?.path;
        statements::fetch(&places[0], &path, (&archive.image, whole), &trusted.signers()).await?;
        begun.end(&archive.file, hear);
        for one in found.patches_to(&archive) {
            let key = Key::file(&found.project, &found.version, &one.file);
            let place = Location { store: store.clone(), key };
            patch::rehearse(ask, publisher, &place, &one, &path, hear).await?;
        }
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

/// Moves the pointer, and tells whether it moved. One that points here already is only renewed when less than half of its life is
/// left.
async fn point(
    ask: &Publication,
    publisher: &Publisher,
    release: &Verified<Release>,
    before: Option<&Current>,
    key: &SigningKey,
) -> Result<(Verified<Channel>, bool), Error> {
    let half = time::after(ask.now, LIFETIME / 2);
    if let Some(current) = before.and_then(|current| current.channel.as_ref())
        && current.release == release.sealed_digest()
        && current.expires > half
    {
        return Ok((current.clone(), false));
    }
    let next = publisher.next(&ask.channel, before, release).await?;
    Ok((publisher.put(before, &next, key).await?, true))
}
