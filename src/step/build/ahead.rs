//! What is done on this machine while the builder works.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::stock::Stock;
use crate::model::context::{Entry, File, Source, Tree};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::plan::Plan;
use crate::step::layers;

/// Root filesystems whose layers are made, or were: tiers share theirs.
#[derive(Default)]
pub(super) struct Ahead(Mutex<BTreeSet<Digest>>);

impl Ahead {
    /// Makes the layers of root filesystems that were made here, so that the builder need not send them, and hashes
    /// those that the image will probably have. Whatever goes wrong with it costs no more than that, and nobody
    /// waits for its end.
    pub(super) fn begin(&self, plan: &Plan, tree: &Tree, stock: &Stock) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let root = |path: &String| match tree.get(path) {
            Some(Entry::File(File { source: Source::Disk(path), digest, .. })) => {
                Some((path.clone(), *digest))
            }
            _ => None,
        };
        let roots: Vec<(PathBuf, Digest)> = plan.rootfs.keys().filter_map(root).collect();
        let (stock, epoch) = (stock.clone(), u64::try_from(plan.epoch.as_second()).unwrap_or(0));
        // On another root filesystem, layers will be others than they were.
        let is_new = roots.iter().any(|(_, digest)| stock.store.foreseen(digest, epoch).is_none());
        let listed = if is_new { None } else { stock.store.image(&plan.tag, &plan.platform).ok() };
        let listed = listed.map(|(image, _)| image.layers).unwrap_or_default();
        let roots: Vec<_> = roots.into_iter().filter(|(_, digest)| begun.insert(*digest)).collect();
        thread::spawn(move || {
            for (path, digest) in roots {
                make(&path, &digest, epoch, &stock);
            }
            for layer in listed {
                let _ = stock.size(&layer.digest);
            }
        });
    }
}

/// Sees to it that the layer of a root filesystem is in the store.
fn make(root: &Path, digest: &Digest, epoch: u64, stock: &Stock) -> Option<()> {
    let foreseen = stock.store.foreseen(digest, epoch);
    if foreseen.is_some_and(|layer| matches!(stock.size(&layer), Ok(Some(_)))) {
        return Some(());
    }
    let layer: Blob = layers::of_root(root, epoch, &stock.store)?;
    stock.came(&layer);
    stock.store.remember_foreseen(digest, epoch, &layer).ok()
}
