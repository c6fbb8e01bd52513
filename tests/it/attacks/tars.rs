//! Archives that a trusted key signed, but that hold something else than their release says. The tars are
//! made by hand from a good one, so that they depend on nothing but the format.

use std::fs;

use imgforge::model::archive::tail;
use imgforge::model::digest::Digest;
use imgforge::model::image::Image;
use imgforge::step::check::{self, CheckError};
use imgforge::step::{append, sign};

use super::refused;
use crate::forged::{Forged, tar};
use crate::workbench::Bench;

/// An image, and the tar that an archive of it holds.
fn good(bench: &Bench) -> (Image, Vec<u8>) {
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let tar = tar(bench, &image);
    (image, tar)
}

/// Another tar is refused when it is signed as if it were that image's.
fn is_refused(what: &str, bench: &Bench, (image, good): &(Image, Vec<u8>), bad: &[u8]) {
    let reason =
        if bad.len() == good.len() { "does not hold the image that it should" } else { "the members hold" };
    refused(what, &Forged::new(image, &[bad]).verdict(bench, image), 12, reason);
}

/// An entry as the `tar` crate writes it.
fn entry(kind: tar::EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Where each entry begins, with its name.
fn entries(tar: &[u8]) -> Vec<(usize, String)> {
    let mut archive = tar::Archive::new(tar);
    let all = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let at = usize::try_from(entry.raw_header_position()).unwrap();
        (at, String::from_utf8_lossy(&entry.path_bytes()).into_owned())
    });
    all.collect()
}

#[test]
fn entries_that_no_image_has() {
    let bench = Bench::new("t-tar-entries");
    let good = good(&bench);
    let (image, tar) = &good;
    let places = entries(tar);
    let blob = Digest::of(b"unlisted").hex();
    let (config, first) = (image.config.digest.hex(), places[0].1.clone());
    let long = "../".repeat(40) + "etc/passwd";
    let pax = |record: &str| format!("{} {record}\n", record.len() + 4);
    let manifest = r#"[{"Config":"blobs/sha256/x","RepoTags":["debian:12"],"Layers":[]}]"#.as_bytes();
    let kind = tar::EntryType::new;
    let odd: Vec<(&str, Vec<u8>)> = vec![
        ("a way out", entry(kind(b'0'), "../../etc/cron.d/evil", "", b"evil")),
        ("an absolute path", entry(kind(b'0'), "/etc/evil", "", b"evil")),
        ("a symbolic link out", entry(kind(b'2'), "blobs", "/etc", b"")),
        ("a hard link out", entry(kind(b'1'), "blobs/sha256/x", "/etc/shadow", b"")),
        ("a character device", entry(kind(b'3'), "blobs/sha256/x", "", b"")),
        ("a block device", entry(kind(b'4'), "blobs/sha256/x", "", b"")),
        ("a folder", entry(kind(b'5'), "blobs/", "", b"")),
        ("a pipe", entry(kind(b'6'), "blobs/sha256/x", "", b"")),
        ("a contiguous file", entry(kind(b'7'), &first, "", b"")),
        ("a sparse file", entry(kind(b'S'), "blobs/sha256/x", "", b"")),
        ("a volume's name", entry(kind(b'V'), "volume", "", b"")),
        ("a long name", entry(kind(b'L'), "././@LongLink", "", long.as_bytes())),
        ("a long link", entry(kind(b'K'), "././@LongLink", "", long.as_bytes())),
        ("a PAX path", entry(kind(b'x'), "pax", "", pax("path=../../etc/evil").as_bytes())),
        ("a PAX size", entry(kind(b'x'), "pax", "", pax("size=0").as_bytes())),
        ("a global PAX header", entry(kind(b'g'), "pax", "", pax("path=evil").as_bytes())),
        ("a name that is no text", {
            let mut bytes = entry(kind(b'0'), "blobs/sha256/x", "", b"");
            bytes[13] = 0xff;
            let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
            header.set_cksum();
            header.as_bytes().to_vec()
        }),
        ("a blob that nobody lists", entry(kind(b'0'), &format!("blobs/sha256/{blob}"), "", b"unlisted")),
        ("a blob with a lying name", entry(kind(b'0'), &format!("blobs/sha256/{config}"), "", b"evil")),
        ("a second image", entry(kind(b'0'), "manifest.json", "", manifest)),
        ("a second index", entry(kind(b'0'), "index.json", "", b"{}")),
        ("an older format's tags", entry(kind(b'0'), "repositories", "", b"{}")),
        ("the end, twice", vec![0; 1024]),
    ];
    for (what, bytes) in &odd {
        // First, between blobs and documents, and last.
        let documents = places.iter().find(|(_, name)| name == "index.json").unwrap().0;
        for at in [0, documents, tar.len()] {
            let bad = [&tar[..at], bytes, &tar[at..]].concat();
            is_refused(&format!("{what} at {at}"), &bench, &good, &bad);
        }
    }
}

#[test]
fn headers_that_say_more_than_a_name() {
    let bench = Bench::new("t-tar-headers");
    let good = good(&bench);
    let (_, tar) = &good;
    let change = |what: &str, change: fn(&mut tar::Header)| {
        for (at, name) in entries(tar) {
            let mut header = tar::Header::from_byte_slice(&tar[at..at + 512]).clone();
            change(&mut header);
            header.set_cksum();
            let bad = [&tar[..at], header.as_bytes(), &tar[at + 512..]].concat();
            is_refused(&format!("{what} of {name}"), &bench, &good, &bad);
        }
    };
    change("setuid", |header| header.set_mode(0o4755));
    change("an owner", |header| header.set_uid(1000));
    change("a time", |header| header.set_mtime(1));
    change("a smaller size", |header| header.set_size(header.size().unwrap() - 1));
    change("a larger size", |header| header.set_size(1 << 40));
    change("another type", |header| header.set_entry_type(tar::EntryType::Continuous));
}

#[test]
fn documents_in_another_order_or_twice() {
    let bench = Bench::new("t-tar-order");
    let good = good(&bench);
    let (_, tar) = &good;
    let places = entries(tar);
    let end = tar.len();
    let piece = |number: usize| {
        let to = places.get(number + 1).map_or(end, |(at, _)| *at);
        &tar[places[number].0..to]
    };
    for number in 0..places.len() {
        let name = &places[number].1;
        let twice = [
            &tar[..places[number].0],
            piece(number),
            piece(number),
            &tar[places[number].0 + piece(number).len()..],
        ]
        .concat();
        is_refused(&format!("{name} twice"), &bench, &good, &twice);
        let without = [&tar[..places[number].0], &tar[places[number].0 + piece(number).len()..]].concat();
        is_refused(&format!("no {name}"), &bench, &good, &without);
    }
    let swapped = [piece(1), piece(0), &tar[places[2].0..]].concat();
    is_refused("the first two exchanged", &bench, &good, &swapped);
}

#[test]
fn sampled_bytes_of_an_archive() {
    let bench = Bench::new("t-archive-bytes");
    let archive = bench.archive("tiny", "1.0.0", "hello");
    let (sealed, release) = sign::seal(&bench.release("1.0.0", vec![archive.clone()]), &bench.key).unwrap();
    let folder = bench.home.path("dist");
    append::seal(&folder, &archive, &sealed, &|_| {}).unwrap();
    let bytes = fs::read(folder.join(&archive.file)).unwrap();
    let index_at = usize::try_from(tail::index_at(archive.size, archive.index.size).unwrap()).unwrap();
    let path = bench.home.path("changed.tar.gz");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let file = fs::File::open(&path).unwrap();
        check::archive(file, release.archive_named(&archive.file).unwrap(), None, &|_| {})
    };
    check(&bytes).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let error = check(&changed).unwrap_err();
        let right = match &error {
            CheckError::Content { .. } => at < index_at,
            CheckError::Seal { .. } => at as u64 >= archive.size,
            CheckError::Digest { .. } | CheckError::Tail { .. } => at >= index_at,
            _ => false,
        };
        assert!(right, "byte {at}: {error}");
    }
}
