//! Archives that a trusted key signed, but whose tar is not the one that the release describes:
//! a broken or malicious build machine. `verify` refuses each for its own reason.

use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use imgforge::model::archive::{self, Content};
use imgforge::model::digest::Digest;
use imgforge::model::image::Image;
use imgforge::model::release::Archive;
use imgforge::step::sign;
use proptest::prelude::*;

use crate::assert_session;
use crate::workbench::{Bench, layer};

/// The tar of an image, as it should be.
fn tar(bench: &Bench, image: &Image) -> Vec<u8> {
    let (store, _) = bench.image("tiny", "1.0.0", "hello");
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
    tar.resize(tar.len() + archive::END, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Signs these bytes as the archive of an image, and verifies them.
fn verdict(bench: &Bench, image: &Image, bytes: &[u8]) -> String {
    let file = "tiny-1.0.0-linux-amd64.tar.gz".to_owned();
    let folder = bench.home.path("signed");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&file), bytes).unwrap();
    let (tier, size, digest) = ("tiny".parse().unwrap(), bytes.len() as u64, Digest::of(bytes));
    let release = bench.release("1.0.0", vec![Archive { tier, file, size, digest, image: image.clone() }]);
    let (sealed, _) = sign::seal(&release, &bench.key).unwrap();
    fs::write(folder.join("release.sigstore.json"), sealed.bytes()).unwrap();
    bench.home.session(&["verify", "signed", "--quiet"])
}

/// Splits a tar after the entry whose path ends so.
fn after(tar: &[u8], image: &Image, path: &str) -> usize {
    let mut at = 0;
    for entry in archive::entries(image) {
        at += archive::BLOCK + usize::try_from(entry.size()).unwrap() + archive::padding(entry.size());
        if entry.path.ends_with(path) {
            return at;
        }
    }
    panic!("no {path} in {} bytes", tar.len());
}

fn extra(name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn only_the_tar_that_follows_from_the_image_is_accepted() {
    let bench = Bench::new("t-contents");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    assert_session!(verdict(&bench, &image, &gzip(&good)), @"
    exit 0
    --- stdout
    release    t-contents 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-contents/tiny:1.0.0  sha256:[DIGEST]
    integrity  OK
    freshness  unknown: offline, so a newer release may exist
    ");

    // Two members are as good as one: it is the tar that counts.
    let (one, two) = good.split_at(700);
    assert_session!(verdict(&bench, &image, &[gzip(one), gzip(two)].concat()), @"
    exit 0
    --- stdout
    release    t-contents 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-contents/tiny:1.0.0  sha256:[DIGEST]
    integrity  OK
    freshness  unknown: offline, so a newer release may exist
    ");

    let insert = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at..]].concat();
    let layers_end = after(&good, &image, &image.layers[0].digest.hex());
    let documents_end = after(&good, &image, "oci-layout");
    for (name, kind) in [
        ("../../etc/cron.d/evil", tar::EntryType::Regular),
        ("/etc/evil", tar::EntryType::Regular),
        ("blobs/sha256/link", tar::EntryType::Symlink),
        ("blobs/sha256/hard", tar::EntryType::Link),
        ("blobs/sha256/device", tar::EntryType::Char),
        ("././@LongLink", tar::EntryType::GNULongName),
        ("pax", tar::EntryType::XHeader),
        ("sparse", tar::EntryType::GNUSparse),
    ] {
        for at in [0, layers_end] {
            let verdict = verdict(&bench, &image, &gzip(&insert(at, &extra(name, kind))));
            assert!(verdict.starts_with("exit 12\n"), "{name}: {verdict}");
            assert!(verdict.contains("is not there"), "{name}: {verdict}");
        }
        let verdict = verdict(&bench, &image, &gzip(&insert(documents_end, &extra(name, kind))));
        assert!(verdict.contains("belong to nothing"), "{name}: {verdict}");
    }
}

#[test]
fn documents_that_disagree() {
    let bench = Bench::new("t-disagree");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let replace = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).rposition(|window| window == from.as_bytes()).unwrap();
        [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
    };
    // Docker reads `manifest.json`: another tag, then a layer that is the configuration.
    assert_session!(verdict(&bench, &image, &gzip(&replace("\"t-disagree/tiny:1.0.0\"]", "\"debian/debian:12.13\"]  "))), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `manifest.json` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    let (layer, config) = (image.layers[0].digest.hex(), image.config.digest.hex());
    assert_session!(verdict(&bench, &image, &gzip(&replace(&layer, &config))), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `manifest.json` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // containerd reads `index.json`.
    let manifest = format!("\"sha256:{}\"", image.manifest.digest.hex());
    let other = format!("\"sha256:{}\"", image.config.digest.hex());
    assert_session!(verdict(&bench, &image, &gzip(&replace(&manifest, &other))), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `index.json` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn layers_that_are_not_the_signed_ones() {
    let bench = Bench::new("t-layers");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let (signed, evil) = (layer("hello"), layer("evil!"));
    let at = good.windows(signed.len()).position(|window| window == signed).unwrap();
    let bytes = [&good[..at], &evil, &good[at + evil.len()..]].concat();
    assert_session!(verdict(&bench, &image, &gzip(&bytes)), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `blobs/sha256/923e4bb9ab39ebebc00c07f4fa820dff7a9a234b7e8b2b445ab0c5e5d6ae80a2` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // A release that lists other layers than the configuration has.
    let mut lying = image.clone();
    lying.layers.push(lying.layers[0]);
    lying.manifest = imgforge::model::image::Blob::of(&lying.manifest_bytes());
    assert_session!(verdict(&bench, &lying, &gzip(&tar(&bench, &lying))), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the image has other layers than its configuration lists

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    let mut arm = image.clone();
    arm.platform = "linux/arm64".parse().unwrap();
    let file = "tiny-1.0.0-linux-arm64.tar.gz";
    let bytes = gzip(&tar(&bench, &arm));
    let archive = Archive {
        tier: "tiny".parse().unwrap(),
        file: file.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
        image: arm,
    };
    fs::write(bench.home.path("signed").join(file), &bytes).unwrap();
    let (sealed, _) = sign::seal(&bench.release("1.0.0", vec![archive]), &bench.key).unwrap();
    fs::write(bench.home.path("signed/release.sigstore.json"), sealed.bytes()).unwrap();
    assert_session!(bench.home.session(&["verify", "signed", "--quiet"]), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-arm64.tar.gz` does not hold the image that it should
      cause: the image is for linux/amd64, not for linux/arm64

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn a_bomb_and_what_follows_the_end() {
    let bench = Bench::new("t-bomb");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    // A gigabyte of zeroes in a megabyte: nothing after the expected end is unpacked.
    let bomb = [gzip(&good), gzip(&vec![0; 1 << 30])].concat();
    assert_session!(verdict(&bench, &image, &bomb), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: there are bytes after `oci-layout` that belong to nothing

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&bench, &image, &[gzip(&good), b"garbage".to_vec()].concat()), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the compressed stream cannot be read
      cause: unexpected end of file

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&bench, &image, &gzip(&good[..good.len() - 600])), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the compressed stream cannot be read
      cause: failed to fill whole buffer

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&bench, &image, b"not a gzip stream"), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the compressed stream cannot be read
      cause: invalid gzip header

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever byte of the tar changes, signed or not, the archive is refused.
    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        use imgforge::step::check;
        let bench = BENCH.get_or_init(|| Bench::new("t-any-byte"));
        let (_, image) = bench.image("tiny", "1.0.0", "hello");
        let mut bytes = tar(bench, &image);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let path = bench.home.path("changed.tar.gz");
        fs::write(&path, gzip(&bytes)).unwrap();
        prop_assert!(check::describe(&path, &"tiny".parse().unwrap(), image, &|_| {}).is_err(), "byte {}", at);
    }
}

static BENCH: std::sync::OnceLock<Bench> = std::sync::OnceLock::new();
