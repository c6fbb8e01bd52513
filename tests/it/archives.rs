//! Archives as a person meets them: looked into, compared, rebuilt from older ones, and read by tools
//! that know nothing of imgforge.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use imgforge::flow::inspect;
use imgforge::model::archive::delta::{Plan, Source};
use imgforge::model::archive::tail::{FIRST_LOOK, FOOTER, Tail};
use imgforge::model::archive::tree::Kind;
use imgforge::model::digest::Digest;
use imgforge::model::layer::show;
use imgforge::model::release::Archive;
use imgforge::step::{append, assemble, check, list, members, sign};
use proptest::prelude::*;

use crate::assert_session;
use crate::workbench::Bench;

/// A layer with these files, in order.
fn layer<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Bytes that do not compress and do not repeat.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    (0..size).map(|_| next()).collect()
}

/// An application of many small files and two large ones; `changed` names a file of another content.
fn application(changed: &str) -> Vec<u8> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for number in 0..300 {
        files.insert(format!("app/{number:03}.js"), noise(number, 9000));
    }
    files.insert("lib/a.so".to_owned(), noise(1001, 700_000));
    files.insert("lib/b.so".to_owned(), noise(1002, 2_100_000));
    if let Some(content) = files.get_mut(changed) {
        content[0] ^= 1;
    }
    layer(files.iter().map(|(path, content)| (path.as_str(), content.as_slice())))
}

fn pack(bench: &Bench, tier: &str, version: &str, layers: &[Vec<u8>]) -> Archive {
    bench.pack(tier, version, bench.layered(tier, version, layers))
}

/// Signs archives as one release, each with the seal at its end.
fn seal(bench: &Bench, version: &str, archives: Vec<Archive>) {
    let (sealed, release) = sign::seal(&bench.release(version, archives), &bench.key).unwrap();
    for archive in &release.archives {
        append::seal(&bench.home.path("dist"), archive, &sealed, &|_| {}).unwrap();
    }
}

#[test]
fn a_person_looks_into_archives() {
    let bench = Bench::new("t-inspect");
    let etc = layer([("etc/motd", &b"welcome\n"[..]), ("etc/old", b"gone soon")]);
    let one = pack(&bench, "tiny", "1.0.0", &[etc.clone(), application("")]);
    let top = layer([("app/new.js", &b"new"[..]), ("etc/.wh.old", b"")]);
    let two = pack(&bench, "tiny", "1.1.0", &[etc, application("app/007.js"), top]);
    seal(&bench, "1.0.0", vec![one]);
    let (old, new) = ("dist/tiny-1.0.0-linux-amd64.tar.gz", "dist/tiny-1.1.0-linux-amd64.tar.gz");
    assert_session!(bench.home.session(&["inspect", old, "--quiet"]), @"
    exit 0
    --- stdout
    archive    dist/tiny-1.0.0-linux-amd64.tar.gz  5.52 MB
    image      t-inspect/tiny:1.0.0  linux/amd64  sha256:[DIGEST]
    layers        3.07 kB       266 B packed  sha256:[DIGEST]
                  5.72 MB     5.51 MB packed  sha256:[DIGEST]
    largest       2.80 MB  /lib
                  2.70 MB  /app
                     17 B  /etc
    members    40, made by libdeflate 1.26 at level 6; their index has 3.10 kB
    seal       present; `imgforge verify` says whose
    ");
    assert_session!(bench.home.session(&["inspect", new, "--quiet", "--depth", "1"]), @"
    exit 0
    --- stdout
    archive    dist/tiny-1.1.0-linux-amd64.tar.gz  5.52 MB
    image      t-inspect/tiny:1.1.0  linux/amd64  sha256:[DIGEST]
    layers        3.07 kB       265 B packed  sha256:[DIGEST]
                  5.72 MB     5.51 MB packed  sha256:[DIGEST]
                  2.56 kB       923 B packed  sha256:[DIGEST]
    largest       2.80 MB  /lib
                  2.70 MB  /app
                      8 B  /etc
    members    40, made by libdeflate 1.26 at level 6; their index has 3.10 kB
    seal       none: nobody signed this archive
    ");
    assert_session!(bench.home.session(&["diff", old, new, "--quiet"]), @"
    exit 0
    --- stdout
    changed    /app/007.js
    added      /app/new.js
    removed    /etc/old
    files      3 differ
    fetch      140.85 kB of 5.52 MB (2.55 %) in 3 requests
    ");
    assert_session!(bench.home.session(&["delta", old, new, "--quiet", "--output", "again.tar.gz"]), @"
    exit 0
    --- stdout
    range      135.74 kB at 0
    range      923 B at 5510459
    tail       4.19 kB with index and seal
    copy       5.37 MB from dist/tiny-1.0.0-linux-amd64.tar.gz
    fetch      140.85 kB of 5.52 MB (2.55 %) in 3 requests
    rebuilt    again.tar.gz
    ");
    assert!(fs::read(bench.home.path("again.tar.gz")).unwrap() == fs::read(bench.home.path(new)).unwrap());
    assert_session!(bench.home.session(&["cat", old, "/etc/motd"]), @"
    exit 0
    --- stdout
    welcome
    ");
    assert_session!(bench.home.session(&["cat", new, "etc/old", "--quiet"]), @"
    exit 2
    --- stderr
    error: the image has no file `etc/old`

    hint: `imgforge diff` and `imgforge inspect` show what there is
    ");
    assert_session!(bench.home.session(&["inspect", "keys/cosign.pub"]), @"
    exit 2
    --- stderr
    error: it does not end like an archive of imgforge

    hint: name an archive that imgforge wrote
    ");
    // What scripts read.
    let said: serde_json::Value =
        serde_json::from_str(&bench.home.must(&["diff", old, new, "--json"])).unwrap();
    assert_eq!(said["changes"].as_array().unwrap().len(), 3);
    let said: serde_json::Value =
        serde_json::from_str(&bench.home.must(&["inspect", old, "--json"])).unwrap();
    assert_eq!((&said["sealed"], said["layers"].as_array().unwrap().len()), (&true.into(), 2));
    assert_eq!(two.tier.as_str(), "tiny");
}

#[test]
fn one_look_at_the_end_is_enough_to_know_everything() {
    let bench = Bench::new("t-one-look");
    let archive = pack(&bench, "tiny", "1.0.0", &[application("")]);
    seal(&bench, "1.0.0", vec![archive.clone()]);
    let bytes = fs::read(bench.home.path("dist").join(&archive.file)).unwrap();
    let look = &bytes[bytes.len() - usize::try_from(FIRST_LOOK).unwrap().min(bytes.len())..];
    let tail = Tail::parse(look, bytes.len() as u64).unwrap();
    assert_eq!((tail.index_blob, tail.footer.body), (archive.index, archive.size));
    assert!(tail.sealed.is_some());
    // The index costs 44 bytes a member.
    let index = tail.index;
    let records = index.members().len() as u64 * 44;
    assert!(tail.index_blob.size - records < 1500, "{} bytes of contents", tail.index_blob.size - records);
    assert_eq!(bytes[bytes.len() - FOOTER + 12..][..2], *b"IF");
}

#[test]
fn an_update_costs_what_changed_and_is_the_same_file() {
    let bench = Bench::new("t-delta");
    let base = layer([("bin/node", noise(7, 3_000_000).as_slice())]);
    let tiers: BTreeMap<&str, Archive> = [
        ("old", vec![base.clone(), application("")]),
        ("new", vec![base.clone(), application("app/150.js")]),
        ("sister", vec![base, layer([("app/other", &b"small"[..])])]),
    ]
    .into_iter()
    .map(|(tier, layers)| (tier, pack(&bench, tier, "1.0.0", &layers)))
    .collect();
    let path = |tier: &str| bench.home.path("dist").join(&tiers[tier].file);
    let open = |tier: &str| inspect::open(&path(tier)).unwrap();
    let new = open("new");

    let plan = inspect::delta(&[open("old")], &new);
    // One small file changed: one group of small files, the frame with the headers, the documents.
    assert!(
        plan.fetched() < 400_000 && plan.fetches.len() <= 3,
        "{} in {}",
        plan.fetched(),
        plan.fetches.len()
    );
    let both = inspect::delta(&[open("sister"), open("old")], &new);
    assert_eq!(both.fetched(), plan.fetched());
    assert!(
        both.found.iter().any(|found| found.source == 0) && both.found.iter().any(|found| found.source == 1)
    );
    let nothing = inspect::delta(&[], &new);
    assert_eq!((nothing.fetches.len(), nothing.fetched()), (1, new.index.packed_size()));

    for (name, old, plan) in [
        ("from-old", vec![open("old")], plan.clone()),
        ("from-both", vec![open("sister"), open("old")], both),
        ("from-nothing", vec![], nothing),
        // The files that were planned with are no longer the ones that are there.
        ("from-another", vec![open("sister")], plan),
    ] {
        let target = bench.home.path(name);
        let done = inspect::rebuild(&old, &new, &plan, &target, &|_| {}).unwrap();
        assert!(fs::read(&target).unwrap() == fs::read(path("new")).unwrap(), "{name}");
        assert!(done.copied + done.fetched >= new.index.packed_size(), "{name}");
    }
}

#[test]
fn an_interrupted_download_is_a_source_and_a_lying_store_is_not() {
    let bench = Bench::new("t-resume");
    let archive = pack(&bench, "tiny", "1.0.0", &[application("")]);
    let path = bench.home.path("dist").join(&archive.file);
    let opened = inspect::open(&path).unwrap();
    let half = opened.index.packed_size() / 2;
    let part = bench.home.path("part");
    fs::write(&part, &fs::read(&path).unwrap()[..usize::try_from(half).unwrap()]).unwrap();
    let source = Source::pieces(&opened.index, std::slice::from_ref(&(0..half)));
    let plan = Plan::new(&opened.index, &[source], &members::compressor());
    assert!(plan.fetched() < opened.index.packed_size() - half + (1 << 20));
    let (from, to) = (fs::File::open(&part).unwrap(), fs::File::create(bench.home.path("to")).unwrap());
    let good = fs::File::open(&path).unwrap();
    let ranges = |range| assemble::part(&good, range);
    let done = assemble::members(&opened.index, &plan, &[&from], &ranges, &to, &|_| {}).unwrap();
    assert_eq!(done.fetched, plan.fetched());
    // A store that sends other bytes is found out at the first member.
    let zeroes = |range: std::ops::Range<u64>| -> std::io::Result<Box<dyn std::io::Read>> {
        Ok(Box::new(std::io::Read::take(std::io::repeat(0), range.end - range.start)))
    };
    let error = assemble::members(&opened.index, &plan, &[&from], &zeroes, &to, &|_| {}).unwrap_err();
    assert!(matches!(error, assemble::AssembleError::Member(_)), "{error:?}");
    // And one that sends less.
    let short = |range: std::ops::Range<u64>| assemble::part(&good, range.start..range.end - 1);
    let error = assemble::members(&opened.index, &plan, &[&from], &short, &to, &|_| {}).unwrap_err();
    assert!(matches!(error, assemble::AssembleError::Fetch(..)), "{error:?}");
}

#[test]
fn an_archive_of_another_compressor_is_compressed_again() {
    let bench = Bench::new("t-repack");
    let archive = pack(&bench, "tiny", "1.0.0", &[application("")]);
    let path = bench.home.path("dist").join(&archive.file);
    let new = inspect::open(&path).unwrap();
    // The same content, and an index that says that an older compressor made these members.
    let mut file = Vec::new();
    let mut records = Vec::new();
    let archive = Arc::new(fs::File::open(&path).unwrap());
    for number in 0..new.index.members().len() {
        let mut content = Vec::new();
        let part = new.index.content(number);
        members::Part::read(&archive, &new.index, &part, 2).read_to_end(&mut content).unwrap();
        let mut packed = imgforge::model::archive::gzip::store(&content);
        let digest = Digest::of(&packed);
        let (length, plain) = (u32::try_from(packed.len()).unwrap(), u32::try_from(content.len()).unwrap());
        let checksum = libdeflater::crc32(&content);
        records.push(imgforge::model::archive::index::Member { packed: length, plain, checksum, digest });
        file.append(&mut packed);
    }
    let contents = imgforge::model::archive::index::Contents {
        image: new.index.image().clone(),
        papers: Vec::new(),
        compressor: imgforge::model::archive::index::Compressor {
            version: "1.0".to_owned(),
            ..members::compressor()
        },
    };
    let old = imgforge::model::archive::index::Index::new(contents, records).unwrap();
    fs::write(bench.home.path("old"), &file).unwrap();
    let plan = Plan::new(&new.index, &[Source::archive(&old)], &members::compressor());
    assert_eq!(plan.fetched(), 0);
    let (from, to) = (fs::File::open(bench.home.path("old")).unwrap(), bench.home.path("to"));
    let never = |_| Err(std::io::Error::other("nothing has to be fetched"));
    let out = fs::File::create(&to).unwrap();
    assemble::members(&new.index, &plan, &[&from], &never, &out, &|_| {}).unwrap();
    let expected = fs::read(&path).unwrap();
    let body = usize::try_from(new.index.packed_size()).unwrap();
    assert!(fs::read(&to).unwrap() == expected[..body]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any files in any layers come back as they were, and the archive passes every check.
    #[test]
    fn any_tree_round_trips(
        layers in prop::collection::vec(
            prop::collection::btree_map("[a-z]{1,3}(/[a-z]{1,8}){0,3}", (any::<u64>(), 0..200_000usize), 1..20),
            1..4,
        )
    ) {
        let bench = BENCH.get_or_init(|| Bench::new("t-any-tree"));
        // A path that is a file in one place and a folder in another has no meaning in one layer.
        let layers: Vec<BTreeMap<String, Vec<u8>>> = layers
            .into_iter()
            .map(|files| {
                let names: Vec<String> = files.keys().cloned().collect();
                let is_folder = |name: &str| names.iter().any(|other| other.starts_with(&format!("{name}/")));
                files
                    .into_iter()
                    .filter(|(name, _)| !is_folder(name))
                    .map(|(name, (seed, size))| (name, noise(seed, size)))
                    .collect()
            })
            .collect();
        let tars: Vec<Vec<u8>> = layers
            .iter()
            .map(|files| layer(files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))))
            .collect();
        let (store, image) = bench.layered("tiny", "1.0.0", &tars);
        let archive = bench.pack("tiny", "1.0.0", (store, image.clone()));
        let path = bench.home.path("dist").join(&archive.file);
        let described = check::describe(&path, &archive.tier, image, &|_| {}).unwrap();
        prop_assert_eq!(&described, &archive);

        let opened = inspect::open(&path).unwrap();
        let tree = opened.tree(&|_| {}).unwrap();
        let top = layers.last().unwrap();
        for (path, node) in tree.iter() {
            if let (Kind::File { size, digest }, Some(content)) = (&node.kind, top.get(&show(path))) {
                prop_assert_eq!((*size, *digest), (content.len() as u64, Digest::of(content)));
            }
        }
        if let Some((name, content)) = top.iter().next() {
            let mut read = Vec::new();
            opened.cat(name, &mut read, &|_| {}).unwrap();
            prop_assert_eq!(&read, content);
        }
        prop_assert_eq!(list::layers(&opened.index).len(), layers.len());
    }

    /// Foreign bytes are no end of an archive, and cost no memory.
    #[test]
    fn foreign_bytes_are_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..600), size in any::<u64>()) {
        prop_assert!(Tail::parse(&bytes, size).is_err());
    }
}

static BENCH: std::sync::OnceLock<Bench> = std::sync::OnceLock::new();
