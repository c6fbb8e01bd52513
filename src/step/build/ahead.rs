//! What is done on this machine while the builder works.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::stock::Stock;
use crate::model::context::{Entry, File, Source, Tree};
use crate::model::digest::Digest;
use crate::model::plan::Plan;
use crate::model::time;
use crate::step::layers;

/// Root filesystems whose layers are made, or were: tiers share theirs.
#[derive(Default)]
pub(super) struct Ahead(Mutex<BTreeSet<Digest>>);

impl Ahead {
    /// Makes the layers of root filesystems that were made here, so that the builder need not send them, and hashes
    /// those that the image will probably have. Whatever goes wrong with it costs no more than that, and nobody
    /// waits for its end.
    pub(super) fn begin(&self, plan: &Plan, tree: &Tree, stock: &Stock) {
        let (stock, epoch) = (stock.clone(), time::seconds(plan.epoch));
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let root = |path: &String| match tree.get(path) {
            Some(Entry::File(File { source: Source::Disk(path), digest, .. })) => Some(Root {
                path: path.clone(),
                digest: *digest,
                foreseen: stock.store.foreseen(digest, epoch),
            }),
            _ => None,
        };
        let roots: Vec<Root> = plan.rootfs.keys().filter_map(root).collect();
        // On another root filesystem, layers will be others than they were.
        let is_new = roots.iter().any(|root| root.foreseen.is_none());
        let listed = if is_new { None } else { stock.store.image(&plan.tag, &plan.platform).ok() };
        let listed = listed.map(|(image, _)| image.layers).unwrap_or_default();
        let roots: Vec<_> = roots.into_iter().filter(|root| begun.insert(root.digest)).collect();
        thread::spawn(move || {
            for root in roots {
                root.make(epoch, &stock);
            }
            for layer in listed {
                let _ = stock.size(&layer.digest);
            }
        });
    }
}

/// A root filesystem, and the layer that it came to before.
struct Root {
    path: PathBuf,
    digest: Digest,
    foreseen: Option<Digest>,
}

impl Root {
    /// Sees to it that its layer is in the store.
    fn make(&self, epoch: u64, stock: &Stock) -> Option<()> {
        if self.foreseen.is_some_and(|layer| matches!(stock.size(&layer), Ok(Some(_)))) {
            return Some(());
        }
        let layer = layers::of_root(&self.path, epoch, &stock.store)?;
        stock.came(&layer);
        stock.store.remember_foreseen(&self.digest, epoch, &layer).ok()
    }
}
