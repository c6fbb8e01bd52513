//! A reader that looks again and again while somebody publishes, and never finds half of anything.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use imgforge::model::channel::Channel;
use imgforge::model::digest::{Digest, Hasher};
use imgforge::model::key::{PublicKey, TrustedKeys};
use imgforge::model::name::{ProjectName, Version};
use imgforge::model::release::Release;
use imgforge::model::seal::Sealed;
use imgforge::step::store::{Key, Store, StoreError};

use crate::workbench::wait;

/// Somebody who looks at a store all the while.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    seen: Arc<Mutex<Option<Version>>>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Looks until [`Watch::end`]; a server that does not answer is asked again.
    pub(crate) fn begin(store: Store, project: &str, key: &PublicKey) -> Self {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::new(Mutex::new(None));
        let (told, counted, noted) = (Arc::clone(&stop), Arc::clone(&looks), Arc::clone(&seen));
        let (project, keys) = (project.parse().unwrap(), TrustedKeys::from(key.clone()));
        let thread = std::thread::spawn(move || {
            wait(async {
                while !told.load(Ordering::SeqCst) {
                    let look = tokio::time::timeout(Duration::from_secs(10), look(&store, &project, &keys));
                    if let Ok(Ok(found)) = look.await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let mut seen = noted.lock().unwrap();
                        assert!(*seen <= found, "{found:?} after {seen:?}");
                        *seen = found;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        });
        Self { stop, looks, seen, thread }
    }

    /// Whether it was led to a version by now.
    pub(crate) fn sees(&self, version: &str) -> bool {
        assert!(!self.thread.is_finished(), "it saw half of something");
        *self.seen.lock().unwrap() == version.parse().ok()
    }

    /// How often it saw all of a version or nothing. Half of one, once, is a panic here.
    pub(crate) fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.looks.load(Ordering::SeqCst)
    }
}

/// Follows the channel as an operator does. What a channel leads to is all there, or this panics.
async fn look(
    store: &Store,
    project: &ProjectName,
    keys: &TrustedKeys,
) -> Result<Option<Version>, StoreError> {
    let channel = match store.get(&Key::channel(project, &"stable".parse().unwrap()), 1 << 20).await {
        Err(StoreError::Missing { .. }) => return Ok(None),
        other => Sealed::<Channel>::from_bytes(other?).verify(keys).unwrap(),
    };
    let version = &channel.version;
    let sealed = there(store.get(&Key::release(project, version), 1 << 20).await)?;
    assert_eq!(Digest::of(&sealed), channel.release, "{version}: another release");
    let release = Sealed::<Release>::from_bytes(sealed).verify(keys).unwrap();
    for archive in &release.archives {
        let mut reader = there(store.read(&Key::file(project, version, &archive.file)).await)?;
        // What follows the part that the release names is the release itself.
        let (mut hasher, mut left) = (Hasher::default(), archive.size);
        while let Ok(Some(piece)) = reader.next().await {
            let part = piece.len().min(usize::try_from(left).unwrap());
            hasher.update(&piece[..part]);
            left -= part as u64;
        }
        // A server that is killed meanwhile cuts the answer short.
        assert!(left > 0 || hasher.finish() == archive.digest, "{version}: other bytes");
    }
    for file in ["SHA256SUMS", "SHA256SUMS.sig"] {
        there(store.get(&Key::file(project, version, file), 1 << 20).await)?;
    }
    Ok(Some(version.clone()))
}

fn there<T>(found: Result<T, StoreError>) -> Result<T, StoreError> {
    assert!(!matches!(found, Err(StoreError::Missing { .. })), "the channel leads to what is not there");
    found
}
