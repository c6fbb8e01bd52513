//! Brings every pinned file into the content store. What is there is checked; only what is missing or
//! damaged is downloaded, and only the pinned bytes are taken.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::content::{ContentError, ContentStore};
use super::progress::{Event, Hear};
use super::web::{Web, WebError};
use crate::model::lock::Item;

/// Why a pinned file is not here.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// Not in the store, and not to be had.
    #[error("the pinned `{item}` is not in the content store and cannot be downloaded")]
    Gone {
        /// Which file.
        item: Box<Item>,
        /// Why.
        source: WebError,
    },
    /// The store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Downloads at the same time: registries are far away, and files are small.
const TOGETHER: usize = 8;

/// Brings files into the store, each once.
pub async fn files<'a>(
    items: impl IntoIterator<Item = &'a Item>,
    store: &ContentStore,
    web: &Web,
    hear: Hear<'_>,
) -> Result<(), ObtainError> {
    let mut missing = Vec::new();
    let mut total = 0;
    let mut seen = HashSet::new();
    for item in items.into_iter().filter(|item| seen.insert(item.digest)) {
        if store.checked(&item.digest)? != Some(item.size) {
            total += item.size;
            missing.push(item);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    hear(Event::Doing(&format!("downloading {} pinned files", missing.len())));
    let mut done = 0;
    let mut downloads = stream::iter(missing.into_iter().map(|item| async move {
        let outcome = web.pinned(item, store).await;
        outcome.map_err(|source| ObtainError::Gone { item: Box::new(item.clone()), source })
    }))
    .buffer_unordered(TOGETHER);
    while let Some(blob) = downloads.try_next().await? {
        done += blob.size;
        hear(Event::Bytes { done: done.min(total), total });
    }
    Ok(())
}
