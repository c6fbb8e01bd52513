//! Finds the files that a step would download today, and takes them into the content store.
//!
//! [`apt`] has the machine's own apt decide and check signatures, [`registries`] asks npm's, Python's,
//! Rust's and Go's registries for the very files that the step's lock file names.

mod apt;
mod registries;

use std::collections::BTreeMap;

use super::content::{ContentError, ContentStore};
use super::debs::DebError;
use super::progress::{Event, Hear};
use super::web::{Web, WebError};
use crate::model::digest::Digest;
use crate::model::lock::want::{Want, What};
use crate::model::lock::{Item, Lock, Pin};
use crate::model::name::Platform;
use crate::model::recipe::parse::Finding;

pub use apt::AptError;

/// Why a step's files are not known.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The step, or the lock file that it names.
    #[error(transparent)]
    Finding(#[from] Finding),
    /// apt.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A package file.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A file that does not come.
    #[error("cannot pin `{name}`")]
    Web {
        /// The package.
        name: String,
        /// Why.
        source: WebError,
    },
    /// The store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// What resolving works with. Package lists are fetched once.
pub struct Resolver<'a> {
    web: &'a Web,
    store: &'a ContentStore,
    hear: Hear<'a>,
    lists: BTreeMap<String, apt::Lists>,
    controls: BTreeMap<Digest, String>,
    /// Files pinned before, by npm's or Go's digest: they do not tell the SHA-256.
    known: BTreeMap<String, Item>,
}

impl<'a> Resolver<'a> {
    /// `before` is the lock as it was.
    #[must_use]
    pub fn new(web: &'a Web, store: &'a ContentStore, before: &Lock, hear: Hear<'a>) -> Self {
        let files = before.pins.values().flat_map(|pin| &pin.files);
        let known = files.filter_map(|item| Some((item.integrity.clone()?, item.clone()))).collect();
        Self { web, store, hear, lists: BTreeMap::new(), controls: BTreeMap::new(), known }
    }

    /// Answers one question. `before` are the answers that it builds on.
    pub async fn pin(
        &mut self,
        want: &Want,
        platform: &Platform,
        before: &[&Pin],
    ) -> Result<Pin, ResolveError> {
        (self.hear)(Event::Doing(&format!("resolving {}", want.step)));
        let wrong = |reason: String| Finding::at(&want.place, reason);
        let files = match &want.what {
            What::Debian(debian) => self.base(debian, platform).await?,
            What::Apt { packages, suite } => self.packages(packages, suite, platform, before).await?,
            What::Npm(lock) => self.npm(lock, platform).await.map_err(|error| error.at(wrong))?,
            What::Pnpm(lock) => self.pnpm(lock, platform).await.map_err(|error| error.at(wrong))?,
            What::Pip(lock) => self.pip(lock, platform, before).await.map_err(|error| error.at(wrong))?,
            What::Cargo(lock) => self.cargo(lock).await.map_err(|error| error.at(wrong))?,
            What::Go(sums) => self.golang(sums).await.map_err(|error| error.at(wrong))?,
            What::Never(reason) => return Err(wrong(reason.clone()).into()),
        };
        Ok(Pin { step: want.step.clone(), platform: platform.clone(), of: want.of, files })
    }
}
