//! Layers that this command has packed already. Tiers share their base, and equal content gives equal
//! members wherever it stands: they are copied, at the speed of a disk, and not compressed once more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::model::archive::index::{Index, Member};
use crate::model::digest::Digest;

/// Where the members of layers are, by the digest of the layer.
#[derive(Default)]
pub struct Known(BTreeMap<Digest, Place>);

/// The members of one layer, in an archive that is still open: whatever gets its name meanwhile.
pub(super) struct Place {
    file: Arc<File>,
    at: u64,
    members: Vec<Member>,
}

impl Known {
    pub(super) fn find(&self, layer: &Digest) -> Option<&Place> {
        self.0.get(layer)
    }

    /// Remembers which of an archive's members are which layer's.
    pub(super) fn remember(
        &mut self,
        file: File,
        index: &Index,
        layers: impl IntoIterator<Item = (Digest, Range<usize>)>,
    ) {
        let file = Arc::new(file);
        for (layer, range) in layers {
            let place = || Place {
                file: Arc::clone(&file),
                at: index.place(range.start).start,
                members: index.members()[range.clone()].to_vec(),
            };
            self.0.entry(layer).or_insert_with(place);
        }
    }
}

impl Place {
    /// Each member, as it was written a moment ago: read back, it is compared with its digest.
    pub(super) fn members(&self) -> impl Iterator<Item = io::Result<(Vec<u8>, Member)>> {
        let mut at = self.at;
        self.members.iter().map(move |member| {
            let mut bytes = vec![0; member.packed as usize];
            self.file.read_exact_at(&mut bytes, at)?;
            at += u64::from(member.packed);
            if Digest::of(&bytes) != member.digest {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "what was packed reads back otherwise",
                ));
            }
            Ok((bytes, *member))
        })
    }
}
