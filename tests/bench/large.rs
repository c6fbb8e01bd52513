//! Writes the archive of a very large image, as `tests/bench/memory` needs it, without the image: each file in
//! it has some bytes that nobody can compress and many zeroes, so that a small disk is large enough.
//!
//! Members are cut every [`FILE`] bytes. Readers do not care where, and there are as many as usual.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop there and say where")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use imgforge::model::archive::cut::USUAL;
use imgforge::model::archive::index::{Contents, Index, Member};
use imgforge::model::archive::{self, Content, file_name, tail};
use imgforge::model::digest::Hasher;
use imgforge::model::image::{Blob, Image};
use imgforge::model::release::{Archive, Release};
use imgforge::model::time::Timestamp;
use imgforge::step::members::{Packer, compressor};
use imgforge::step::{keyring, sign};

/// Bytes of a file in a layer with its header, and how many of them nobody can compress.
const FILE: usize = USUAL;
const NOISE: usize = 4 << 10;
const LAYERS: u64 = 10;

fn main() {
    // `cargo test --all-targets` and the like run this without a folder: there is nothing to make.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (Some(folder), Some(gigabytes)) = (arguments.next(), arguments.next()) else { return };
    let bytes = gigabytes.parse::<u64>().unwrap() * 1_000_000_000;
    publish(&PathBuf::from(folder), bytes / FILE as u64 / LAYERS);
}

/// A layer, file by file.
fn layer(layer: u64, files: u64, each: &mut dyn FnMut(&[u8])) {
    let mut state = layer;
    for number in 0..files {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("files/{layer}/{number}")).unwrap();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        header.set_size((FILE - 512) as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        while bytes.len() < NOISE {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bytes.extend((mixed ^ (mixed >> 27)).to_le_bytes());
        }
        bytes.resize(FILE, 0);
        each(&bytes);
    }
    each(&[0; 1024]);
}

fn image(files: u64) -> (Image, Vec<u8>) {
    let blob = |number| {
        let mut hasher = Hasher::default();
        layer(number, files, &mut |bytes| hasher.update(bytes));
        Blob { size: hasher.size(), digest: hasher.finish() }
    };
    let layers: Vec<Blob> = (0..LAYERS).map(blob).collect();
    let digests: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    let tag = "bench/large:1.0.0".parse().unwrap();
    (Image::new(tag, "linux/amd64".parse().unwrap(), &config, layers).unwrap(), config)
}

/// What of an archive is written so far.
struct Writer {
    file: File,
    hasher: Hasher,
    packer: Packer,
    waiting: Vec<u8>,
    members: Vec<Member>,
}

impl Writer {
    fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        while self.waiting.len() >= FILE {
            let rest = self.waiting.split_off(FILE);
            self.member();
            self.waiting = rest;
        }
    }

    fn member(&mut self) {
        let (packed, member) = self.packer.pack(&std::mem::take(&mut self.waiting)).unwrap();
        self.write(&packed);
        self.members.push(member);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.file.write_all(bytes).unwrap();
    }
}

fn publish(folder: &Path, files: u64) {
    let (image, config) = image(files);
    let (tier, version) = ("large".parse().unwrap(), "1.0.0".parse().unwrap());
    let name = file_name(&tier, &version, &image.platform);
    let releases = folder.join("store/bench/releases/1.0.0");
    fs::create_dir_all(&releases).unwrap();
    let file = File::create(releases.join(&name)).unwrap();
    let (hasher, packer) = (Hasher::default(), Packer::new());
    let mut writer = Writer { file, hasher, packer, waiting: Vec::new(), members: Vec::new() };
    for entry in archive::entries(&image) {
        writer.add(&entry.header());
        match &entry.content {
            Content::Bytes(bytes) => writer.add(bytes),
            Content::Blob(blob) if *blob == image.config => writer.add(&config),
            Content::Blob(blob) => {
                let number = image.layers.iter().position(|layer| layer == blob).unwrap();
                layer(number as u64, files, &mut |bytes| writer.add(bytes));
            }
        }
        writer.add(&vec![0; archive::padding(entry.size())]);
    }
    writer.member();
    let contents = Contents { image: image.clone(), papers: Vec::new(), compressor: compressor() };
    let index = Index::new(contents, std::mem::take(&mut writer.members)).unwrap().to_bytes();
    writer.write(&tail::index_member(&index));

    keyring::generate(folder, "cosign", b"bench").unwrap();
    let key = keyring::open(&folder.join("cosign.key"), b"bench").unwrap();
    let size = writer.hasher.size();
    let archive =
        Archive { tier, file: name, size, digest: writer.hasher.finish(), index: Blob::of(&index), image };
    let created = Timestamp::from_second(0).unwrap();
    let (project, archives, patches) = ("bench".parse().unwrap(), vec![archive], Vec::new());
    let release = Release { project, version, created, archives, patches };
    let (sealed, release) = sign::seal(&release, &key).unwrap();
    let (_, after) = release.archives[0].end(sealed.bytes()).unwrap();
    writer.file.write_all(&after).unwrap();
    fs::write(releases.join("release.sigstore.json"), sealed.bytes()).unwrap();
}
