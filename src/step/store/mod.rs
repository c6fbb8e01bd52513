//! Where releases live. A closed set of kinds behind one set of calls.
//!
//! ```text
//! <project>/trust/<n>.jsonl                           never changed
//! <project>/channels/<channel>.sigstore.json        small, replaced, written last
//! <project>/releases/<version>/release.sigstore.json  never changed
//! <project>/releases/<version>/<archive>.tar.gz       never changed
//! <project>/releases/<version>/SHA256SUMS, .sig        never changed
//! ```

mod access;
mod address;
mod bucket;
mod directory;
mod fault;
mod key;
mod reader;
mod span;
mod web;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use access::{Access, Credentials, OpenError};
pub use address::{Address, BadAddress};
pub use bucket::Bucket;
pub use fault::{Answer, Fault};
pub use key::Key;
use reader::From;
pub use reader::Reader;
pub use web::Web;
pub(super) use web::pause;

use crate::model::image::Blob;
use crate::model::name::{ChannelName, ProjectName, Version};
use crate::step::http::{self, Purpose};
use crate::step::progress::Hear;
use span::Span;
use web::Kind;

/// A place for releases.
#[derive(Debug, Clone)]
pub enum Store {
    /// A folder.
    Directory(PathBuf),
    /// A bucket.
    Bucket(Bucket),
    /// A web server, for reading.
    Web(Web),
}

/// What is put into a store.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A small object.
    Bytes(&'a [u8]),
    /// A file, which is read in pieces.
    File(&'a Path),
}

/// What putting an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was not there before.
    New,
    /// It was there, with these bytes.
    Same,
}

/// Whether a store keeps the conditions that writes are made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// Two publishers cannot overwrite each other.
    Kept,
    /// The server answers "done" and overwrites: what is there is looked at before, which is not the same.
    Ignored,
}

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("store `{store}` has no `{key}`")]
    Missing {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
    },
    /// It was there with other bytes, and may not change.
    #[error("store `{store}` already has another `{key}`")]
    Conflict {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
    },
    /// It was replaced while it was read.
    #[error("store `{store}` has another `{key}` now than when reading it began")]
    Changed {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
    },
    /// Not allowed.
    #[error("store `{store}` denies access to `{key}`")]
    Denied {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
        /// What the server said.
        source: Answer,
    },
    /// The network, or a server in trouble.
    #[error("store `{store}` cannot be reached for `{key}`")]
    Unreachable {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
        /// Why.
        source: io::Error,
    },
    /// An answer that asking again will not change.
    #[error("store `{store}` refuses the request for `{key}`")]
    Refused {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
        /// What the server said.
        source: Answer,
    },
    /// A web server takes nothing.
    #[error("store `{0}` is for reading only")]
    ReadOnly(Address),
    /// Only an object store gives links.
    #[error("store `{0}` cannot make links that expire")]
    NoLinks(Address),
    /// The disk.
    #[error("store `{store}`: cannot access `{key}`")]
    Io {
        /// Which store.
        store: Address,
        /// Which object.
        key: Key,
        /// Why.
        source: io::Error,
    },
}

/// A pointer is a thousand bytes; what is larger is none.
const MAX_POINTER: usize = 1 << 20;

impl Store {
    /// Makes a store of its address. Nothing is asked of it yet.
    pub fn open(address: &Address, access: &Access) -> Result<Self, OpenError> {
        Ok(match address {
            Address::Directory(folder) => Self::Directory(folder.clone()),
            Address::Bucket { .. } => Self::Bucket(Bucket::open(address, access)?),
            Address::Web(url) => {
                let client = http::client(Purpose::Reading, access.ca_bundle.as_deref())?;
                Self::Web(Web { client, url: url.clone(), kind: Kind::Folder })
            }
        })
    }

    /// The one object behind a link that somebody sent.
    pub fn link_to(url: &str, access: &Access) -> Result<Self, OpenError> {
        let parsed = reqwest::Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        if parsed.is_none_or(|url| !url.has_host()) {
            return Err(OpenError::Link);
        }
        let client = http::client(Purpose::Reading, access.ca_bundle.as_deref())?;
        Ok(Self::Web(Web { client, url: url.to_owned(), kind: Kind::Object }))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Directory(folder) => Address::Directory(folder.clone()),
            Self::Bucket(bucket) => bucket.address(),
            // What follows the question mark may be a signature that lets anybody in.
            Self::Web(web) => Address::Web(web.url.split(['?', '#']).next().unwrap_or_default().to_owned()),
        }
    }

    /// A small object.
    pub async fn get(&self, key: &Key, max: usize) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.read(key).await?;
        reader.to_end(max).await.map_err(|fault| self.error(key, fault))
    }

    /// An object, for reading from its start.
    pub async fn read(&self, key: &Key) -> Result<Reader, StoreError> {
        self.span(key, Span::From(0)).await
    }

    /// Some bytes of an object.
    pub async fn part(&self, key: &Key, part: Range<u64>) -> Result<Reader, StoreError> {
        self.span(key, Span::Part { start: part.start, end: part.end }).await
    }

    /// The last bytes of an object, all of it if it has fewer, and its size.
    pub async fn end(&self, key: &Key, count: u64) -> Result<(Vec<u8>, u64), StoreError> {
        let mut reader = self.span(key, Span::Last(count)).await?;
        let total = reader.total();
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        Ok((reader.to_end(most).await.map_err(|fault| self.error(key, fault))?, total))
    }

    async fn span(&self, key: &Key, span: Span) -> Result<Reader, StoreError> {
        let reader = match self {
            Self::Directory(root) => directory::open(root, key, span),
            Self::Bucket(bucket) => Reader::open(From::Bucket(bucket.clone()), key, span).await,
            Self::Web(web) => Reader::open(From::Web(web.clone()), key, span).await,
        };
        reader.map_err(|fault| self.error(key, fault))
    }

    /// The size of an object; `None` when there is none.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let size = match self {
            Self::Directory(root) => directory::size(root, key),
            Self::Bucket(bucket) => bucket.size(key).await,
            Self::Web(web) => web.size(key).await,
        };
        size.map_err(|fault| self.error(key, fault))
    }

    /// Whether an object is there with these bytes; with others it is a conflict.
    pub async fn has(&self, key: &Key, expected: &Blob) -> Result<bool, StoreError> {
        let there = match self {
            Self::Directory(root) => directory::compare(root, key, expected),
            Self::Bucket(bucket) => bucket.compare(key, expected).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        there.map(|put| put.is_some()).map_err(|fault| self.error(key, fault))
    }

    /// Puts an object that will never change. The same bytes are no conflict, so a publication
    /// that was killed can be run again.
    pub async fn put(
        &self,
        key: &Key,
        expected: &Blob,
        source: Source<'_>,
        hear: Hear<'_>,
    ) -> Result<Put, StoreError> {
        let put = match self {
            Self::Directory(root) => directory::put(root, key, expected, source, hear),
            Self::Bucket(bucket) => bucket.put(key, expected, source, hear).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        put.map_err(|fault| self.error(key, fault))
    }

    /// Replaces a small object, if it still is what the caller read.
    pub async fn replace(&self, key: &Key, before: Option<&[u8]>, now: &[u8]) -> Result<(), StoreError> {
        let replaced = match self {
            Self::Directory(root) => directory::replace(root, key, before, now),
            Self::Bucket(bucket) => bucket.replace(key, before, now).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        replaced.map_err(|fault| self.error(key, fault))
    }

    /// Removes an object; none is no error.
    pub async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let removed = match self {
            Self::Directory(root) => directory::remove(root, key),
            Self::Bucket(bucket) => bucket.remove(key).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        removed.map_err(|fault| self.error(key, fault))
    }

    /// The channels of a project. Only who publishes asks: a reader knows which one it follows.
    pub async fn channels(&self, project: &ProjectName) -> Result<Vec<ChannelName>, StoreError> {
        let names = self.names(&Key::channels(project)).await?;
        Ok(names.iter().filter_map(|name| Key::channel_of(name)).collect())
    }

    /// The versions of a project that have any object, the oldest first.
    pub async fn versions(&self, project: &ProjectName) -> Result<Vec<Version>, StoreError> {
        let names = self.names(&Key::releases(project)).await?;
        let mut versions: Vec<Version> = names.iter().filter_map(|name| name.parse().ok()).collect();
        versions.sort();
        Ok(versions)
    }

    /// The files of a release, whether anything names them or not.
    pub async fn files(&self, project: &ProjectName, version: &Version) -> Result<Vec<String>, StoreError> {
        self.names(&Key::file(project, version, "")).await
    }

    /// What lies directly below a folder, sorted; nothing when there is no such folder.
    async fn names(&self, folder: &Key) -> Result<Vec<String>, StoreError> {
        let names = match self {
            Self::Directory(root) => directory::names(root, folder),
            Self::Bucket(bucket) => bucket.names(folder).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        names.map_err(|fault| self.error(folder, fault))
    }

    /// Whether the store keeps conditions. Asked once for a publication; writes a tiny object.
    pub async fn conditions(&self, project: &ProjectName) -> Result<Conditions, StoreError> {
        let key = Key::probe(project);
        let kept = match self {
            Self::Directory(_) => Ok(true),
            Self::Bucket(bucket) => bucket.keeps_conditions(&key).await,
            Self::Web(_) => Err(Fault::ReadOnly),
        };
        let kept = kept.map_err(|fault| self.error(&key, fault))?;
        Ok(if kept { Conditions::Kept } else { Conditions::Ignored })
    }

    /// A link that anybody may read one object with, for a while.
    pub async fn link(&self, key: &Key, lifetime: Duration) -> Result<String, StoreError> {
        match self {
            Self::Bucket(bucket) => bucket.link(key, lifetime).await.map_err(|fault| self.error(key, fault)),
            Self::Directory(_) | Self::Web(_) => Err(StoreError::NoLinks(self.address())),
        }
    }

    /// What went wrong, and where.
    pub(super) fn error(&self, key: &Key, fault: Fault) -> StoreError {
        let (store, key) = (self.address(), key.clone());
        match fault {
            Fault::Missing => StoreError::Missing { store, key },
            Fault::Conflict => StoreError::Conflict { store, key },
            Fault::Changed => StoreError::Changed { store, key },
            Fault::Denied(source) => StoreError::Denied { store, key, source },
            Fault::Unreachable(why) => StoreError::Unreachable { store, key, source: io::Error::other(why) },
            Fault::Refused(source) => StoreError::Refused { store, key, source },
            Fault::Io(source) => StoreError::Io { store, key, source },
            Fault::ReadOnly => StoreError::ReadOnly(store),
        }
    }
}
