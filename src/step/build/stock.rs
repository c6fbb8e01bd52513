//! A content store while a builder puts blobs into it: what was hashed once is not hashed again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::step::content::{ContentError, ContentStore};

/// A store, and which of its blobs were hashed in this session. BuildKit asks twice for each layer, and for those
/// that tiers share once more for each tier.
#[derive(Clone)]
pub(super) struct Stock {
    pub(super) store: ContentStore,
    hashed: Arc<Mutex<BTreeMap<Digest, Hashed>>>,
}

/// The size of a blob, once it was hashed.
type Hashed = Arc<Mutex<Option<u64>>>;

impl Stock {
    pub(super) fn of(store: &ContentStore) -> Self {
        Self { store: store.clone(), hashed: Arc::default() }
    }

    /// The size of a blob that is here with the right bytes. Whoever asks for the same one waits, and need not
    /// hash it again; others are hashed meanwhile.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let blob = self.place(digest);
        let mut size = held(&blob);
        if size.is_none() {
            *size = self.store.checked(digest)?;
        }
        Ok(*size)
    }

    /// Remembers one that was hashed on its way in.
    pub(super) fn came(&self, blob: &Blob) {
        *held(&self.place(&blob.digest)) = Some(blob.size);
    }

    fn place(&self, digest: &Digest) -> Hashed {
        Arc::clone(held(&self.hashed).entry(*digest).or_default())
    }
}

/// What a lock guards, whatever became of who had it before.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
