//! Reads an object piece by piece, wherever it is. A connection that breaks is taken up again where it
//! broke, as long as the object is the same one.

use std::fs::File;
use std::io::Read as _;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::bucket::Bucket;
use super::fault::Fault;
use super::web::{self, Web, pause};
use super::{Key, io};
use crate::step::stream::PIECE;

/// An object that is being read.
pub struct Reader {
    from: From,
    key: Key,
    /// Bytes that were read.
    at: u64,
    etag: Option<String>,
    body: Body,
}

#[derive(Clone)]
enum From {
    Directory,
    Web(Web),
    Bucket(Bucket),
}

enum Body {
    File(File),
    Web(reqwest::Response),
    Bucket(ByteStream),
}

/// Broken connections in a row that are taken up again; every piece that arrives forgives one.
const TRIES: u32 = 5;

impl Reader {
    pub(super) fn file(file: File, key: &Key) -> Self {
        Self { from: From::Directory, key: key.clone(), at: 0, etag: None, body: Body::File(file) }
    }

    pub(super) async fn web(web: &Web, key: &Key) -> Result<Self, Fault> {
        let answer = web.get(key, 0, None).await?;
        let (key, etag) = (key.clone(), web::etag(&answer));
        Ok(Self { from: From::Web(web.clone()), key, at: 0, etag, body: Body::Web(answer) })
    }

    pub(super) async fn bucket(bucket: &Bucket, key: &Key) -> Result<Self, Fault> {
        let (body, etag) = bucket.get(key, 0, None).await?;
        let key = key.clone();
        Ok(Self { from: From::Bucket(bucket.clone()), key, at: 0, etag, body: Body::Bucket(body) })
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut tries = 0;
        loop {
            let fault = match self.body.next().await {
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
            match &self.from {
                From::Directory => return Err(fault),
                From::Web(web) => self.body = Body::Web(web.get(&self.key, self.at, Some(etag)).await?),
                From::Bucket(bucket) => {
                    self.body = Body::Bucket(bucket.get(&self.key, self.at, Some(etag)).await?.0);
                }
            }
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
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::File(file) => {
                let mut piece = vec![0; PIECE];
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
