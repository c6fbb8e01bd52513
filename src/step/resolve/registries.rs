//! Packages of registries. Their lock files say which, and how their bytes must be; what is left is
//! where they are and, for npm, their SHA-256.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{ResolveError, Resolver};
use crate::model::image::Blob;
use crate::model::lock::{Item, Pin, cargo, golang, npm, pip, pnpm};
use crate::model::name::Platform;
use crate::model::recipe::parse::Finding;
use crate::step::progress::Event;
use crate::step::web::{Expected, WebError};

/// A lock file that cannot be pinned, or anything else.
pub(super) enum Failure {
    Lock(String),
    Other(ResolveError),
}

impl Failure {
    pub(super) fn at(self, place: impl FnOnce(String) -> Finding) -> ResolveError {
        match self {
            Self::Lock(reason) => place(reason).into(),
            Self::Other(error) => error,
        }
    }
}

impl<E: Into<ResolveError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Downloads at the same time.
const TOGETHER: usize = 8;

/// A page that lists every file of a package; those of old packages are long.
const LONGEST_PAGE: u64 = 64 << 20;

/// A file that a lock file names.
struct Sought {
    name: String,
    version: String,
    url: String,
    /// Asked one after the other where there is no such file.
    elsewhere: Vec<String>,
    expected: Expected,
}

impl Sought {
    fn at(url: String, name: String, version: String, expected: Expected) -> Self {
        Self { name, version, url, elsewhere: Vec::new(), expected }
    }

    /// The address to pin, where a file was pinned before: the old one, as long as it is still asked.
    fn address(&self, before: &Item) -> &String {
        self.elsewhere.iter().find(|url| **url == before.url).unwrap_or(&self.url)
    }
}

impl Resolver<'_> {
    pub(super) async fn npm(&self, lock: &[u8], platform: &Platform) -> Result<Vec<Item>, Failure> {
        self.node(npm::needed(lock, platform).map_err(Failure::Lock)?).await
    }

    pub(super) async fn pnpm(&self, lock: &[u8], platform: &Platform) -> Result<Vec<Item>, Failure> {
        self.node(pnpm::needed(lock, platform).map_err(Failure::Lock)?).await
    }

    async fn node(&self, needed: Vec<npm::Needed>) -> Result<Vec<Item>, Failure> {
        let sought = needed.into_iter().map(|npm::Needed { name, version, url, integrity }| {
            Sought::at(url, name, version, Expected::Integrity(integrity))
        });
        Ok(self.fetch(sought.collect()).await?)
    }

    pub(super) async fn cargo(&self, lock: &[u8]) -> Result<Vec<Item>, Failure> {
        let needed = cargo::needed(lock).map_err(Failure::Lock)?;
        let sought = needed
            .into_iter()
            .map(|one| Sought::at(one.url(), one.name, one.version, Expected::Digest(one.digest)));
        Ok(self.fetch(sought.collect()).await?)
    }

    pub(super) async fn golang(&self, sums: &[u8]) -> Result<Vec<Item>, Failure> {
        let needed = golang::needed(sums).map_err(Failure::Lock)?;
        let proxies = self.web.go_proxies().map_err(Failure::Lock)?;
        let sought = needed.into_iter().map(|one| {
            let mut urls = proxies.iter().map(|proxy| one.url(proxy));
            let (url, elsewhere) = (urls.next().unwrap_or_default(), urls.collect());
            let kind = if one.only_go_mod() { Expected::GoMod } else { Expected::Module };
            Sought { elsewhere, ..Sought::at(url, one.module, one.version, kind(one.integrity)) }
        });
        Ok(self.fetch(sought.collect()).await?)
    }

    pub(super) async fn pip(
        &self,
        lock: &[u8],
        platform: &Platform,
        before: &[&Pin],
    ) -> Result<Vec<Item>, Failure> {
        let requirements = pip::requirements(lock).map_err(Failure::Lock)?;
        let installed: Vec<(&str, &str)> = before
            .iter()
            .flat_map(|pin| pin.files.iter().map(|item| (item.name.as_str(), item.version.as_str())))
            .collect();
        let python = pip::python(&installed);
        let pages = requirements.packages.iter().map(|package| {
            let url = format!("{}/{}/", requirements.index, package.name);
            async move { Ok::<_, Failure>((package, self.web.page(&url, "text/html", LONGEST_PAGE).await)) }
        });
        let mut pages = stream::iter(pages).buffered(TOGETHER);
        let mut sought = Vec::new();
        while let Some((package, page)) = pages.try_next().await? {
            let name = || package.name.clone();
            let (at, page) = page.map_err(|source| ResolveError::Web { name: name(), source })?;
            let before = sought.len();
            for (href, digest) in pip::links(&page) {
                let Ok(url) = at.join(&href) else { continue };
                let file = url.path().rsplit('/').next().unwrap_or_default();
                if package.digests.contains(&digest) && pip::fits(file, platform, python) {
                    let (url, version) = (url.to_string(), package.version.clone());
                    sought.push(Sought::at(url, name(), version, Expected::Digest(digest)));
                }
            }
            if sought.len() == before && !package.conditional {
                let python =
                    python.map_or_else(|| "any Python".to_owned(), |minor| format!("Python 3.{minor}"));
                return Err(Failure::Lock(format!(
                    "the index has no wheel of `{} {}` for {python} on {platform} with one of the hashes",
                    package.name, package.version
                )));
            }
        }
        Ok(self.fetch(sought).await?)
    }

    /// Takes files into the store; downloads those that are not there.
    async fn fetch(&self, sought: Vec<Sought>) -> Result<Vec<Item>, ResolveError> {
        let total = sought.len() as u64;
        let files = sought.into_iter().map(|one| async move {
            let integrity = one.expected.integrity().map(str::to_owned);
            let known = integrity.as_ref().and_then(|integrity| self.known.get(integrity));
            let (url, Blob { digest, size }) = match self.have(&one, known)? {
                Some(here) => here,
                None => self.download(&one).await?,
            };
            let Sought { name, version, .. } = one;
            Ok::<_, ResolveError>(Item { name, version, size, digest, integrity, url })
        });
        let mut files = stream::iter(files).buffer_unordered(TOGETHER);
        let mut items = Vec::new();
        while let Some(item) = files.try_next().await? {
            items.push(item);
            (self.hear)(Event::Bytes { done: items.len() as u64, total });
        }
        items.sort();
        Ok(items)
    }

    /// A file that the store has. `known` was pinned before.
    fn have(&self, one: &Sought, known: Option<&Item>) -> Result<Option<(String, Blob)>, ResolveError> {
        let (digest, url) = match (&one.expected, known) {
            (Expected::Digest(digest), _) => (*digest, &one.url),
            (_, Some(item)) => (item.digest, one.address(item)),
            _ => return Ok(None),
        };
        let size = self.store.checked(&digest)?;
        Ok(size.map(|size| (url.clone(), Blob { digest, size })))
    }

    /// Downloads a file, and says where it was.
    async fn download(&self, one: &Sought) -> Result<(String, Blob), ResolveError> {
        let mut from = &one.url;
        let mut outcome = self.web.download(from, &one.expected, self.store).await;
        for url in &one.elsewhere {
            let Err(WebError::Refused { .. }) = outcome else { break };
            from = url;
            outcome = self.web.download(from, &one.expected, self.store).await;
        }
        let name = || format!("{} {}", one.name, one.version);
        Ok((from.clone(), outcome.map_err(|source| ResolveError::Web { name: name(), source })?))
    }

    /// Takes pinned files into the store.
    pub(super) async fn take(&self, items: impl Iterator<Item = &Item>) -> Result<(), ResolveError> {
        let files = items.map(|item| async move {
            if self.store.checked(&item.digest)? == Some(item.size) {
                return Ok(());
            }
            let outcome = self.web.pinned(item, self.store).await;
            outcome.map(drop).map_err(|source| ResolveError::Web { name: item.to_string(), source })
        });
        stream::iter(files).buffer_unordered(TOGETHER).try_collect().await
    }
}
