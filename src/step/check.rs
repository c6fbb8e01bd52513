//! Checks an archive against its verified release: every byte, before anything is loaded.
//!
//! | threat | defence |
//! |---|---|
//! | another file, a changed byte | the release names the index, the index names every member, both by SHA-256; what follows them is computed from the sealed release and compared |
//! | longer than announced, a bomb | no member unpacks to more than the index says, nothing but members is unpacked |
//! | a signer's tool that packs one thing and signs another | the tar must be, byte for byte, the one that follows from the signed image; layers and configuration by digest |
//! | a layer that is compressed once more, a bomb for the engine | engines unpack what looks compressed; such layers are refused |
//! | a path that is swapped after the check | [`Checked`] keeps the open file, loading reads from it and hashes every member again |

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::members::{self, MemberError, Part, TailError};
use super::progress::{Event, Hear};
use super::stream;
use crate::model::archive::index::Index;
use crate::model::archive::tail::Tail;
use crate::model::archive::{self, Content, Entry, padding};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{self, Blob, Image, ImageError};
use crate::model::name::TierName;
use crate::model::release::Archive;
use crate::model::report::Tally;
use crate::model::seal::Verified;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The disk.
    #[error("cannot read archive `{file}`")]
    Io {
        /// Which archive.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The end of the file, where an archive says what is in it.
    #[error("`{file}` is not a whole archive")]
    Tail {
        /// Which archive.
        file: String,
        /// What is wrong with it.
        source: TailError,
    },
    /// Shorter or longer than signed.
    #[error(
        "archive `{file}` does not match its release: expected {expected} bytes before the seal, found {found}"
    )]
    Size {
        /// Which archive.
        file: String,
        /// Bytes signed.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// Another index than signed.
    #[error("archive `{file}` does not match its release: expected index {expected}, read {found}")]
    Digest {
        /// Which archive.
        file: String,
        /// Digest signed.
        expected: Digest,
        /// Digest found.
        found: Digest,
    },
    /// Sealed with something else than its release.
    #[error("archive `{file}` does not carry the seal of its release")]
    Seal {
        /// Which archive.
        file: String,
    },
    /// The signed bytes do not hold the signed image.
    #[error("archive `{file}` does not hold the image that it should")]
    Content {
        /// Which archive.
        file: String,
        /// Where it differs.
        source: Mismatch,
    },
}

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

/// An archive of which every byte was checked. Only [`archive()`] makes one.
#[derive(Debug)]
pub struct Checked {
    file: Arc<File>,
    archive: Verified<Archive>,
    index: Arc<Index>,
}

impl Checked {
    /// What the release says of it.
    #[must_use]
    pub fn archive(&self) -> &Verified<Archive> {
        &self.archive
    }

    /// How much was looked at.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            members: self.index.members().len(),
            layers: self.archive.image.unique_layers().len(),
            bytes: self.index.plain_size(),
        }
    }

    /// Gives up the open file.
    #[must_use]
    pub fn into_archive(self) -> Verified<Archive> {
        self.archive
    }

    /// The very file that was checked, from its beginning.
    #[must_use]
    pub fn open_file(&self) -> impl io::Read + use<> {
        Whole { file: Arc::clone(&self.file), at: 0 }
    }

    /// What engines need of the tar, but for some layers, from the very file that was checked. Each member
    /// is hashed again before a byte of it is handed on.
    #[must_use]
    pub fn open_tar(&self, without: &[Digest]) -> impl io::Read + Send + use<> {
        let mut parts: VecDeque<Range<u64>> = VecDeque::new();
        let mut at = 0;
        for entry in archive::entries(&self.archive.image) {
            let end = at + entry.span();
            let left_out = matches!(&entry.content, Content::Blob(blob) if without.contains(&blob.digest));
            match parts.back_mut() {
                _ if left_out => {}
                Some(last) if last.end == at => last.end = end,
                _ => parts.push_back(at..end),
            }
            at = end;
        }
        let (file, index) = (Arc::clone(&self.file), Arc::clone(&self.index));
        let tar = Tar { file, index, parts, open: None };
        tar.chain(io::repeat(0).take(archive::END as u64))
    }
}

/// Parts of a tar, one after the other.
struct Tar {
    file: Arc<File>,
    index: Arc<Index>,
    parts: VecDeque<Range<u64>>,
    open: Option<Part>,
}

impl io::Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(part) = &mut self.open {
                match part.read(buffer)? {
                    0 if !buffer.is_empty() => self.open = None,
                    read => return Ok(read),
                }
            }
            let Some(part) = self.parts.pop_front() else { return Ok(0) };
            self.open = Some(Part::read(&self.file, &self.index, &part, members::threads()));
        }
    }
}

/// A file, read from its beginning whoever else reads it.
struct Whole {
    file: Arc<File>,
    at: u64,
}

impl io::Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Configurations are small; a larger one is refused, not allocated.
const MAX_CONFIG: u64 = 4 << 20;

/// Checks size, digests, seal and content.
pub fn archive(file: File, archive: Verified<Archive>, hear: Hear<'_>) -> Result<Checked, CheckError> {
    let name = archive.file.clone();
    let tail = members::tail(&file).map_err(|source| CheckError::Tail { file: name.clone(), source })?;
    let (expected, found) = (archive.size, tail.footer.body);
    if expected != found {
        return Err(CheckError::Size { file: name, expected, found });
    }
    if tail.index_blob != archive.index {
        let (expected, found) = (archive.index.digest, tail.index_blob.digest);
        return Err(CheckError::Digest { file: name, expected, found });
    }
    if tail.sealed.as_deref().map(Digest::of) != Some(archive.sealed_digest()) {
        return Err(CheckError::Seal { file: name });
    }
    let (file, index) = (Arc::new(file), Arc::new(tail.index));
    walk(&file, &index, &archive.image, hear).map_err(|source| CheckError::Content { file: name, source })?;
    Ok(Checked { file, archive, index })
}

/// Describes an archive on this machine for a new release. It must hold this image.
pub fn describe(path: &Path, tier: &TierName, image: Image, hear: Hear<'_>) -> Result<Archive, CheckError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let io = |source| CheckError::Io { file: name.clone(), source };
    let file = Arc::new(File::open(path).map_err(io)?);
    let Tail { footer, index_blob, index, .. } =
        members::tail(&file).map_err(|source| CheckError::Tail { file: name.clone(), source })?;
    walk(&file, &Arc::new(index), &image, hear)
        .map_err(|source| CheckError::Content { file: name.clone(), source })?;
    let body = digest(&file, footer.body).map_err(io)?;
    Ok(Archive {
        tier: tier.clone(),
        file: name,
        size: body.size,
        digest: body.digest,
        index: index_blob,
        image,
    })
}

/// Digest of the beginning of a file.
fn digest(mut file: &File, size: u64) -> io::Result<Blob> {
    io::Seek::rewind(&mut file)?;
    stream::measure(&mut file.take(size))
}

/// Reads every member, and compares the tar with the one that follows from the image.
fn walk(file: &Arc<File>, index: &Arc<Index>, image: &Image, hear: Hear<'_>) -> Result<(), Mismatch> {
    if index.image() != image {
        return Err(Mismatch::Index);
    }
    let total = index.plain_size();
    let mut tar = Part::read(file, index, &(0..total), members::threads());
    let mut done = 0;
    for entry in index.entries() {
        hear(Event::Bytes { done, total });
        compare(&entry, image, &mut tar, &mut |more| hear(Event::Bytes { done: done + more, total }))?;
        done += entry.span();
    }
    hear(Event::Bytes { done: total, total });
    Ok(())
}

fn compare(entry: &Entry, image: &Image, tar: &mut Part, tell: &mut dyn FnMut(u64)) -> Result<(), Mismatch> {
    let mut header = [0; archive::BLOCK];
    tar.read_exact(&mut header)?;
    if header != entry.header() {
        return Err(Mismatch::Header(entry.path.clone()));
    }
    let other = || Err(Mismatch::Bytes(entry.path.clone()));
    match &entry.content {
        Content::Bytes(bytes) => {
            if read(tar, bytes.len() as u64)? != *bytes {
                return other();
            }
        }
        Content::Blob(blob) if *blob == image.config => {
            if blob.size > MAX_CONFIG {
                return other();
            }
            image.check(&read(tar, blob.size)?)?;
        }
        Content::Blob(blob) => {
            let start = read(tar, blob.size.min(image::LONGEST_MAGIC))?;
            if image::is_packed(&start) {
                return Err(Mismatch::Packed(entry.path.clone()));
            }
            if hash(&start, tar, blob.size, tell)? != blob.digest {
                return other();
            }
        }
    }
    let padding = read(tar, padding(entry.size()) as u64)?;
    if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Mismatch::Trailing(entry.path.clone())) }
}

/// Digest of so many bytes, the first of which were read already.
fn hash(start: &[u8], tar: &mut Part, size: u64, tell: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.update(start);
    while hasher.size() < size {
        let piece = tar.fill_buf()?;
        let length = piece.len().min(usize::try_from(size - hasher.size()).unwrap_or(usize::MAX));
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&piece[..length]);
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
