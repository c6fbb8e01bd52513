//! Reads an object piece by piece, wherever it is. A connection that breaks is taken up again where it
//! broke, as long as the object is the same one.

use std::fs::File;
use std::io::Read as _;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::bucket::Bucket;
use super::fault::Fault;
use super::span::{Extent, Span};
use super::web::{Web, pause};
use super::{Key, io};
use crate::step::stream::PIECE;

/// Bytes of an object that are being read.
pub struct Reader {
    from: From,
    key: Key,
    /// The next byte.
    at: u64,
    /// The one after the last, and the size of the object: what is left may be asked for again.
    end: u64,
    total: u64,
    etag: Option<String>,
    body: Body,
}

/// Who is asked.
pub(super) enum From {
    Directory,
    Web(Web),
    Bucket(Bucket),
}

impl From {
    /// Bytes of an object; with its validator, only if it still is the same one.
    async fn get(&self, key: &Key, span: Span, same: Option<&str>) -> Result<Got, Fault> {
        match self {
            // A file is open, and nothing of it is asked for again.
            Self::Directory => Err(Fault::Missing),
            Self::Web(web) => web.get(key, span, same).await,
            Self::Bucket(bucket) => bucket.get(key, span, same).await,
        }
    }
}

/// An answer whose beginning is known to be right.
pub(super) struct Got {
    pub(super) extent: Extent,
    pub(super) etag: Option<String>,
    pub(super) body: Body,
}

pub(super) enum Body {
    File(File),
    Web(reqwest::Response),
    Bucket(ByteStream),
}

/// Broken connections in a row that are taken up again; every piece that arrives forgives one.
const TRIES: u32 = 5;

impl Reader {
    pub(super) fn file(file: File, key: &Key, Extent { bytes, total }: Extent) -> Self {
        let (at, end, key) = (bytes.start, bytes.end, key.clone());
        Self { from: From::Directory, key, at, end, total, etag: None, body: Body::File(file) }
    }

    /// Bytes of an object on a server.
    pub(super) async fn open(from: From, key: &Key, span: Span) -> Result<Self, Fault> {
        let Got { extent: Extent { bytes, total }, etag, body } = from.get(key, span, None).await?;
        let (at, end, key) = (bytes.start, bytes.end, key.clone());
        Ok(Self { from, key, at, end, total, etag, body })
    }

    /// The size of the object.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut tries = 0;
        loop {
            let fault = match self.body.next(self.end - self.at).await {
                Ok(None) if self.end != u64::MAX && self.at < self.end => {
                    Fault::Unreachable("the connection ended before the object did".to_owned())
                }
                Ok(Some(piece)) if piece.len() as u64 > self.end - self.at => {
                    return Err(Fault::Unreachable("it sends more bytes than it announced".to_owned()));
                }
                Ok(piece) => {
                    self.at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(fault) => fault,
            };
            // Without a validator, the rest might be of another object.
            let Some(etag) = self.etag.as_deref().filter(|_| fault.may_pass() && tries < TRIES) else {
                return Err(fault);
            };
            tries += 1;
            pause(tries).await;
            let rest = match self.end {
                end if end == self.total => Span::From(self.at),
                end => Span::Part { start: self.at, end },
            };
            self.body = self.from.get(&self.key, rest, Some(etag)).await?.body;
        }
    }

    /// All of a small object; a larger one is an error, not an allocation.
    pub async fn to_end(&mut self, max: usize) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > max {
                let why = format!("larger than {max} bytes");
                return Err(Fault::Io(io::Error::new(io::ErrorKind::FileTooLarge, why)));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The validator of a small object that a condition can name.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }
}

impl Body {
    /// The next bytes; of a file, which goes on after a part of it, so many at most.
    async fn next(&mut self, most: u64) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::File(file) => {
                let mut piece = vec![0; PIECE.min(usize::try_from(most).unwrap_or(PIECE))];
                let read = file.read(&mut piece)?;
                piece.truncate(read);
                Ok((read > 0).then(|| piece.into()))
            }
            Self::Web(answer) => Ok(answer.chunk().await?),
            Self::Bucket(body) => body
                .next()
                .await
                .transpose()
                .map_err(|error| Fault::Unreachable(crate::step::http::root(&error))),
        }
    }
}
