//! What a damaged or hostile store shows: changed, cut, replaced and missing files.

use std::fs;

use super::{flip, refused, stranger};
use crate::assert_session;
use crate::workbench::Bench;

#[test]
fn the_untouched_release_is_accepted() {
    let bench = Bench::published("t-untouched");
    assert_session!(bench.fetch(), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-untouched 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-untouched/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-untouched/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-untouched/tiny:1.0.0  # nothing was started
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-untouched/tiny:1.0.0` into Docker [VERSION]
    ");
    assert!(bench.in_engine());
}

#[test]
fn a_flipped_bit_in_the_archive() {
    let bench = Bench::published("t-archive-bit");
    flip(&bench.object("releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz"), 300);
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    warning: store `[HOME]/store` sent other bytes than were signed, as member 0 of `t-archive-bit/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`: trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 5.9 kB
    error: store `[HOME]/store` sent other bytes than were signed, as member 0 of `t-archive-bit/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`

    hint: nothing of it was loaded; try another store with `--from`, and tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_longer_and_a_shorter_archive() {
    let bench = Bench::published("t-archive-size");
    let path = bench.object("releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz");
    let bytes = fs::read(&path).unwrap();
    // Nobody asks for more than was signed, so what comes after it is not even seen.
    fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    bench.home.must(&["fetch", "tiny", "--no-load"]);
    let cached = bench.home.path(".cache/imgforge/archives/t-archive-size/tiny-1.0.0-linux-amd64.tar.gz");
    assert!(fs::read(cached).unwrap() == bytes);
    assert_session!(bench.home.session(&["verify", path.to_str().unwrap()]), @"
    exit 12
    --- stderr
    error: `tiny-1.0.0-linux-amd64.tar.gz` is not a whole archive
      cause: it does not end like an archive of imgforge

    hint: the file was damaged or replaced, nothing was loaded; fetch it again
    ");
    fs::write(&path, &bytes[..1000]).unwrap();
    fs::remove_dir_all(bench.home.path(".cache")).unwrap();
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    warning: store `[HOME]/store` refuses the request for `t-archive-size/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` (the server answered 416: the file has only 1000 bytes): trying another way
    downloading all of `tiny-1.0.0-linux-amd64.tar.gz` in one piece: 5.9 kB
    error: store `[HOME]/store` has `t-archive-size/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` with 1000 bytes, and 5988 were signed

    hint: nothing of it was loaded; try another store with `--from`, and tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_changed_release_and_a_changed_channel() {
    let bench = Bench::published("t-document-bit");
    let channel = bench.object("channels/stable.sigstore.json");
    let good = fs::read_to_string(&channel).unwrap();
    let at = good.find("\"payload\":\"").unwrap() + 60;
    flip(&channel, at);
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    error: the channel was changed after it was sealed

    hint: the document was damaged or replaced, nothing was loaded; fetch it again
    ");
    fs::write(&channel, good).unwrap();
    let release = bench.object("releases/1.0.0/release.sigstore.json");
    let at = fs::read_to_string(&release).unwrap().find("\"payload\":\"").unwrap() + 60;
    flip(&release, at);
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    error: the release was changed after it was sealed

    hint: the document was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_wrong_key() {
    let bench = Bench::published("t-wrong-key");
    let evil = stranger(&bench);
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "evil")]);
    fs::remove_dir_all(bench.object("releases")).unwrap();
    let sealed = bench.publish(&release, &evil);
    bench.point(&bench.channel(&sealed, "1.0.0", 1), &evil);
    assert_session!(bench.fetch(), @"
    exit 11
    --- stderr
    error: the channel is sealed by no trusted key
      cause: it says that key sha256:[DIGEST] sealed it

    hint: nothing was loaded; compare your key with the project's: `imgforge trust show`
    ");
    // The channel is the project's, the release is not.
    bench.point(&bench.channel(&sealed, "1.0.0", 1), &bench.key);
    assert_session!(bench.fetch(), @"
    exit 11
    --- stderr
    error: the release is sealed by no trusted key
      cause: it says that key sha256:[DIGEST] sealed it

    hint: nothing was loaded; compare your key with the project's: `imgforge trust show`
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_missing_signature() {
    let bench = Bench::published("t-unsigned");
    let release = bench.object("releases/1.0.0/release.sigstore.json");
    let good = fs::read_to_string(&release).unwrap();
    let start = good.find("\"signatures\":").unwrap();
    fs::write(&release, format!("{}\"signatures\":[]}}}}", &good[..start])).unwrap();
    assert_session!(bench.fetch(), @"
    exit 10
    --- stderr
    error: the release is not sealed: it is no Sigstore bundle v0.3 with one signature (invalid length 0, expected an array of length 1 at line 1 column 1543)

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    ");
    // Cosign's older form, in which the signer brings the key that is believed.
    fs::write(&release, r#"{"base64Signature":"AA==","cert":"LS0t","rekorBundle":null}"#).unwrap();
    assert_session!(bench.fetch(), @"
    exit 10
    --- stderr
    error: the release is not sealed: it is no Sigstore bundle v0.3 with one signature (unknown field `base64Signature`, expected one of `mediaType`, `verificationMaterial`, `dsseEnvelope` at line 1 column 18)

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    ");
    fs::remove_file(&release).unwrap();
    assert_session!(bench.fetch(), @"
    exit 10
    --- stderr
    error: channel `stable` points to release 1.0.0, which is not in the store
      cause: store `[HOME]/store` has no `t-unsigned/releases/1.0.0/release.sigstore.json`

    hint: the store is incomplete, nothing was loaded; tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn another_release_than_the_channel_names() {
    let bench = Bench::published("t-mix-and-match");
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "other")]);
    fs::remove_dir_all(bench.object("releases")).unwrap();
    bench.publish(&release, &bench.key);
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    error: the release 1.0.0 in the store is not the one that the channel names

    hint: the store was damaged or replaced, nothing was loaded; tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn the_archive_of_another_signed_release() {
    let bench = Bench::published("t-other-archive");
    bench.publish(&bench.release("1.1.0", vec![bench.archive("tiny", "1.1.0", "other")]), &bench.key);
    let archive = bench.object("releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz");
    fs::copy(bench.object("releases/1.1.0/tiny-1.1.0-linux-amd64.tar.gz"), &archive).unwrap();
    refused("from the store", &bench.fetch(), 12, "sent other bytes than were signed, as the index of");
    let said = bench.home.session(&["verify", archive.parent().unwrap().to_str().unwrap(), "-q"]);
    refused("offline", &said, 12, "archive `tiny-1.0.0-linux-amd64.tar.gz` does not match its release");
    // A file may have any name: it says itself what it is.
    let said = bench.home.session(&["verify", archive.to_str().unwrap(), "-q"]);
    assert!(said.contains("release    t-other-archive 1.1.0, sealed by"), "{said}");
    assert!(!bench.in_engine());
}

#[test]
fn a_pipe_in_the_place_of_a_document() {
    let bench = Bench::published("t-pipe");
    let path = bench.object("channels/stable.sigstore.json");
    fs::remove_file(&path).unwrap();
    crate::harness::must(&mut crate::harness::tool("mkfifo", &[path.to_str().unwrap()]));
    assert_session!(bench.fetch(), @"
    exit 1
    --- stderr
    error: store `[HOME]/store`: cannot access `t-pipe/channels/stable.sigstore.json`
      cause: this is not a regular file

    hint: check the store and its permissions
    ");
}

#[test]
fn a_document_that_steers_the_terminal() {
    let bench = Bench::published("t-terminal");
    let path = bench.object("channels/stable.sigstore.json");
    let good = fs::read_to_string(&path).unwrap();
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    fs::write(&path, good.replace(kind, "\\u001b[2J\\u001b[Hintegrity  OK\\u001b[8m")).unwrap();
    assert_session!(bench.fetch(), @r#"
    exit 10
    --- stderr
    error: the channel is not sealed: "\u{1b}[2J\u{1b}[Hintegrity  OK\u{1b}[8m" of "application/vnd.in-toto+json" is not accepted

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    "#);
    fs::write(&path, good.replace("mediaType", "\\u001b[2J")).unwrap();
    assert_session!(bench.fetch(), @r"
    exit 10
    --- stderr
    error: the channel is not sealed: it is no Sigstore bundle v0.3 with one signature (unknown field `\u{1b}[2J`, expected one of `mediaType`, `verificationMaterial`, `dsseEnvelope` at line 1 column 12)

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    ");
}

#[test]
fn what_is_not_there_or_not_trusted() {
    let bench = Bench::published("t-absent");
    assert_session!(bench.home.session(&["fetch", "nope"]), @"
    exit 2
    --- stderr
    error: release 1.0.0 has no archive of tier `nope` for linux/amd64; it has `tiny-1.0.0-linux-amd64.tar.gz`

    hint: choose another tier, or a platform with `--platform`
    ");
    assert_session!(bench.home.session(&["fetch", "tiny@9.9.9"]), @"
    exit 1
    --- stderr
    error: store `[HOME]/store` has no `t-absent/releases/9.9.9/release.sigstore.json`

    hint: check the store, the project, the channel and the version
    ");
    assert_session!(bench.home.session(&["fetch", "stranger/tiny"]), @"
    exit 2
    --- stderr
    error: project `stranger` is not trusted yet

    hint: run `imgforge trust add PROJECT --key cosign.pub --from STORE`
    ");
    assert_session!(bench.home.session(&["fetch", "tiny@v1"]), @"
    exit 2
    --- stderr
    error: invalid value 'tiny@v1' for '<[PROJECT/]TIER[@VERSION]|URL|FILE>': `v1` is not a version: use MAJOR.MINOR.PATCH, such as `1.4.0` or `1.4.0-rc.1`, without a leading `v`

    For more information, try '--help'.
    ");
    let mut unreachable = bench.home.imgforge(&["fetch", "tiny"]);
    assert_session!(bench.home.record(unreachable.env("DOCKER_HOST", "unix:///nowhere.sock")), @"
    exit 31
    --- stderr
    error: no Docker Engine answers at `unix:///nowhere.sock`
      cause: No such file or directory (os error 2)

    hint: start Docker, or set `DOCKER_HOST`; then run the same command again
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_damaged_cache_is_fetched_again() {
    let bench = Bench::published("t-cache");
    bench.home.must(&["fetch", "tiny"]);
    flip(&bench.home.path(".cache/imgforge/archives/t-cache/tiny-1.0.0-linux-amd64.tar.gz"), 100);
    assert_session!(bench.fetch(), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-cache 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-cache/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-cache/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-cache/tiny:1.0.0  # nothing was started
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    warning: it is damaged, and mended: archive `tiny-1.0.0-linux-amd64.tar.gz` does not hold the image that it should
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    ");
}
