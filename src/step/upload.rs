//! Puts a release into a store, and moves the pointer to it.
//!
//! The order is what makes a release appear all at once: archives and sums, which nothing names yet; the
//! release document; and the channel last, because nobody looks before it points there.
//! Everything but the channel never changes, so a killed publication is run again and finds what it
//! did before.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::progress::{Event, Hear, Work};
use super::store::{Key, Put, Source, Store, StoreError};
use super::stream;
use crate::model::attestation::Statement;
use crate::model::channel::Channel;
use crate::model::image::Blob;
use crate::model::key::PublicKey;
use crate::model::name::ProjectName;
use crate::model::release::{self, Release, Whole};
use crate::model::seal::{MAX_ATTESTATION, MAX_BYTES, Sealed, Verified};
use crate::model::sums;
use crate::model::trust::{self, Step};

/// Why a release is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file to publish.
    #[error("cannot read `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The small files of a release, as they are shipped.
pub struct Papers {
    /// The sealed release.
    pub release: Sealed<Release>,
    /// The archives with that release at their end.
    pub archives: Vec<Whole>,
    /// What is stated of each archive, and the bundle that says so.
    pub statements: Vec<(Statement, Vec<u8>)>,
    /// `SHA256SUMS`.
    pub sums: String,
    /// Its detached signature.
    pub signature: String,
    /// The project's trust documents so far, all in one, for those who verify offline; often empty.
    pub trust: Vec<u8>,
}

impl Papers {
    /// Each file with its name, in the order in which they are published.
    #[must_use]
    pub fn files(&self) -> Vec<(&str, &[u8])> {
        let statements = self.statements.iter();
        let mut files: Vec<(&str, &[u8])> =
            statements.map(|(statement, bundle)| (statement.file.as_str(), bundle.as_slice())).collect();
        files.push((sums::FILE_NAME, self.sums.as_bytes()));
        if !self.trust.is_empty() {
            files.push((trust::FILE_NAME, &self.trust));
        }
        files.push((sums::SIGNATURE_NAME, self.signature.as_bytes()));
        files.push((release::FILE_NAME, self.release.bytes()));
        files
    }
}

/// Puts the archives of a release, found in `folder`; tells how many were not there before.
pub async fn archives(
    store: &Store,
    release: &Verified<Release>,
    papers: &Papers,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<usize, UploadError> {
    let mut new = 0;
    for Whole { file, blob } in &papers.archives {
        let begun = Work::Upload.begin();
        new += large(store, release, &folder.join(file), (file, blob), hear).await?;
        begun.end(file, hear);
    }
    Ok(new)
}

/// Puts the patches of a release, found in `folder`; tells how many were not there before.
pub async fn patches(
    store: &Store,
    release: &Verified<Release>,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<usize, UploadError> {
    let mut new = 0;
    for patch in &release.patches {
        let (file, blob) = (&patch.file, patch.blob());
        new += large(store, release, &folder.join(file), (file, &blob), hear).await?;
    }
    Ok(new)
}

async fn large(
    store: &Store,
    release: &Release,
    path: &Path,
    (file, blob): (&str, &Blob),
    hear: Hear<'_>,
) -> Result<usize, UploadError> {
    hear(Event::Doing(&format!("publishing `{file}`")));
    let key = Key::file(&release.project, &release.version, file);
    self::file(store, &key, (path, blob), hear).await
}

/// What a file is that is to be put.
pub fn measure(path: &Path) -> Result<Blob, UploadError> {
    let measure = || stream::measure(&mut File::open(path)?);
    measure().map_err(|error| UploadError::Io(path.to_owned(), error))
}

/// Puts a file as it is; tells whether it was not there before.
pub async fn file(
    store: &Store,
    key: &Key,
    (path, blob): (&Path, &Blob),
    hear: Hear<'_>,
) -> Result<usize, UploadError> {
    Ok(usize::from(store.put(key, blob, Source::File(path), hear).await? == Put::New))
}

/// Puts the release document: from here on there is a release.
pub async fn release(store: &Store, release: &Release, papers: &Papers) -> Result<usize, UploadError> {
    small(store, &Key::release(&release.project, &release.version), papers.release.bytes()).await
}

/// Puts what is stated of the archives.
pub async fn statements(
    store: &Store,
    release: &Release,
    papers: &Papers,
    keys: &[PublicKey],
) -> Result<usize, UploadError> {
    let mut new = 0;
    for (statement, bundle) in &papers.statements {
        let key = Key::file(&release.project, &release.version, &statement.file);
        let is_good = |found: &[u8]| statement.check(found, keys).is_ok();
        new += signed(store, &key, bundle, MAX_ATTESTATION, &is_good).await?;
    }
    Ok(new)
}

/// Puts `SHA256SUMS`, its signature, and the trust documents.
pub async fn sums(
    store: &Store,
    release: &Release,
    papers: &Papers,
    keys: &[PublicKey],
) -> Result<usize, UploadError> {
    let place = |name| Key::file(&release.project, &release.version, name);
    let mut new = small(store, &place(sums::FILE_NAME), papers.sums.as_bytes()).await?;
    // A later run may know of more rotations; what is there was right when the release was made.
    let chain = place(trust::FILE_NAME);
    if !papers.trust.is_empty() && store.size(&chain).await?.is_none() {
        new += small(store, &chain, &papers.trust).await?;
    }
    let is_good = |found: &[u8]| keys.iter().any(|key| sums::is_signed(&papers.sums, found, key));
    new +=
        signed(store, &place(sums::SIGNATURE_NAME), papers.signature.as_bytes(), MAX_BYTES, &is_good).await?;
    Ok(new)
}

/// Puts something signed. ECDSA never signs the same way twice: what an interrupted run left there, or
/// another publisher has just put there, counts if it is good.
async fn signed(
    store: &Store,
    key: &Key,
    bytes: &[u8],
    most: usize,
    is_good: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<usize, UploadError> {
    let is_there = async || store.get(key, most).await.is_ok_and(|found| is_good(&found));
    if is_there().await {
        return Ok(0);
    }
    match small(store, key, bytes).await {
        Err(UploadError::Store(StoreError::Conflict { .. })) if is_there().await => Ok(0),
        other => other,
    }
}

async fn small(store: &Store, key: &Key, bytes: &[u8]) -> Result<usize, UploadError> {
    let put = store.put(key, &Blob::of(bytes), Source::Bytes(bytes), &|_| {}).await?;
    Ok(usize::from(put == Put::New))
}

/// Writes the small files of a release beside its archives.
pub fn beside(folder: &Path, papers: &Papers) -> Result<(), UploadError> {
    for (name, bytes) in papers.files() {
        let path = folder.join(name);
        atomic::write(&path, bytes, 0o644).map_err(|error| UploadError::Io(path, error))?;
    }
    Ok(())
}

/// Puts a trust document, which never changes.
pub async fn step(
    store: &Store,
    project: &ProjectName,
    version: u64,
    step: &Step,
) -> Result<(), UploadError> {
    let bytes = step.bytes();
    store.put(&Key::trust(project, version), &Blob::of(&bytes), Source::Bytes(&bytes), &|_| {}).await?;
    Ok(())
}

/// Moves the pointer, if it still is what was read before.
pub async fn channel(
    store: &Store,
    channel: &Verified<Channel>,
    sealed: &Sealed<Channel>,
    before: Option<&Sealed<Channel>>,
) -> Result<(), UploadError> {
    let key = Key::channel(&channel.project, &channel.channel);
    Ok(store.replace(&key, before.map(Sealed::bytes), sealed.bytes()).await?)
}
