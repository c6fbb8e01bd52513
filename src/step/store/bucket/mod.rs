//! A store in a bucket of R2, S3 or a server that speaks like them.
//!
//! Only objects are asked for, never buckets: a key that may touch one prefix of one bucket is enough.
//! What never changes is put on the condition that nothing is there, and a pointer on the condition
//! that it is what was read. Some servers ignore conditions; [`Bucket::keeps_conditions`] finds out.

mod connect;
mod parts;
mod record;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::access::{Access, OpenError};
use super::fault::{Answer, Fault};
use super::reader::{Body, From, Got};
use super::span::Span;
use super::{Address, Key, Put, Reader, Source};
use crate::model::image::Blob;
use crate::step::atomic;
use crate::step::progress::{Event, Hear};
use crate::step::stream;

/// A bucket, and who we are there.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
    prefix: String,
    uploads: PathBuf,
}

/// The name of the metadata with the digest of an object.
const DIGEST: &str = "sha256";

/// What caches may do: anything with what never changes, nothing with a pointer.
const FOREVER: &str = "public, max-age=31536000, immutable";
const NEVER: &str = "no-cache";

impl Bucket {
    pub(super) fn open(address: &Address, access: &Access) -> Result<Self, OpenError> {
        let (name, prefix) = match address {
            Address::Bucket { bucket, prefix } => (bucket.clone(), prefix.clone()),
            _ => (String::new(), String::new()),
        };
        let client = connect::client(address, access)?;
        Ok(Self { client, name, prefix, uploads: access.uploads.clone() })
    }

    pub(super) fn address(&self) -> Address {
        Address::Bucket { bucket: self.name.clone(), prefix: self.prefix.clone() }
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Bytes of an object; with its validator, only if it still is the same one.
    pub(super) async fn get(&self, key: &Key, span: Span, same: Option<&str>) -> Result<Got, Fault> {
        let request = self.client.get_object().bucket(&self.name).key(self.key(key));
        let request = request.set_range(span.header()).set_if_match(same.map(str::to_owned));
        let object = request.send().await.map_err(|error| match Fault::from(error) {
            Fault::Conflict => Fault::Changed,
            fault => fault,
        })?;
        if same.is_some() && object.e_tag.as_deref() != same {
            return Err(Fault::Changed);
        }
        let length = object.content_length.and_then(|length| u64::try_from(length).ok());
        let extent = span.answered(object.content_range.as_deref(), length)?;
        Ok(Got { extent, etag: object.e_tag, body: Body::Bucket(object.body) })
    }

    /// The size of an object and the digest that it was put with; `None` when there is none.
    async fn head(&self, key: &Key) -> Result<Option<(u64, Option<String>)>, Fault> {
        match self.client.head_object().bucket(&self.name).key(self.key(key)).send().await {
            Ok(head) => {
                let size = head.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
                let digest = head.metadata.and_then(|mut metadata| metadata.remove(DIGEST));
                Ok(Some((size, digest)))
            }
            Err(error) => match Fault::from(error) {
                Fault::Missing => Ok(None),
                fault => Err(fault),
            },
        }
    }

    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, Fault> {
        Ok(self.head(key).await?.map(|(size, _)| size))
    }

    /// Whether an object is there with these bytes; `None` when none is there.
    pub(super) async fn compare(&self, key: &Key, expected: &Blob) -> Result<Option<Put>, Fault> {
        let same = match self.head(key).await? {
            None => return Ok(None),
            Some((size, _)) if size != expected.size => false,
            Some((_, Some(digest))) => digest == expected.digest.hex(),
            // Somebody else's tool put it there.
            Some((_, None)) => {
                let mut reader = Reader::open(From::Bucket(self.clone()), key, Span::From(0)).await?;
                let mut hashing = stream::Hashing::new(std::io::sink());
                while let Some(piece) = reader.next().await? {
                    std::io::Write::write_all(&mut hashing, &piece)?;
                }
                hashing.blob() == *expected
            }
        };
        if same { Ok(Some(Put::Same)) } else { Err(Fault::Conflict) }
    }

    pub(super) async fn put(
        &self,
        key: &Key,
        expected: &Blob,
        source: Source<'_>,
        hear: Hear<'_>,
    ) -> Result<Put, Fault> {
        if let Some(put) = self.compare(key, expected).await? {
            return Ok(put);
        }
        let put = match source {
            Source::File(path) if expected.size > parts::PART => {
                upload::upload(self, key, expected, path, hear).await
            }
            Source::File(path) => {
                let bytes = atomic::read_bounded(path, usize::try_from(parts::PART).unwrap_or(usize::MAX))?;
                self.put_whole(key, expected, &bytes).await
            }
            Source::Bytes(bytes) => self.put_whole(key, expected, bytes).await,
        };
        match put {
            Ok(()) => {
                hear(Event::Bytes { done: expected.size, total: expected.size });
                Ok(Put::New)
            }
            // Somebody was faster, or an answer was lost on its way to us.
            Err(Fault::Conflict) => self.compare(key, expected).await?.ok_or(Fault::Conflict),
            Err(fault) => Err(fault),
        }
    }

    async fn put_whole(&self, key: &Key, expected: &Blob, bytes: &[u8]) -> Result<(), Fault> {
        if Blob::of(bytes) != *expected {
            return Err(changed());
        }
        let request = self.request(key, bytes).cache_control(FOREVER).if_none_match("*");
        let done = request.metadata(DIGEST, expected.digest.hex()).send().await?;
        arrived(done.e_tag.as_deref(), &Md5::digest(bytes))
    }

    fn request(&self, key: &Key, bytes: &[u8]) -> PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.name)
            .key(self.key(key))
            .content_type(content_type(key.as_str()))
            .content_md5(STANDARD.encode(Md5::digest(bytes)))
            .body(ByteStream::from(bytes.to_vec()))
    }

    pub(super) async fn replace(&self, key: &Key, before: Option<&[u8]>, now: &[u8]) -> Result<(), Fault> {
        let (current, etag) = self.current(key).await?;
        if current.as_deref() != before {
            return Err(Fault::Conflict);
        }
        let request = self.request(key, now).cache_control(NEVER);
        let request = match etag {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        match request.send().await.map_err(Fault::from) {
            Ok(_) => Ok(()),
            // The answer to our own first try may have been lost.
            Err(Fault::Conflict) if self.current(key).await?.0.as_deref() == Some(now) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn current(&self, key: &Key) -> Result<(Option<Vec<u8>>, Option<String>), Fault> {
        match Reader::open(From::Bucket(self.clone()), key, Span::From(0)).await {
            Ok(mut reader) => {
                let etag = reader.etag().map(str::to_owned);
                Ok((Some(reader.to_end(super::MAX_POINTER).await?), etag))
            }
            Err(Fault::Missing) => Ok((None, None)),
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn remove(&self, key: &Key) -> Result<(), Fault> {
        self.client.delete_object().bucket(&self.name).key(self.key(key)).send().await?;
        Ok(())
    }

    /// What lies directly below a folder, sorted.
    pub(super) async fn names(&self, folder: &Key) -> Result<Vec<String>, Fault> {
        let folder = self.key(folder);
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(&folder).delimiter("/");
        let mut pages = request.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page?;
            let folders = page.common_prefixes().iter().filter_map(|below| below.prefix());
            let objects = page.contents().iter().filter_map(|object| object.key());
            let below = folders.chain(objects).filter_map(|name| name.strip_prefix(&folder));
            names.extend(below.map(|name| name.trim_end_matches('/').to_owned()));
        }
        names.sort();
        Ok(names)
    }

    /// Whether the server keeps conditions. A server that does answers the second time that something
    /// is already there; what was put stays, so that the next time costs one request.
    pub(super) async fn keeps_conditions(&self, key: &Key) -> Result<bool, Fault> {
        for first in [true, false] {
            match self.request(key, b"").if_none_match("*").send().await.map_err(Fault::from) {
                // R2 takes one write a second for a key, and refuses the next one for that.
                Ok(_) if first => tokio::time::sleep(Duration::from_millis(1100)).await,
                Ok(_) => {}
                Err(Fault::Conflict) => return Ok(true),
                Err(fault) => return Err(fault),
            }
        }
        Ok(false)
    }

    /// A link that anybody may read this one object with, for a while.
    pub(super) async fn link(&self, key: &Key, lifetime: Duration) -> Result<String, Fault> {
        let config = PresigningConfig::expires_in(lifetime)
            .map_err(|error| Fault::Io(std::io::Error::other(error)))?;
        let request = self.client.get_object().bucket(&self.name).key(self.key(key));
        Ok(request.presigned(config).await?.uri().to_owned())
    }
}

/// A server that says what it received says the MD5, unless it encrypts.
fn arrived(etag: Option<&str>, md5: &[u8]) -> Result<(), Fault> {
    match etag.map(|etag| etag.trim_matches('"')) {
        Some(etag) if etag.len() == 32 && etag != hex::encode(md5) => {
            let text = "it says that it received other bytes".to_owned();
            Err(Fault::Refused(Answer { status: 200, text }))
        }
        _ => Ok(()),
    }
}

fn changed() -> Fault {
    Fault::Io(std::io::Error::other("the file changed while it was published"))
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gz") => "application/gzip",
        Some("json") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}
