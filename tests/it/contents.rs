//! Archives that a trusted key signed, but that are not what they should be: a broken or malicious
//! build machine. `verify` refuses each for its own reason, in bounded memory and time.

use std::fs;
use std::path::PathBuf;

use imgforge::model::archive;
use imgforge::model::archive::index::{Index, Member};
use imgforge::model::archive::tail::{self, Footer, Tail};
use imgforge::model::digest::Digest;
use imgforge::model::image::Blob;
use imgforge::model::release::Archive;
use imgforge::step::members::Packer;
use imgforge::step::{append, sign};

use crate::assert_session;
use crate::forged::{Forged, header, index, tar};
use crate::workbench::Bench;

#[test]
fn only_the_tar_that_follows_from_the_image_is_accepted() {
    let bench = Bench::new("t-contents");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    assert_session!(Forged::new(&image, &[&good]).verdict(&bench, &image), @"
    exit 0
    --- stdout
    release    t-contents 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-contents/tiny:1.0.0  sha256:[DIGEST]
    verified   1 member, 1 layer, 7.6 kB unpacked
    integrity  OK
    freshness  unknown: offline, so a newer release may exist
    ");

    // Two members are as good as one: it is the tar that counts.
    let (one, two) = good.split_at(700);
    let verdict = Forged::new(&image, &[one, two]).verdict(&bench, &image);
    assert!(verdict.starts_with("exit 0\n"), "{verdict}");

    let insert = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at..]].concat();
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
        let evil = header(name, kind);
        for at in [0, good.len()] {
            let verdict = Forged::new(&image, &[&insert(at, &evil)]).verdict(&bench, &image);
            assert!(verdict.starts_with("exit 12\n"), "{name}: {verdict}");
            assert!(verdict.contains("and the tar has"), "{name}: {verdict}");
        }
        let replaced = [&evil, &good[archive::BLOCK..]].concat();
        let verdict = Forged::new(&image, &[&replaced]).verdict(&bench, &image);
        assert!(verdict.starts_with("exit 12\n"), "{name}: {verdict}");
        assert!(verdict.contains("is not there"), "{name}: {verdict}");
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
        let tar = [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat();
        Forged::new(&image, &[&tar]).verdict(&bench, &image)
    };
    // Docker reads `manifest.json`: another tag, then a layer that is the configuration.
    assert_session!(replace("\"t-disagree/tiny:1.0.0\"]", "\"debian/debian:12.13\"]  "), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `manifest.json` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    let (layer, config) = (image.layers[0].digest.hex(), image.config.digest.hex());
    assert_session!(replace(&layer, &config), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `manifest.json` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // containerd reads `index.json`.
    let manifest = format!("\"sha256:{}\"", image.manifest.digest.hex());
    let other = format!("\"sha256:{}\"", image.config.digest.hex());
    assert_session!(replace(&manifest, &other), @"
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
    let (signed, evil) = (bench.layer("hello"), bench.layer("evil!"));
    let at = good.windows(signed.len()).position(|window| window == signed).unwrap();
    let bytes = [&good[..at], &evil, &good[at + evil.len()..]].concat();
    assert_session!(Forged::new(&image, &[&bytes]).verdict(&bench, &image), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: `blobs/sha256/c2002b90b097b222bc89a32038d59cc3a491f8a206e17b4a27413f14ec10e71e` has other bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // A release that lists other layers than the configuration has.
    let mut lying = image.clone();
    lying.layers.push(lying.layers[0]);
    lying.manifest = Blob::of(&lying.manifest_bytes());
    assert_session!(Forged::new(&lying, &[&tar(&bench, &lying)]).verdict(&bench, &lying), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the image has other layers than its configuration lists

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    let mut arm = image.clone();
    arm.platform = "linux/arm64".parse().unwrap();
    fs::remove_dir_all(bench.home.path("signed")).unwrap();
    assert_session!(Forged::new(&arm, &[&tar(&bench, &arm)]).verdict(&bench, &arm), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-arm64.tar.gz` does not hold the image that it should
      cause: the image is for linux/amd64, not for linux/arm64

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // An index of one image, and a release of another.
    let (_, other) = bench.image("tiny", "1.0.0", "other");
    assert_session!(Forged::new(&image, &[&good]).verdict(&bench, &other), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: the index is of another image

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn an_index_that_lies() {
    let bench = Bench::new("t-index");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let (packed, record) = Packer::new().pack(&good).unwrap();
    let verdict = |change: &dyn Fn(&mut Member)| {
        let mut lying = record;
        change(&mut lying);
        Forged::records(&image, vec![packed.clone()], &[lying]).verdict(&bench, &image)
    };
    assert_session!(verdict(&|member| member.digest = Digest::of(b"")), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 0 has other bytes: expected sha256:[DIGEST], read sha256:[DIGEST]

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&|member| member.checksum ^= 1), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 0 does not unpack to what the index says

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&|member| member.packed = u32::MAX), @"
    exit 12
    --- stderr
    error: `tiny-1.0.0-linux-amd64.tar.gz` is not a whole archive
      cause: the index names member 0 of 4294967295 bytes

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&|member| member.plain = u32::MAX), @"
    exit 12
    --- stderr
    error: `tiny-1.0.0-linux-amd64.tar.gz` is not a whole archive
      cause: the index names member 0 with 4294967295 bytes of content

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&|member| member.packed -= 1), @"
    exit 12
    --- stderr
    error: `tiny-1.0.0-linux-amd64.tar.gz` is not a whole archive
      cause: its index is not where its footer says

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn a_member_that_others_would_unpack_to_something_else() {
    let bench = Bench::new("t-smuggled");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let (packed, record) = Packer::new().pack(&good).unwrap();
    let hidden = |inside: &[u8]| {
        // The trailer comes once more, so that the last bytes are the right ones.
        let member = [&packed, inside, &packed[packed.len() - 8..]].concat();
        let record =
            Member { packed: u32::try_from(member.len()).unwrap(), digest: Digest::of(&member), ..record };
        Forged::records(&image, vec![member], &[record]).verdict(&bench, &image)
    };
    // A second gzip member, which `gunzip` and Docker would read on into.
    assert_session!(hidden(&Packer::new().pack(b"evil").unwrap().0), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 0 does not unpack to what the index says

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    // A gigabyte of zeroes in a megabyte that claims to be the same tar.
    let bomb = Packer::new().pack(&vec![0; 1 << 30]).unwrap().0;
    let record = Member { packed: u32::try_from(bomb.len()).unwrap(), digest: Digest::of(&bomb), ..record };
    let verdict = Forged::records(&image, vec![bomb.clone()], &[record]).verdict(&bench, &image);
    assert!(verdict.contains("exit 12\n") && verdict.contains("the index names member 0 of"), "{verdict}");
    let small = Packer::new().pack(&vec![0; 1 << 26]).unwrap().0;
    let record = Member { packed: u32::try_from(small.len()).unwrap(), digest: Digest::of(&small), ..record };
    assert_session!(Forged::records(&image, vec![small], &[record]).verdict(&bench, &image), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 0 does not unpack to what the index says

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn members_that_were_swapped_or_left_out() {
    let bench = Bench::new("t-swapped");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let pieces: Vec<&[u8]> = good.chunks(archive::BLOCK).collect();
    let sound = Forged::new(&image, &pieces);
    let verdict = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut members = sound.members.clone();
        change(&mut members);
        Forged { members, index: sound.index.clone() }.verdict(&bench, &image)
    };
    let same = sound.members.iter().position(|member| member.len() != sound.members[0].len()).unwrap();
    assert_session!(verdict(&|members| members.swap(0, same)), @"
    exit 12
    --- stderr
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 0 has other bytes: expected sha256:[DIGEST], read sha256:[DIGEST]

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(verdict(&|members| drop(members.remove(0))), @"
    exit 12
    --- stderr
    error: `tiny-1.0.0-linux-amd64.tar.gz` is not a whole archive
      cause: its index is not where its footer says

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
}

#[test]
fn a_signed_archive_is_verified_alone() {
    let bench = Bench::new("t-alone");
    let archive = bench.archive("tiny", "1.0.0", "hello");
    let whole = sealed(&bench, &archive);
    // Under any name, and with no other file beside it.
    fs::create_dir(bench.home.path("stick")).unwrap();
    let alone = bench.home.path("stick/renamed.tar.gz");
    fs::write(&alone, &whole).unwrap();
    let verify = || bench.home.session(&["verify", "stick/renamed.tar.gz", "--quiet"]);
    assert_session!(verify(), @"
    exit 0
    --- stdout
    release    t-alone 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-alone/tiny:1.0.0  sha256:[DIGEST]
    verified   1 member, 1 layer, 7.6 kB unpacked
    integrity  OK
    freshness  unknown: offline, so a newer release may exist
    ");
    // What was signed did not change: only the end did.
    let body = usize::try_from(archive.size).unwrap();
    assert_eq!(Digest::of(&whole[..body]), archive.digest);
    // Another release's seal, a cut, more bytes.
    let other = bench.archive("tiny", "1.0.0", "other");
    let foreign = sealed(&bench, &other);
    let index_at = tail::index_at(archive.size, archive.index.size).unwrap();
    let seal = Tail::parse(&foreign, foreign.len() as u64).unwrap().sealed;
    let after = tail::after(Footer { index_at, body: archive.size }, seal.as_deref());
    fs::write(&alone, [&whole[..body], &after].concat()).unwrap();
    assert_session!(verify(), @"
    exit 12
    --- stderr
    error: `renamed.tar.gz` is not in its release, which names `tiny-1.0.0-linux-amd64.tar.gz`

    hint: this file belongs to another release
    ");
    fs::write(&alone, &whole[..whole.len() - 1]).unwrap();
    assert_session!(verify(), @"
    exit 10
    --- stderr
    error: `stick/renamed.tar.gz` carries no seal, and there is no `release.sigstore.json` beside it

    hint: get `release.sigstore.json` from where the archive came from, or sign with `imgforge sign FILE`
    ");
    fs::write(&alone, [&whole[..], b"more"].concat()).unwrap();
    assert!(verify().starts_with("exit 10\n"));
    // Nobody signed this one.
    let after = tail::after(Footer { index_at, body: archive.size }, None);
    fs::write(&alone, [&whole[..body], &after].concat()).unwrap();
    assert_session!(verify(), @"
    exit 10
    --- stderr
    error: `stick/renamed.tar.gz` carries no seal, and there is no `release.sigstore.json` beside it

    hint: get `release.sigstore.json` from where the archive came from, or sign with `imgforge sign FILE`
    ");
}

/// Signs the archive in `dist` alone, and gives the bytes of its file.
fn sealed(bench: &Bench, archive: &Archive) -> Vec<u8> {
    let (sealed, _) = sign::seal(&bench.release("1.0.0", vec![archive.clone()]), &bench.key).unwrap();
    let folder: PathBuf = bench.home.path("dist");
    append::seal(&folder, archive, &sealed, &|_| {}).unwrap();
    fs::read(folder.join(&archive.file)).unwrap()
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_file_is_found() {
    use imgforge::flow::verify::{Log, Question, Trust, verify};
    use imgforge::model::channel::Patience;
    let bench = Bench::new("t-every-bit");
    let archive = bench.archive("tiny", "1.0.0", "hello");
    let whole = sealed(&bench, &archive);
    let path = bench.home.path("changed.tar.gz");
    let question = Question {
        path: path.clone(),
        trust: Trust::Key(bench.key.public().clone()),
        channel: "stable".parse().unwrap(),
        patience: Patience::UntilItExpires,
        state: bench.home.path("state"),
        now: crate::workbench::now(),
    };
    let accepted = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        verify(&question, &mut Log::default(), &|_| {}).is_ok()
    };
    assert!(accepted(&whole));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!accepted(&changed), "byte {at} of {}", whole.len());
        assert!(!accepted(&whole[..at]), "cut at {at}");
    }
}

#[test]
fn an_index_says_only_one_thing() {
    let bench = Bench::new("t-one-form");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let (_, record) = Packer::new().pack(&tar(&bench, &image)).unwrap();
    let good = index(&image, &[record]);
    assert_eq!(Index::parse(&good).unwrap().to_bytes(), good);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        // Another digest or length in a record is another index; the release's digest tells them apart.
        if let Ok(other) = Index::parse(&changed) {
            assert_eq!(other.to_bytes(), changed, "byte {at}");
        }
        assert!(Index::parse(&good[..at]).is_err(), "cut at {at}");
    }
}
