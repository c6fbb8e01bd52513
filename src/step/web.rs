//! The client of registries and mirrors: the [`http`] client of this house with the CAs of a company
//! beside the system's, bounded answers, and only the bytes that were asked for.

mod zipped;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, LAST_MODIFIED};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest as _, Sha512};
use zip::result::ZipError;

use super::content::{ContentError, ContentStore};
use super::http::{self, ClientError, Purpose};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::lock::{Item, debian, golang, npm};
use crate::model::time::Timestamp;

/// A client with its connections.
#[derive(Debug, Clone)]
pub struct Web {
    client: Client,
    snapshot: String,
    go_proxy: String,
}

/// What is said about downloads beside the addresses.
#[derive(Debug, Clone)]
pub struct Downloads {
    /// CAs to believe beside the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The server that has every Debian package there ever was.
    pub snapshot: String,
    /// The servers that have Go's modules, as `GOPROXY` names them.
    pub go_proxy: String,
}

/// Why something did not come.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody answered, or not to the end.
    #[error("`{url}` does not answer")]
    Silent {
        /// What was asked.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The server has no such thing, or does not give it.
    #[error("`{url}` answers {status}")]
    Refused {
        /// What was asked.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// Longer than it may be.
    #[error("`{url}` sends more than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// How long it may be.
        limit: u64,
    },
    /// Other bytes than were asked for.
    #[error("`{url}` sends {found}, and {expected} was asked for")]
    Differs {
        /// What was asked.
        url: String,
        /// Which bytes were expected.
        expected: String,
        /// Which came.
        found: String,
    },
    /// A disk that takes no more.
    #[error("cannot write what is downloaded")]
    Write(#[source] io::Error),
    /// A zip that cannot be read.
    #[error("`{url}` sends no module")]
    Zip {
        /// What was asked.
        url: String,
        /// Why not.
        source: ZipError,
    },
    /// No place to put it.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Which bytes are accepted.
#[derive(Debug, Clone)]
pub enum Expected {
    /// Those with this SHA-256.
    Digest(Digest),
    /// Those with this SHA-512, as npm writes it: `sha512-<base64>`.
    Integrity(String),
    /// The `go.mod` with this hash of Go's.
    GoMod(String),
    /// The zip of a module with this hash of Go's, which is one of what is in it.
    Module(String),
}

impl Expected {
    /// The hash that is not SHA-256 of the file.
    #[must_use]
    pub fn integrity(&self) -> Option<&str> {
        match self {
            Self::Digest(_) => None,
            Self::Integrity(hash) | Self::GoMod(hash) | Self::Module(hash) => Some(hash),
        }
    }
}

/// Larger than any package of any registry that is named here.
const LONGEST: u64 = 4 << 30;

/// The answer about one version of one package.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Attempts, and how long to wait after each that failed.
const PAUSES: [u64; 2] = [1, 4];

impl Web {
    /// A client that also believes the CAs of a bundle, where one is given.
    pub fn new(downloads: &Downloads) -> Result<Self, WebError> {
        let client = http::client(Purpose::Reading, downloads.ca_bundle.as_deref())?;
        let snapshot = downloads.snapshot.trim_end_matches('/').to_owned();
        Ok(Self { client, snapshot, go_proxy: downloads.go_proxy.clone() })
    }

    /// The servers that have Go's modules, in order.
    pub fn go_proxies(&self) -> Result<Vec<String>, String> {
        golang::proxies(&self.go_proxy)
    }

    /// A page of text, and the address that it finally came from.
    pub async fn page(&self, url: &str, accept: &str, limit: u64) -> Result<(Url, String), WebError> {
        let mut answer = self.ask(url, Some(accept)).await?;
        let at = answer.url().clone();
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(silent(url))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                return Err(WebError::TooLong { url: url.to_owned(), limit });
            }
        }
        Ok((at, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes to a file what is at an address, whatever it is. Says when the server believes that it was
    /// changed last.
    pub async fn save(&self, url: &str, limit: u64, to: &mut File) -> Result<Option<Timestamp>, WebError> {
        let mut answer = self.ask(url, None).await?;
        let changed = answer.headers().get(LAST_MODIFIED).and_then(|value| value.to_str().ok());
        let changed = changed.and_then(|text| {
            Timestamp::strptime("%a, %d %b %Y %H:%M:%S GMT %z", format!("{text} +0000")).ok()
        });
        let mut size = 0;
        while let Some(piece) = answer.chunk().await.map_err(silent(url))? {
            size += piece.len() as u64;
            if size > limit {
                return Err(WebError::TooLong { url: url.to_owned(), limit });
            }
            to.write_all(&piece).map_err(WebError::Write)?;
        }
        Ok(changed)
    }

    /// Downloads a file into the content store. Other bytes than the expected never get there.
    pub async fn download(
        &self,
        url: &str,
        expected: &Expected,
        store: &ContentStore,
    ) -> Result<Blob, WebError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match (self.attempt(url, expected, store).await, pauses.next()) {
                (Err(WebError::Silent { .. }), Some(pause)) => {
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                (Err(WebError::Refused { status, .. }), Some(pause)) if status.is_server_error() => {
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                (outcome, _) => return outcome,
            }
        }
    }

    /// Downloads a file as it was pinned. Mirrors drop a Debian package when a newer one comes; the
    /// archive that drops none is asked then. What it answers need not be believed: the digest decides.
    pub async fn pinned(&self, item: &Item, store: &ContentStore) -> Result<Blob, WebError> {
        let expected = Expected::Digest(item.digest);
        match self.download(&item.url, &expected, store).await {
            Err(gone @ WebError::Refused { .. }) => match self.archived(item).await {
                Some(url) => self.download(&url, &expected, store).await.map_err(|_| gone),
                None => Err(gone),
            },
            outcome => outcome,
        }
    }

    /// Where the archive of all packages has this one.
    async fn archived(&self, item: &Item) -> Option<String> {
        let question = format!("{}{}", self.snapshot, debian::archive_question(item)?);
        let (_, answer) = self.page(&question, "application/json", LONGEST_ANSWER).await.ok()?;
        Some(format!("{}{}", self.snapshot, debian::archive_path(item, &answer)?))
    }

    async fn attempt(&self, url: &str, expected: &Expected, store: &ContentStore) -> Result<Blob, WebError> {
        let mut answer = self.ask(url, None).await?;
        let mut incoming = store.incoming()?;
        let mut sha512 = Sha512::new();
        let limit = if let Expected::Module(_) = expected { zipped::LONGEST } else { LONGEST };
        while let Some(piece) = answer.chunk().await.map_err(silent(url))? {
            if let Expected::Integrity(_) = expected {
                sha512.update(&piece);
            }
            incoming.write(&piece)?;
            if incoming.size() > limit {
                return Err(WebError::TooLong { url: url.to_owned(), limit });
            }
        }
        let (expected, found) = match expected {
            Expected::Digest(digest) => (digest.to_string(), incoming.digest().to_string()),
            Expected::Integrity(integrity) => (integrity.clone(), npm::integrity(&sha512.finalize())),
            Expected::GoMod(hash) => {
                (hash.clone(), golang::hash(vec![("go.mod".to_owned(), incoming.digest())]))
            }
            Expected::Module(hash) => {
                let files = zipped::files(incoming.file()?);
                let files = files.map_err(|source| WebError::Zip { url: url.to_owned(), source })?;
                (hash.clone(), golang::hash(files))
            }
        };
        if expected != found {
            return Err(WebError::Differs { url: url.to_owned(), expected, found });
        }
        Ok(incoming.keep(None)?)
    }

    async fn ask(&self, url: &str, accept: Option<&str>) -> Result<Response, WebError> {
        let mut request = self.client.get(url);
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        let answer = request.send().await.map_err(silent(url))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(WebError::Refused { url: url.to_owned(), status }),
        }
    }
}

/// The error without the address, which ours says already.
fn silent(url: &str) -> impl FnOnce(reqwest::Error) -> WebError {
    let url = url.to_owned();
    move |error| WebError::Silent { url, source: error.without_url() }
}
