//! Servers that do not do as they are asked: none of it reaches the engine, and each has its own words.

use std::fs;
use std::process::Command;

use crate::assert_session;
use crate::fetching::project;
use crate::harness::run;
use crate::web::{Web, Whim};

#[test]
fn servers_that_do_not_do_as_they_are_asked() {
    let (bench, web) = project("t-fetch-whims");
    let url = web.url();
    let fetch = ["fetch", "tiny", "--no-load", "--from", &url];
    let fresh = |whim: Whim| {
        let _ = fs::remove_dir_all(bench.home.path(".cache"));
        web.mood(move |request| if request.is_archive() { whim.clone() } else { Whim::Serve });
        bench.home.session(&fetch).replace(&web.url(), "[URL]")
    };
    assert_session!(fresh(Whim::NoRanges), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-fetch-whims 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-fetch-whims/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    transfer   4.4 MB downloaded
    image      t-fetch-whims/tiny:1.0.0  not loaded
    integrity  OK
    freshness  OK
    disk       4.4 MB in the cache, [FREE] free
    next       imgforge fetch --verify t-fetch-whims/tiny  # gives it to Docker, and asks Docker what it has
    --- stderr
    warning: store `[URL]` refuses the request for `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` (the server answered 206: asked for bytes=[RANGE], it sends something else): trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 4.4 MB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    ");
    assert_session!(fresh(Whim::OtherRange), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-fetch-whims 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-fetch-whims/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    transfer   4.4 MB downloaded
    image      t-fetch-whims/tiny:1.0.0  not loaded
    integrity  OK
    freshness  OK
    disk       4.4 MB in the cache, [FREE] free
    next       imgforge fetch --verify t-fetch-whims/tiny  # gives it to Docker, and asks Docker what it has
    --- stderr
    warning: store `[URL]` refuses the request for `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` (the server answered 206: asked for bytes=[RANGE], it sends bytes 4396664-4399246/4402901): trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 4.4 MB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    ");
    assert_session!(fresh(Whim::OtherBytes), @"
    exit 12
    --- stderr
    warning: store `[URL]` sent other bytes than were signed, as the index of `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`: trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 4.4 MB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    error: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
      cause: member 15 has other bytes: expected sha256:[DIGEST], read sha256:[DIGEST]

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert_session!(fresh(Whim::Status(403, "")), @"
    exit 21
    --- stderr
    error: store `[URL]` denies access to `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: the server answered 403

    hint: the link or the key expired, or may not do this; run the command again with another one: it goes on where it stopped
    ");
    assert_session!(fresh(Whim::Status(404, "")), @"
    exit 1
    --- stderr
    error: store `[URL]` has no `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`

    hint: check the store, the project, the channel and the version
    ");
    assert_session!(fresh(Whim::Status(416, "")), @"
    exit 1
    --- stderr
    warning: store `[URL]` refuses the request for `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` (the server answered 416): trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 4.4 MB
    error: store `[URL]` refuses the request for `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: the server answered 416

    hint: check the bucket, the endpoint and the region
    ");
    assert_session!(fresh(Whim::Status(500, "")), @"
    exit 20
    --- stderr
    error: store `[URL]` cannot be reached for `t-fetch-whims/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: the server answered 500

    hint: run the same command again: it goes on where it stopped
    ");
    assert!(
        !bench.home.path(".cache/imgforge/archives/t-fetch-whims/tiny-1.0.0-linux-amd64.tar.gz").exists()
    );
}

#[test]
fn a_storm_passes_and_a_page_for_people_is_no_document() {
    let (bench, web) = project("t-fetch-storm");
    let url = web.url();
    let fetch = ["fetch", "tiny", "--no-load", "--from", &url];
    let mut left = 4;
    web.mood(move |request| {
        if request.is_archive() && left > 0 {
            left -= 1;
            return Whim::Status(429, "retry-after: 0\r\n");
        }
        Whim::Serve
    });
    bench.home.must(&fetch);
    // A page for people in the place of a document, as hotels serve it.
    web.mood(|_| Whim::Status(200, ""));
    assert_session!(bench.home.session(&fetch).replace(&url, "[URL]"), @"
    exit 20
    --- stderr
    error: store `[URL]` cannot be reached for `t-fetch-storm/trust/1.jsonl`
      cause: it sends a web page instead, perhaps of a login or of a hotel's network

    hint: run the same command again: it goes on where it stopped
    ");
}

#[test]
fn lengths_that_lie() {
    let (bench, web) = project("t-fetch-lengths");
    let url = web.url();
    let of = |what: &'static str, whim: Whim| {
        let _ = fs::remove_dir_all(bench.home.path(".cache"));
        web.mood(move |request| if request.path.contains(what) { whim.clone() } else { Whim::Serve });
        bench.home.session(&["fetch", "tiny", "--no-load", "--from", &url, "-q"]).replace(&url, "[URL]")
    };
    assert_session!(of(".tar.gz", Whim::OtherLength(1000)), @"
    exit 1
    --- stderr
    error: store `[URL]` refuses the request for `t-fetch-lengths/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: the server answered 416

    hint: check the bucket, the endpoint and the region
    ");
    assert_session!(of(".tar.gz", Whim::OtherLength(-1000)), @"
    exit 20
    --- stderr
    error: store `[URL]` cannot be reached for `t-fetch-lengths/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: the connection ended before the object did

    hint: run the same command again: it goes on where it stopped
    ");
    assert_session!(of(".tar.gz", Whim::Endless), @"
    exit 20
    --- stderr
    error: store `[URL]` cannot be reached for `t-fetch-lengths/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: it sends more bytes than it announced

    hint: run the same command again: it goes on where it stopped
    ");
    assert_session!(of("channels", Whim::OtherLength(1 << 40)), @"
    exit 1
    --- stderr
    error: store `[URL]` refuses the request for `t-fetch-lengths/channels/stable.sigstore.json`
      cause: the server answered 416

    hint: check the bucket, the endpoint and the region
    ");
    assert_session!(of("channels", Whim::OtherLength(-9)), @"
    exit 10
    --- stderr
    error: the channel is not sealed: it is no Sigstore bundle v0.3 with one signature (EOF while parsing a string at line 1 column 998)

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    ");
    assert_session!(of("channels", Whim::Endless), @"
    exit 10
    --- stderr
    error: store `[URL]`: cannot access `t-fetch-lengths/channels/stable.sigstore.json`
      cause: larger than 1048576 bytes

    hint: no document of a release is as large, nothing was loaded; tell the project
    ");
}

#[test]
fn content_that_changes_is_never_spliced() {
    let (bench, web) = project("t-fetch-change");
    let (url, good) = (web.url(), Web::serve(&bench.home.path("good")));
    run(Command::new("cp").args(["-r", &bench.home.text("store"), &bench.home.text("good")]));
    // After the first parts, the server has another file of the same size.
    let path = bench.object("releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz");
    let mut requests = 0;
    web.mood(move |request| {
        if request.is_archive() {
            requests += 1;
            if requests == 2 {
                return Whim::Cut(400 << 10);
            }
            if requests == 3 {
                let mut bytes = fs::read(&path).unwrap();
                let half = bytes.len() / 2;
                bytes[..half].reverse();
                fs::write(&path, bytes).unwrap();
            }
        }
        Whim::Serve
    });
    assert_session!(bench.home.session(&["fetch", "tiny", "--no-load", "--from", &url, "--connections", "1"]).replace(&url, "[URL]"), @"
    exit 12
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 4.4 MB
    warning: store `[URL]` has another `t-fetch-change/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` now than when reading it began: trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 4.4 MB
    error: store `[URL]` sent other bytes than were signed, as member 0 of `t-fetch-change/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`

    hint: nothing of it was loaded; try another store with `--from`, and tell the project
    ");
    // What was right stays, and another store has the rest.
    let session =
        bench.home.must(&["fetch", "tiny", "--no-load", "--from", &url, "--from", &good.url(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&session).unwrap();
    assert_eq!(report["integrity"], "ok");
    assert!(report["transfer"]["kept"].as_u64().unwrap() > 200_000, "{report}");
    let fetched = bench.home.path(".cache/imgforge/archives/t-fetch-change/tiny-1.0.0-linux-amd64.tar.gz");
    let original = bench.home.path("good/t-fetch-change/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz");
    assert!(fs::read(fetched).unwrap() == fs::read(original).unwrap());
}
