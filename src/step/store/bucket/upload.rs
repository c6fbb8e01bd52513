//! Uploads a large object in parts, a few at a time, and goes on where a killed run stopped.
//!
//! Every part travels with its MD5, and the server's answer is compared with it; the whole file is
//! hashed on the way, so that nothing but the archive that the release names is ever completed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use md5::{Digest as _, Md5};

use super::parts::{IN_FLIGHT, part_size, parts};
use super::record::{Place, Record, What, modified};
use super::{Bucket, DIGEST, FOREVER, arrived, changed, content_type};
use crate::model::digest::Hasher;
use crate::model::image::Blob;
use crate::step::atomic;
use crate::step::progress::{Event, Hear};
use crate::step::store::Key;
use crate::step::store::fault::Fault;

/// A part as the server has it: its bytes, and the MD5 in hex.
type Listed = BTreeMap<i32, (u64, String)>;

/// Uploads a file under a key that has no object.
pub(super) async fn upload(
    bucket: &Bucket,
    key: &Key,
    expected: &Blob,
    path: &Path,
    hear: Hear<'_>,
) -> Result<(), Fault> {
    let mut file = atomic::open_file(path)?;
    let what = What {
        object: format!("{}/{}", bucket.name, bucket.key(key)),
        part: part_size(expected.size),
        size: expected.size,
        modified: modified(&file)?,
        digest: expected.digest,
    };
    let place = Place::lock(&bucket.uploads, &what.object)?;
    let (session, listed) = match resumed(bucket, key, &place, &what).await? {
        Some(found) => found,
        None => (begin(bucket, key, expected, &place, &what).await?, Listed::new()),
    };
    let done = match session.send(&mut file, &what, &listed, hear).await {
        Ok(parts) => session.complete(parts).await,
        Err(fault) => Err(fault),
    };
    match done {
        // The next run goes on with what arrived.
        Err(fault) if fault.may_pass() => Err(fault),
        Ok(()) => {
            place.clear();
            Ok(())
        }
        Err(fault) => {
            // Nobody should pay for parts that no run will use.
            session.abort().await;
            place.clear();
            Err(fault)
        }
    }
}

/// The upload that was written down, if it is of this very file and the server still knows it.
async fn resumed(
    bucket: &Bucket,
    key: &Key,
    place: &Place,
    what: &What,
) -> Result<Option<(Session, Listed)>, Fault> {
    let Some(record) = place.read() else {
        return Ok(None);
    };
    let session = Session { bucket: bucket.clone(), key: bucket.key(key), id: record.upload };
    if record.what != *what {
        session.abort().await;
        return Ok(None);
    }
    match session.listed().await {
        Ok(listed) => Ok(Some((session, listed))),
        Err(Fault::Missing) => Ok(None),
        // A key that may not list, or a server that lists in a way of its own: it would do so for ever.
        Err(Fault::Denied(_) | Fault::Refused(_)) => {
            session.abort().await;
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

async fn begin(
    bucket: &Bucket,
    key: &Key,
    expected: &Blob,
    place: &Place,
    what: &What,
) -> Result<Session, Fault> {
    let request = bucket.client.create_multipart_upload().bucket(&bucket.name).key(bucket.key(key));
    let request = request.content_type(content_type(key.as_str())).cache_control(FOREVER);
    let begun = request.metadata(DIGEST, expected.digest.hex()).send().await?;
    let id = begun.upload_id.unwrap_or_default();
    place.write(&Record { upload: id.clone(), what: what.clone() })?;
    Ok(Session { bucket: bucket.clone(), key: bucket.key(key), id })
}

/// An upload in progress.
struct Session {
    bucket: Bucket,
    key: String,
    id: String,
}

impl Session {
    /// The parts that the server has.
    async fn listed(&self) -> Result<Listed, Fault> {
        let Bucket { client, name, .. } = &self.bucket;
        let request = client.list_parts().bucket(name).key(&self.key).upload_id(&self.id);
        let mut pages = request.into_paginator().send();
        let mut listed = Listed::new();
        while let Some(page) = pages.next().await {
            for part in page?.parts() {
                let (Some(number), Some(size), Some(etag)) = (part.part_number, part.size, part.e_tag())
                else {
                    continue;
                };
                let size = u64::try_from(size).unwrap_or(0);
                listed.insert(number, (size, etag.trim_matches('"').to_owned()));
            }
        }
        Ok(listed)
    }

    /// Sends the parts that the server does not have.
    async fn send(
        &self,
        file: &mut File,
        what: &What,
        listed: &Listed,
        hear: Hear<'_>,
    ) -> Result<Vec<CompletedPart>, Fault> {
        let total = what.size;
        let (mut done, mut hasher) = (0, Hasher::default());
        let (mut complete, mut flying) = (Vec::new(), FuturesUnordered::new());
        hear(Event::Bytes { done, total });
        for (number, size) in parts(what.size, what.part) {
            let bytes = piece(file, size)?;
            hasher.update(&bytes);
            let md5 = Md5::digest(&bytes);
            if let Some((there, etag)) = listed.get(&number)
                && (*there, etag.as_str()) == (size, hex::encode(md5).as_str())
            {
                complete.push(part(number, Some(etag.clone())));
                done += size;
                hear(Event::Bytes { done, total });
                continue;
            }
            if flying.len() == IN_FLIGHT
                && let Some(landed) = flying.next().await
            {
                let (landed, size): (CompletedPart, u64) = landed?;
                complete.push(landed);
                done += size;
                hear(Event::Bytes { done, total });
            }
            flying.push(self.send_part(number, bytes, md5.into()));
        }
        while let Some(landed) = flying.next().await {
            let (landed, size) = landed?;
            complete.push(landed);
            done += size;
            hear(Event::Bytes { done, total });
        }
        if hasher.finish() != what.digest {
            return Err(changed());
        }
        complete.sort_by_key(CompletedPart::part_number);
        Ok(complete)
    }

    /// The S3 client tries a part several times, with full jitter between.
    async fn send_part(
        &self,
        number: i32,
        bytes: Bytes,
        md5: [u8; 16],
    ) -> Result<(CompletedPart, u64), Fault> {
        let Bucket { client, name, .. } = &self.bucket;
        let request = client.upload_part().bucket(name).key(&self.key).upload_id(&self.id);
        let size = bytes.len() as u64;
        let sent = request
            .part_number(number)
            .content_md5(STANDARD.encode(md5))
            .body(ByteStream::from(bytes))
            .send()
            .await;
        let sent = sent.map_err(|error| match Fault::from(error) {
            // Expired or aborted meanwhile: the next run begins anew.
            Fault::Missing => Fault::Unreachable("the server forgot the upload".to_owned()),
            fault => fault,
        })?;
        arrived(sent.e_tag.as_deref(), &md5)?;
        Ok((part(number, sent.e_tag), size))
    }

    /// Makes the object of its parts, unless there is one by now. R2 aborts an upload whose condition
    /// fails, so that this is never tried again.
    async fn complete(&self, parts: Vec<CompletedPart>) -> Result<(), Fault> {
        let Bucket { client, name, .. } = &self.bucket;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = client.complete_multipart_upload().bucket(name).key(&self.key).upload_id(&self.id);
        match request.multipart_upload(parts).if_none_match("*").send().await.map_err(Fault::from) {
            Ok(_) => Ok(()),
            // Completed, and the answer was lost: whoever asked compares what is there.
            Err(Fault::Missing) => Err(Fault::Conflict),
            Err(fault) => Err(fault),
        }
    }

    async fn abort(&self) {
        let Bucket { client, name, .. } = &self.bucket;
        let request = client.abort_multipart_upload().bucket(name).key(&self.key).upload_id(&self.id);
        // What it leaves if this fails too, the server removes after a week.
        let _ = request.send().await;
    }
}

fn part(number: i32, etag: Option<String>) -> CompletedPart {
    CompletedPart::builder().part_number(number).set_e_tag(etag).build()
}

fn piece(file: &mut File, size: u64) -> Result<Bytes, Fault> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(changed()),
        Err(error) => Err(error.into()),
    }
}
