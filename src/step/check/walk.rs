//! The way through an archive: every entry that must be there, in its place, and nothing else.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

use crate::model::archive::index::Index;
use crate::model::archive::{self, Content, Entry, padding};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{self, Image, ImageError};
use crate::step::feed::Feed;
use crate::step::members::{self, MemberError, Part};
use crate::step::progress::{Event, Hear};

/// Where an archive differs from the tar that follows from its image.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// A member that is not the one of the index.
    #[error(transparent)]
    Member(MemberError),
    /// Anything else that stops reading.
    #[error("the members cannot be read")]
    Stream(#[source] io::Error),
    /// An index that describes something else.
    #[error("the index is of another image")]
    Index,
    /// A tar header that is not the expected one.
    #[error("the entry for `{0}` is not there")]
    Header(String),
    /// Content with another digest.
    #[error("`{0}` has other bytes")]
    Bytes(String),
    /// A layer that engines unpack by themselves, before they compare it with anything.
    #[error("layer `{0}` is compressed, so engines would see other bytes than were signed")]
    Packed(String),
    /// Bytes where there must be zeroes.
    #[error("there are bytes after `{0}` that belong to nothing")]
    Trailing(String),
    /// A configuration that does not describe the layers.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl From<io::Error> for Mismatch {
    fn from(error: io::Error) -> Self {
        match error.downcast::<MemberError>() {
            Ok(error) => Self::Member(error),
            Err(error) => Self::Stream(error),
        }
    }
}

/// Configurations are small; a larger one is refused, not allocated.
const MAX_CONFIG: u64 = 4 << 20;

/// Reads every member, and compares the tar with the one that follows from the image. An engine gets what it needs as it is
/// compared, and the end, without which there is no image, after all of it was.
pub(super) fn walk(
    file: &Arc<File>,
    index: &Arc<Index>,
    image: &Image,
    mut feed: Option<Feed>,
    hear: Hear<'_>,
) -> Result<(), Mismatch> {
    if index.image() != image {
        return Err(Mismatch::Index);
    }
    let (read_by_engines, total) = (archive::entries(image).len(), index.plain_size());
    let mut tar = Part::read(file, index, &(0..total), members::threads());
    let mut done = 0;
    for (number, entry) in index.entries().into_iter().enumerate() {
        hear(Event::Bytes { done, total });
        let tell = &mut |more| hear(Event::Bytes { done: done + more, total });
        match &mut feed {
            Some(feed) if number < read_by_engines && !is_one_of(&entry, feed.without()) => {
                compare(&entry, image, &mut tar, &mut |part| feed.give(part), tell)?;
            }
            _ => compare(&entry, image, &mut tar, &mut |_| {}, tell)?,
        }
        done += entry.span();
    }
    hear(Event::Bytes { done: total, total });
    if let Some(mut feed) = feed {
        feed.give(&[0; archive::END]);
        feed.finish();
    }
    Ok(())
}

/// Whether an entry is one of these blobs.
pub(super) fn is_one_of(entry: &Entry, blobs: &[Digest]) -> bool {
    matches!(&entry.content, Content::Blob(blob) if blobs.contains(&blob.digest))
}

fn compare(
    entry: &Entry,
    image: &Image,
    tar: &mut Part,
    give: &mut dyn FnMut(&[u8]),
    tell: &mut dyn FnMut(u64),
) -> Result<(), Mismatch> {
    let mut header = [0; archive::BLOCK];
    tar.read_exact(&mut header)?;
    if header != entry.header() {
        return Err(Mismatch::Header(entry.path.clone()));
    }
    give(&header);
    let other = || Err(Mismatch::Bytes(entry.path.clone()));
    match &entry.content {
        Content::Bytes(bytes) => {
            if read(tar, bytes.len() as u64)? != *bytes {
                return other();
            }
            give(bytes);
        }
        Content::Blob(blob) if *blob == image.config => {
            if blob.size > MAX_CONFIG {
                return other();
            }
            let config = read(tar, blob.size)?;
            image.check(&config)?;
            give(&config);
        }
        Content::Blob(blob) => {
            let start = read(tar, blob.size.min(image::LONGEST_MAGIC))?;
            if image::is_packed(&start) {
                return Err(Mismatch::Packed(entry.path.clone()));
            }
            if hash(&start, tar, blob.size, give, tell)? != blob.digest {
                return other();
            }
        }
    }
    let padding = read(tar, padding(entry.size()) as u64)?;
    if !padding.iter().all(|byte| *byte == 0) {
        return Err(Mismatch::Trailing(entry.path.clone()));
    }
    give(&padding);
    Ok(())
}

/// Digest of so many bytes, the first of which were read already.
fn hash(
    start: &[u8],
    tar: &mut Part,
    size: u64,
    give: &mut dyn FnMut(&[u8]),
    tell: &mut dyn FnMut(u64),
) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.update(start);
    give(start);
    while hasher.size() < size {
        let piece = tar.fill_buf()?;
        let length = piece.len().min(usize::try_from(size - hasher.size()).unwrap_or(usize::MAX));
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&piece[..length]);
        give(&piece[..length]);
        tar.consume(length);
        tell(hasher.size());
    }
    Ok(hasher.finish())
}

fn read(tar: &mut Part, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tar.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}
