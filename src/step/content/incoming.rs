//! A blob that comes piece by piece, and has no name until all of it is here.

use std::fs::File;
use std::io::{Seek as _, Write as _};

use super::{ContentError, ContentStore};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::Blob;
use crate::step::atomic::Draft;

impl ContentStore {
    /// Begins a blob that comes in pieces.
    pub fn incoming(&self) -> Result<Incoming, ContentError> {
        let draft = Draft::beside(&self.path(&Digest::of(b""))).map_err(|error| self.io(error))?;
        Ok(Incoming { store: self.clone(), draft, hasher: Hasher::default() })
    }
}

/// A blob on its way in.
pub struct Incoming {
    store: ContentStore,
    draft: Draft,
    hasher: Hasher,
}

impl Incoming {
    /// How much is here.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    /// The digest of what is here.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// What is here, to be read from its beginning.
    pub fn file(&mut self) -> Result<&File, ContentError> {
        self.draft.file().rewind().map_err(|error| self.store.io(error))?;
        Ok(self.draft.file())
    }

    /// Takes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), ContentError> {
        self.draft.file().write_all(piece).map_err(|error| self.store.io(error))?;
        self.hasher.update(piece);
        Ok(())
    }

    /// Gives it its name, if that is the one that was expected.
    pub fn keep(self, expected: Option<&Digest>) -> Result<Blob, ContentError> {
        let blob = Blob { size: self.hasher.size(), digest: self.hasher.finish() };
        if let Some(expected) = expected.filter(|expected| **expected != blob.digest) {
            let reason = format!("its bytes have the digest {}", blob.digest);
            return Err(self.store.damaged(&expected.to_string(), reason));
        }
        self.draft.keep(&self.store.path(&blob.digest), 0o644).map_err(|error| self.store.io(error))?;
        Ok(blob)
    }
}
