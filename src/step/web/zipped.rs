//! The files in a zip that somebody else sends, by digest. Nothing is unpacked to the disk.

use std::fs::File;
use std::io::{BufReader, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::step::stream;

/// The longest zip of a module, and the most that may be in it: Go's own limit.
pub(super) const LONGEST: u64 = 500 << 20;

/// Name and digest of every file.
pub(super) fn files(zip: &File) -> Result<Vec<(String, Digest)>, ZipError> {
    let mut zip = ZipArchive::new(BufReader::new(zip))?;
    let mut left = LONGEST;
    (0..zip.len())
        .map(|at| {
            let mut entry = zip.by_index(at)?;
            let name = entry.name()?.into_owned();
            // What an entry says about its size is not asked.
            let Blob { digest, size } = stream::measure(&mut entry.by_ref().take(left + 1))?;
            let rest = left.checked_sub(size);
            left = rest.ok_or(ZipError::InvalidArchive("it holds more than 500 MiB".into()))?;
            Ok((name, digest))
        })
        .collect()
}
