//! Puts a release into a store, and moves the pointer to it.
//!
//! The order is what makes a release appear all at once: the release document, which claims the
//! version, archives, sums, and the channel last, because nobody looks before it points there.
//! Everything but the channel never changes, so a killed publication is run again and finds what it
//! did before.

use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::progress::{Event, Hear};
use super::store::{Key, Source, Store, StoreError};
use crate::model::channel::Channel;
use crate::model::image::Blob;
use crate::model::key::PublicKey;
use crate::model::name::ProjectName;
use crate::model::release::{self, Release, Whole};
use crate::model::seal::{MAX_BYTES, Sealed, Verified};
use crate::model::sums;
use crate::model::trust::{self, MAX_CHAIN, Step};

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
    /// `SHA256SUMS`.
    pub sums: String,
    /// Its detached signature.
    pub signature: String,
    /// The project's trust documents so far, all in one, for those who verify offline; often empty.
    pub trust: Vec<u8>,
}

impl Papers {
    /// Each file with its name.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        let mut files = vec![
            (release::FILE_NAME, self.release.bytes()),
            (sums::FILE_NAME, self.sums.as_bytes()),
            (sums::SIGNATURE_NAME, self.signature.as_bytes()),
        ];
        if !self.trust.is_empty() {
            files.push((trust::FILE_NAME, &self.trust));
        }
        files
    }
}

/// Puts the archives of a release, found in `folder`.
pub async fn archives(
    store: &Store,
    release: &Verified<Release>,
    papers: &Papers,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<(), UploadError> {
    for Whole { file: name, blob } in &papers.archives {
        let path = folder.join(name);
        hear(Event::Doing(&format!("publishing `{name}`")));
        let key = Key::file(&release.project, &release.version, name);
        store.put(&key, blob, Source::File(&path), hear).await?;
    }
    Ok(())
}

/// Puts the release document: from here on the version is taken.
pub async fn release(store: &Store, release: &Release, papers: &Papers) -> Result<(), UploadError> {
    let (key, bytes) = (Key::release(&release.project, &release.version), papers.release.bytes());
    store.put(&key, &Blob::of(bytes), Source::Bytes(bytes), &|_| {}).await?;
    Ok(())
}

/// Puts `SHA256SUMS`, its signature, and the trust documents.
pub async fn sums(
    store: &Store,
    release: &Release,
    papers: &Papers,
    key: &PublicKey,
) -> Result<(), UploadError> {
    let place = |name| Key::file(&release.project, &release.version, name);
    let (sums, signature) = (papers.sums.as_bytes(), papers.signature.as_bytes());
    store.put(&place(sums::FILE_NAME), &Blob::of(sums), Source::Bytes(sums), &|_| {}).await?;
    // A later run may know of more rotations; what is there was right when the release was made.
    let chain = place(trust::FILE_NAME);
    if !papers.trust.is_empty() && store.get(&chain, MAX_CHAIN).await.is_err() {
        store.put(&chain, &Blob::of(&papers.trust), Source::Bytes(&papers.trust), &|_| {}).await?;
    }
    // ECDSA never signs the same way twice: after an interrupted run, the signature that is there
    // counts if it is good.
    let there = store.get(&place(sums::SIGNATURE_NAME), MAX_BYTES).await;
    if !there.is_ok_and(|found| sums::is_signed(&papers.sums, &found, key)) {
        let blob = Blob::of(signature);
        store.put(&place(sums::SIGNATURE_NAME), &blob, Source::Bytes(signature), &|_| {}).await?;
    }
    Ok(())
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
