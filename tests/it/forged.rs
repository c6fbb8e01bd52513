//! Archives made without any of the writer's care, and signed by a key that is trusted.

use std::fs;

use imgforge::model::archive::index::{Contents, Member};
use imgforge::model::archive::tail::{self, Footer};
use imgforge::model::archive::{self, Content};
use imgforge::model::image::{Blob, Image};
use imgforge::model::release::Archive;
use imgforge::step::content::ContentStore;
use imgforge::step::members::{Packer, compressor};
use imgforge::step::{append, sign};

use crate::workbench::Bench;

/// The tar of an image, as it should be.
pub(crate) fn tar(bench: &Bench, image: &Image) -> Vec<u8> {
    tar_from(&bench.image("tiny", "1.0.0", "hello").0, image)
}

/// The same, of an image whose blobs are in this store.
pub(crate) fn tar_from(store: &ContentStore, image: &Image) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in archive::entries(image) {
        tar.extend(entry.header());
        match &entry.content {
            Content::Bytes(bytes) => tar.extend(bytes),
            Content::Blob(blob) => {
                std::io::copy(&mut store.open_blob(&blob.digest).unwrap(), &mut tar).unwrap();
            }
        }
        tar.resize(tar.len() + archive::padding(entry.size()), 0);
    }
    tar
}

/// An archive made without any of the writer's care.
pub(crate) struct Forged {
    pub(crate) members: Vec<Vec<u8>>,
    pub(crate) index: Vec<u8>,
}

impl Forged {
    /// Members that hold these pieces, and an index that says so.
    pub(crate) fn new(image: &Image, pieces: &[&[u8]]) -> Self {
        let packed = pieces.iter().map(|piece| Packer::new().pack(piece).unwrap());
        let (members, records): (Vec<_>, Vec<_>) = packed.unzip();
        Self { members, index: index(image, &records) }
    }

    /// The index with other records.
    pub(crate) fn records(image: &Image, members: Vec<Vec<u8>>, records: &[Member]) -> Self {
        Self { members, index: index(image, records) }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        [self.members.concat(), tail::index_member(&self.index)].concat()
    }

    pub(crate) fn write(&self, path: &std::path::Path) -> Blob {
        let body = self.body();
        let index_at = (body.len() - tail::index_member(&self.index).len()) as u64;
        let after = tail::after(Footer { index_at, body: body.len() as u64 }, None);
        fs::write(path, [&body[..], &after].concat()).unwrap();
        Blob::of(&body)
    }

    /// Writes it into a folder as the archive of an image.
    fn archive(&self, folder: &std::path::Path, image: &Image) -> Archive {
        let tier = image.tag.tier().clone();
        let file = archive::file_name(&tier, image.tag.version(), &image.platform);
        fs::create_dir_all(folder).unwrap();
        let Blob { digest, size } = self.write(&folder.join(&file));
        Archive { tier, file, size, digest, index: Blob::of(&self.index), image: image.clone() }
    }

    /// Publishes it as the archive of an image, and points the channel to it.
    pub(crate) fn publish(&self, bench: &Bench, image: &Image, sequence: u64) {
        let archive = self.archive(&bench.home.path("dist"), image);
        let version = image.tag.version().to_string();
        let sealed = bench.publish(&bench.release(&version, vec![archive]), &bench.key);
        bench.point(&bench.channel(&sealed, &version, sequence), &bench.key);
    }

    /// Signs it as the archive of an image, and verifies it.
    pub(crate) fn verdict(&self, bench: &Bench, image: &Image) -> String {
        let folder = bench.home.path("signed");
        let archive = self.archive(&folder, image);
        let release = bench.release("1.0.0", vec![archive]);
        let (sealed, verified) = sign::seal(&release, &bench.key).unwrap();
        append::seal(&folder, &verified.archives[0], &sealed, &|_| {}).unwrap();
        fs::write(folder.join("release.sigstore.json"), sealed.bytes()).unwrap();
        bench.home.session(&["verify", "signed", "--quiet"])
    }
}

/// An index as the format has it, whatever the records say.
pub(crate) fn index(image: &Image, records: &[Member]) -> Vec<u8> {
    let contents = Contents { image: image.clone(), papers: Vec::new(), compressor: compressor() };
    let contents = serde_json::to_vec(&contents).unwrap();
    let count = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut bytes = [&b"imgforge\x01\0\0\0"[..], &count(contents.len()), &count(records.len())].concat();
    bytes.extend(contents);
    for record in records {
        for number in [record.packed, record.plain, record.checksum] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(record.digest.bytes());
    }
    bytes
}

pub(crate) fn header(name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}
