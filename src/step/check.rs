//! Checks an archive against its verified release: every byte, before anything is loaded.
//!
//! | threat | defence |
//! |---|---|
//! | another file, a changed byte | size and SHA-256 of the file |
//! | longer than announced, a bomb | never more bytes are read or unpacked than the release allows |
//! | a signer's tool that packs one thing and signs another | the tar must be, byte for byte, the one that follows from the signed image; layers and configuration by digest |
//! | a path that is swapped after the check | [`Checked`] keeps the open file, and loading reads from it |

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::progress::{Counted, Hear};
use crate::model::archive::{self, Content, END, padding};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{Blob, Image, ImageError};
use crate::model::name::TierName;
use crate::model::release::Archive;
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
    /// Shorter or longer than signed.
    #[error("archive `{file}` does not match its release: expected {expected} bytes, found {}", more(*.expected, *.found))]
    Size {
        /// Which archive.
        file: String,
        /// Bytes signed.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// Other bytes than signed.
    #[error("archive `{file}` does not match its release: expected {expected}, read {found}")]
    Digest {
        /// Which archive.
        file: String,
        /// Digest signed.
        expected: Digest,
        /// Digest found.
        found: Digest,
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
    /// Not a gzip stream, or one that ends early.
    #[error("the compressed stream cannot be read")]
    Stream(#[source] io::Error),
    /// A tar header that is not the expected one.
    #[error("the entry for `{0}` is not there")]
    Header(String),
    /// Content with another digest.
    #[error("`{0}` has other bytes")]
    Bytes(String),
    /// Bytes where there must be zeroes, or after the end.
    #[error("there are bytes after `{0}` that belong to nothing")]
    Trailing(String),
    /// A configuration that does not describe the layers.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// An archive of which every byte was checked. Only [`archive()`] makes one.
#[derive(Debug)]
pub struct Checked {
    file: File,
    archive: Verified<Archive>,
    tar: Blob,
}

impl Checked {
    /// What the release says of it.
    #[must_use]
    pub fn archive(&self) -> &Verified<Archive> {
        &self.archive
    }

    /// Gives up the open file.
    #[must_use]
    pub fn into_archive(self) -> Verified<Archive> {
        self.archive
    }

    /// Digest and size of the uncompressed tar.
    #[must_use]
    pub fn tar(&self) -> Blob {
        self.tar
    }

    /// The tar, from the very file that was checked.
    pub fn open_tar(&self) -> io::Result<impl Read + Send + use<>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file)))
    }
}

/// A download stops one byte after the size that was signed: how much more there is nobody knows.
fn more(expected: u64, found: u64) -> String {
    if found > expected { "more".to_owned() } else { found.to_string() }
}

const BUFFER: usize = 1 << 18;

/// Configurations are small; a larger one is refused, not allocated.
const MAX_CONFIG: u64 = 4 << 20;

/// Checks size, digest and content.
pub fn archive(mut file: File, archive: Verified<Archive>, hear: Hear<'_>) -> Result<Checked, CheckError> {
    let name = archive.file.clone();
    let io = |source| CheckError::Io { file: name.clone(), source };
    file.rewind().map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found != archive.size {
        return Err(CheckError::Size { file: name, expected: archive.size, found });
    }
    let counted = Counted::new(file.try_clone().map_err(io)?, archive.size, hear);
    let mut hashing = BufReader::with_capacity(BUFFER, Hashing { inner: counted, hasher: Hasher::default() });
    let content = walk(&archive.image, &mut hashing);
    // Whatever the walk found, the file's own digest decides which story the error tells.
    io::copy(&mut hashing, &mut io::sink()).map_err(io)?;
    let found = hashing.into_inner().hasher.finish();
    if found != archive.digest {
        return Err(CheckError::Digest { file: name, expected: archive.digest, found });
    }
    let tar = content.map_err(|source| CheckError::Content { file: name, source })?;
    Ok(Checked { file, archive, tar })
}

/// Describes an archive that is about to be signed, after checking that it holds this very image.
pub fn describe(path: &Path, tier: &TierName, image: Image, hear: Hear<'_>) -> Result<Archive, CheckError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let io = |source| CheckError::Io { file: name.clone(), source };
    let file = File::open(path).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    let hashing = Hashing { inner: Counted::new(file, total, hear), hasher: Hasher::default() };
    let mut hashing = BufReader::with_capacity(BUFFER, hashing);
    walk(&image, &mut hashing).map_err(|source| CheckError::Content { file: name.clone(), source })?;
    io::copy(&mut hashing, &mut io::sink()).map_err(io)?;
    let hasher = hashing.into_inner().hasher;
    let size = hasher.size();
    Ok(Archive { tier: tier.clone(), file: name, size, digest: hasher.finish(), image })
}

fn walk(image: &Image, compressed: &mut impl io::BufRead) -> Result<Blob, Mismatch> {
    let mut tar = Hashing { inner: MultiGzDecoder::new(compressed), hasher: Hasher::default() };
    let mut last = String::new();
    for entry in archive::entries(image) {
        let mut header = [0; archive::BLOCK];
        tar.read_exact(&mut header).map_err(Mismatch::Stream)?;
        if header != entry.header() {
            return Err(Mismatch::Header(entry.path));
        }
        match &entry.content {
            Content::Bytes(bytes) => {
                let found = read(&mut tar, bytes.len() as u64)?;
                if found != *bytes {
                    return Err(Mismatch::Bytes(entry.path));
                }
            }
            Content::Blob(blob) if *blob == image.config => {
                if blob.size > MAX_CONFIG {
                    return Err(Mismatch::Bytes(entry.path));
                }
                image.check(&read(&mut tar, blob.size)?)?;
            }
            Content::Blob(blob) => {
                let mut content = Hashing { inner: (&mut tar).take(blob.size), hasher: Hasher::default() };
                io::copy(&mut content, &mut io::sink()).map_err(Mismatch::Stream)?;
                if content.hasher.size() != blob.size || content.hasher.finish() != blob.digest {
                    return Err(Mismatch::Bytes(entry.path));
                }
            }
        }
        zeroes(&mut tar, padding(entry.size()), &entry.path)?;
        last = entry.path;
    }
    zeroes(&mut tar, END, &last)?;
    match tar.read(&mut [0]).map_err(Mismatch::Stream)? {
        0 => Ok(Blob { size: tar.hasher.size(), digest: tar.hasher.finish() }),
        _ => Err(Mismatch::Trailing(last)),
    }
}

fn read(tar: &mut impl Read, size: u64) -> Result<Vec<u8>, Mismatch> {
    let mut bytes = Vec::new();
    tar.take(size).read_to_end(&mut bytes).map_err(Mismatch::Stream)?;
    Ok(bytes)
}

fn zeroes(tar: &mut impl Read, count: usize, after: &str) -> Result<(), Mismatch> {
    let mut bytes = vec![0; count];
    tar.read_exact(&mut bytes).map_err(Mismatch::Stream)?;
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Mismatch::Trailing(after.to_owned())) }
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
