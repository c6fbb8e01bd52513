//! A publication is killed at every write, before and after the server did it; what a reader sees then is
//! all of a version or none of it, and the next run ends with the same objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use imgforge::flow;
use imgforge::flow::pointer::{Place, Publisher};
use imgforge::flow::release::{Keys, Publication, Published, publish};
use imgforge::model::release::Release;
use imgforge::step::keyring;

use crate::bucket::{Break, Server};
use crate::harness::PASSWORD;
use crate::stores::{bytes, killed};
use crate::workbench::{Bench, now, wait};

async fn attempt(
    bench: &Bench,
    server: &Server,
    folder: &Path,
    draft: &Release,
) -> Result<Published, flow::Error> {
    let key = || keyring::open(&bench.home.path("keys/cosign.key"), PASSWORD.as_bytes()).unwrap();
    let store = server.store(folder.join("uploads"));
    let place = Place {
        project: draft.project.clone(),
        store: store.clone(),
        pinned: bench.key.public().clone(),
        state: folder.join("state"),
        now: now(),
    };
    let publisher = Publisher::open(&place).await?;
    let ask = Publication {
        gate: None,
        patch_from: Vec::new(),
        cache: bench.home.path("cache"),
        tiers: Vec::new(),
        platforms: Vec::new(),
        version: draft.version.clone(),
        args: BTreeMap::new(),
        channel: "stable".parse().unwrap(),
        store,
        public: None,
        pinned: place.pinned.clone(),
        folder: bench.home.path("dist"),
        state: place.state.clone(),
        threads: 2,
        now: now(),
    };
    let before = publisher.current(&ask.channel).await?;
    publish(&ask, &publisher, draft.clone(), before, &Keys { release: key(), channel: key() }, &|_| {}).await
}

/// The objects of a bucket.
pub(crate) fn objects(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn a_publication_killed_at_any_write_goes_on() {
    let bench = Bench::new("t-matrix");
    // Large enough to travel in parts.
    let text = hex::encode(bytes(18 << 20));
    let archive = bench.stated("tiny", "1.0.0", bench.image("tiny", "1.0.0", &text));
    assert!(archive.size > 16 << 20, "{}", archive.size);
    let draft = bench.release("1.0.0", vec![archive]);

    let whole = Server::start();
    let published = wait(attempt(&bench, &whole, &bench.home.path("whole"), &draft)).unwrap();
    assert_eq!(published.new, 8);
    let expected = objects(&whole.object(""));
    let writes = whole.writes();
    let mut table = String::from("write  when    a reader sees  the next run puts\n");
    for write in 0..writes {
        for (how, when) in [(Break::FreezeBefore, "before"), (Break::FreezeAfter, "after")] {
            let (server, folder) = (Server::start(), bench.home.path(&format!("{write}-{when}")));
            server.freeze(write, how);
            killed(&server, attempt(&bench, &server, &folder, &draft));
            let seen = objects(&server.object(""));
            let has = |name: &str| seen.iter().any(|object| object.ends_with(name));
            let release = has("release.sigstore.json");
            let stated = ["cyclonedx", "provenance", "spdx"].map(|word| format!("64.{word}.sigstore.json"));
            let all = has(".tar.gz") && has("SHA256SUMS.sig") && stated.iter().all(|file| has(file));
            assert!(!release || all, "{write} {when}: {seen:?}");
            assert!(!has("stable.sigstore.json") || release, "{write} {when}: {seen:?}");
            server.forget();
            let again = wait(attempt(&bench, &server, &folder, &draft)).unwrap();
            assert_eq!(objects(&server.object("")), expected, "{write} {when}");
            assert_eq!(*again.release, Release { created: again.release.created, ..draft.clone() });
            let view = if has("stable.sigstore.json") {
                "all of it"
            } else if release {
                "a release"
            } else {
                "nothing"
            };
            writeln!(table, "{write:>5}  {when:<6}  {view:<13}  {}", again.new).unwrap();
        }
    }
    insta::assert_snapshot!(table, @"
    write  when    a reader sees  the next run puts
        0  before  nothing        8
        0  after   nothing        8
        1  before  nothing        8
        1  after   nothing        8
        2  before  nothing        8
        2  after   nothing        8
        3  before  nothing        8
        3  after   nothing        8
        4  before  nothing        8
        4  after   nothing        8
        5  before  nothing        8
        5  after   nothing        7
        6  before  nothing        7
        6  after   nothing        6
        7  before  nothing        6
        7  after   nothing        5
        8  before  nothing        5
        8  after   nothing        4
        9  before  nothing        4
        9  after   nothing        3
       10  before  nothing        3
       10  after   nothing        2
       11  before  nothing        2
       11  after   a release      1
       12  before  a release      1
       12  after   all of it      0
    ");
}
