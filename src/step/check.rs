//! Checks an archive against its verified release: every byte, before anything is loaded, or while an engine gets it.
//!
//! | threat | defence |
//! |---|---|
//! | another file, a changed byte | the release names the index, the index names every member, both by SHA-256; what follows them is computed from the sealed release and compared |
//! | longer than announced, a bomb | no member unpacks to more than the index says, nothing but members is unpacked |
//! | a signer's tool that packs one thing and signs another | the tar must be, byte for byte, the one that follows from the signed image; layers and configuration by digest |
//! | a layer that is compressed once more, a bomb for the engine | engines unpack what looks compressed; such layers are refused |
//! | a path that is swapped after the check | [`Checked`] keeps the open file, loading reads from it and hashes every member again |
//! | an engine that gets bytes before all of them are checked | a [`Feed`] gets a piece after its member was hashed, and the end, without which there is no image, after everything was right |

mod walk;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::feed::Feed;
use super::members::{self, Part, TailError};
use super::progress::Hear;
use super::stream;
use crate::model::archive;
use crate::model::archive::index::Index;
use crate::model::archive::tail::Tail;
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::name::TierName;
use crate::model::release::Archive;
use crate::model::report::Tally;
use crate::model::seal::Verified;
pub use walk::Mismatch;
use walk::{is_one_of, walk};

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
            match parts.back_mut() {
                _ if is_one_of(&entry, without) => {}
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

/// Checks size, digests, seal and content. Whoever is to load it gets it meanwhile, in a runtime that has a thread to spare.
pub fn archive(
    file: File,
    archive: Verified<Archive>,
    feed: Option<Feed>,
    hear: Hear<'_>,
) -> Result<Checked, CheckError> {
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
    let walked = match feed {
        // Whoever reads what it gives may be another task of this very thread.
        Some(feed) => tokio::task::block_in_place(|| walk(&file, &index, &archive.image, Some(feed), hear)),
        None => walk(&file, &index, &archive.image, None, hear),
    };
    walked.map_err(|source| CheckError::Content { file: name, source })?;
    Ok(Checked { file, archive, index })
}

/// Describes an archive on this machine for a new release. It must hold this image.
pub fn describe(path: &Path, tier: &TierName, image: Image, hear: Hear<'_>) -> Result<Archive, CheckError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let io = |source| CheckError::Io { file: name.clone(), source };
    let file = Arc::new(File::open(path).map_err(io)?);
    let Tail { footer, index_blob, index, .. } =
        members::tail(&file).map_err(|source| CheckError::Tail { file: name.clone(), source })?;
    walk(&file, &Arc::new(index), &image, None, hear)
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
