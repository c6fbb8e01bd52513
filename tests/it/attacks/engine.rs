//! Names that belong to other images, and keys that count for other projects.

use std::fs;

use super::stranger;
use crate::assert_session;
use crate::workbench::Bench;

#[test]
fn a_tag_that_belongs_to_another_image() {
    let bench = Bench::published("t-tag");
    bench.home.must(&["fetch", "tiny"]);
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "other content")]);
    fs::remove_dir_all(bench.object("releases")).unwrap();
    let sealed = bench.publish(&release, &bench.key);
    bench.point(&bench.channel(&sealed, "1.0.0", 2), &bench.key);
    assert_session!(bench.fetch(), @"
    exit 1
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    warning: it is damaged, and mended: archive `tiny-1.0.0-linux-amd64.tar.gz` does not match its release: expected 2338 bytes before the seal, found 2326
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    error: the engine already has another image named `t-tag/tiny:1.0.0`

    hint: if that image may lose its name, add `--replace`
    ");
    assert_session!(bench.home.session(&["fetch", "--verify", "tiny", "--replace"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 2, expires [TIME])
    release    t-tag 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-tag/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-tag/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    loading `t-tag/tiny:1.0.0` into Docker [VERSION]
    ");
}

#[test]
fn offline_verification_believes_a_project_only_its_own_key() {
    let bench = Bench::published("t-own-key");
    let (store, other) = (bench.home.text("store"), "evil/cosign.pub");
    let evil = stranger(&bench);
    bench.home.must(&["trust", "add", "t-evil", "--key", other, "--from", &store]);
    let release = bench.release("2.0.0", vec![bench.archive("tiny", "2.0.0", "evil")]);
    bench.publish(&release, &evil);
    let folder = |version: &str| bench.object("releases").join(version).to_str().unwrap().to_owned();
    assert_session!(bench.home.session(&["verify", &folder("2.0.0"), "-q"]), @"
    exit 11
    --- stderr
    error: the release says that it is of `t-own-key`, and the key pinned for that project did not seal it

    hint: compare your keys with the projects': `imgforge trust show`
    ");
    assert_session!(bench.home.session(&["verify", &folder("1.0.0"), "-q"]), @"
    exit 0
    --- stdout
    release    t-own-key 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-own-key/tiny:1.0.0  sha256:[DIGEST]
    integrity  OK
    freshness  OK: the channel beside it says so until [TIME]
    ");
    assert_session!(bench.home.session(&["verify", "nowhere", "-q"]), @"
    exit 2
    --- stderr
    error: there is no `nowhere`

    hint: check the path
    ");
    // It opens no socket, so it does not care where engines are.
    let mut elsewhere = bench.home.imgforge(&["verify", &folder("1.0.0"), "-q"]);
    crate::harness::must(elsewhere.env("DOCKER_HOST", "ssh://somewhere"));
}
