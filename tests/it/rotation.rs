//! Keys that hand over to others, and operators who do nothing about it.

use std::fs;
use std::path::{Path, PathBuf};

use imgforge::step::keyring::{self, SigningKey};

use crate::assert_session;
use crate::harness::{PASSWORD, must, tool};
use crate::workbench::Bench;

/// A published project with more keys than it uses.
struct Project(Bench);

impl Project {
    fn new(name: &str) -> Self {
        let bench = Bench::published(name);
        for key in ["one", "two", "three"] {
            bench.home.must(&["keys", "generate", "--name", key]);
        }
        Self(bench)
    }

    fn key(&self, name: &str) -> SigningKey {
        keyring::open(&self.0.home.path(&format!("keys/{name}.key")), PASSWORD.as_bytes()).unwrap()
    }

    /// Another machine that pinned a key and has seen nothing yet.
    fn newcomer(&self, name: &str, key: &str) -> Newcomer<'_> {
        let home = self.0.home.path(name);
        fs::create_dir_all(&home).unwrap();
        let newcomer = Newcomer { project: self, home };
        let (key, store) = (self.0.home.text(&format!("keys/{key}.pub")), self.0.home.text("store"));
        let said = newcomer.session(&["trust", "add", &self.0.project, "--key", &key, "--from", &store]);
        assert!(said.starts_with("exit 0"), "{said}");
        newcomer
    }

    fn rotate(&self, arguments: &[&str]) -> String {
        let place = ["--project", &self.0.project];
        self.0.home.session(&[&["trust", "rotate"], arguments, &place].concat())
    }

    fn release(&self, version: &str, key: &str) {
        let release = self.0.release(version, vec![self.0.archive("tiny", version, version)]);
        self.0.publish(&release, &self.key(key));
        let key = format!("keys/{key}.key");
        let said = self.0.home.session(&[
            "channel",
            "set",
            "stable",
            version,
            "--key",
            &key,
            "--project",
            &self.0.project,
        ]);
        assert!(said.starts_with("exit 0"), "{said}");
    }
}

/// Somebody's machine.
struct Newcomer<'a> {
    project: &'a Project,
    home: PathBuf,
}

impl Newcomer<'_> {
    fn session(&self, arguments: &[&str]) -> String {
        let home = &self.project.0.home;
        home.record(home.imgforge(arguments).env("HOME", &self.home))
    }
}

fn keys(from: &str, to: &str) -> [String; 4] {
    ["--key".into(), format!("keys/{from}.key"), "--to".into(), format!("keys/{to}.key")]
}

#[test]
fn who_pinned_the_first_key_accepts_what_the_fourth_seals() {
    let project = Project::new("t-rotated");
    let away = project.newcomer("away", "cosign");
    for (from, to) in [("cosign", "one"), ("one", "two"), ("two", "three")] {
        let arguments = keys(from, to);
        let said = project.rotate(&arguments.each_ref().map(String::as_str));
        assert!(said.starts_with("exit 0"), "{said}");
    }
    project.release("2.0.0", "three");
    assert_session!(away.session(&["fetch", "--verify", "tiny", "-q"]), @"
    exit 0
    --- stdout
    channel    stable points to 2.0.0 (sequence 1, expires [TIME])
    release    t-rotated 2.0.0, sealed by key sha256:[DIGEST]
    trust      document 3, which the pinned key leads to
    archive    [HOME]/away/.cache/imgforge/archives/t-rotated/tiny-2.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-rotated/tiny:2.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-rotated/tiny:2.0.0  # nothing was started
    ");
    assert_session!(away.session(&["trust", "show"]), @"
    exit 0
    --- stdout
    project    t-rotated
    key        sha256:[DIGEST]
    store      [HOME]/store
    trust      document 3, 1 of 1 root keys change it
    root       sha256:[DIGEST]
    releases   sha256:[DIGEST]
    channels   sha256:[DIGEST]
    ");
    // Who comes now and pins any of the keys arrives at the same place.
    for key in ["one", "three"] {
        let said = project.newcomer(key, key).session(&["fetch", "tiny", "-q"]);
        assert!(said.starts_with("exit 0"), "{said}");
    }
    // What the first key sealed does not count any more, for those who know.
    assert_session!(away.session(&["fetch", "tiny@1.0.0", "-q"]), @"
    exit 11
    --- stderr
    error: the release is sealed by key sha256:[DIGEST], which does not count any more

    hint: nothing was loaded; the project replaced that key: only what its new one seals counts
    ");
    // Offline, with the documents that lie beside the release.
    let folder = project.0.object("releases/2.0.0");
    let chain: Vec<u8> =
        (1..=3).flat_map(|n| fs::read(project.0.object(&format!("trust/{n}.jsonl"))).unwrap()).collect();
    fs::write(folder.join("trust.jsonl"), chain).unwrap();
    let new = project.newcomer("offline", "cosign");
    assert_session!(new.session(&["verify", folder.to_str().unwrap(), "-q"]), @"
    exit 0
    --- stdout
    release    t-rotated 2.0.0, sealed by key sha256:[DIGEST]
    trust      document 3, which the pinned key leads to
    archive    tiny-2.0.0-linux-amd64.tar.gz  every byte matches
    image      t-rotated/tiny:2.0.0  sha256:[DIGEST]
    verified   1 member, 1 layer, 7.6 kB unpacked
    integrity  OK
    freshness  OK: the channel beside it says so until [TIME]
    ");
    let said = new.session(&[
        "verify",
        folder.to_str().unwrap(),
        "-q",
        "--key",
        &project.0.home.text("keys/cosign.pub"),
    ]);
    assert!(said.starts_with("exit 0") && said.contains("document 3"), "{said}");
}

#[test]
fn a_planned_rotation_says_what_it_does_and_keeps_releases() {
    let project = Project::new("t-planned");
    project.0.home.must(&["fetch", "tiny"]);
    let arguments = keys("cosign", "one");
    let arguments = arguments.each_ref().map(String::as_str);
    assert_session!(project.rotate(&[&arguments[..], &["--keep-releases"]].concat()), @"
    exit 0
    --- stdout
    project    t-planned
    trust      document 1, 1 of 1 root keys change it
    root       sha256:[DIGEST]
    releases   sha256:[DIGEST]
    channels   sha256:[DIGEST]
    channel    stable counts on
    store      [HOME]/store
    ");
    assert_session!(project.0.fetch(), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 2, expires [TIME])
    release    t-planned 1.0.0, sealed by key sha256:[DIGEST]
    trust      document 1, which the pinned key leads to
    archive    [HOME]/.cache/imgforge/archives/t-planned/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    image      t-planned/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       2.3 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-planned/tiny:1.0.0  # nothing was started
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    ");
    // Again, and with the key that has no say any more.
    assert_session!(project.rotate(&arguments), @"
    exit 11
    --- stderr
    error: key sha256:[DIGEST] may not seal trust documents: trust document 1 does not name it for that

    hint: sign with a key that has the role; after a rotation, name the key that operators pinned with `--pinned FILE`
    ");
    // Cosign says of the new key that the old one vouches for it.
    let (old, new) = (project.0.home.text("keys/cosign.pub"), project.0.home.text("keys/one.pub"));
    let lines = fs::read_to_string(project.0.object("trust/1.jsonl")).unwrap();
    let bundle = project.0.home.text("bundle.json");
    for (line, key) in lines.lines().zip([&old, &new]) {
        fs::write(&bundle, line).unwrap();
        let kind = "https://imgforge.dev/trust/v1";
        let options = [
            "verify-blob-attestation",
            "--key",
            key,
            "--type",
            kind,
            "--bundle",
            &bundle,
            "--insecure-ignore-tlog",
            &new,
        ];
        must(&mut tool("cosign", &options));
    }
}

#[test]
fn after_a_theft_nothing_of_the_old_key_counts() {
    let project = Project::new("t-theft");
    let arguments = keys("cosign", "one");
    assert_session!(project.rotate(&arguments.each_ref().map(String::as_str)), @"
    exit 0
    --- stdout
    project    t-theft
    trust      document 1, 1 of 1 root keys change it
    root       sha256:[DIGEST]
    releases   sha256:[DIGEST]
    channels   sha256:[DIGEST]
    channel    stable is refused until you point it to a release that counts
    release    1.0.0 does not count any more
    store      [HOME]/store
    ");
    assert_session!(project.0.fetch(), @"
    exit 11
    --- stderr
    error: the channel is sealed by key sha256:[DIGEST], which does not count any more

    hint: nothing was loaded; the project replaced that key: only what its new one seals counts
    ");
    project.release("1.0.1", "one");
    assert!(project.0.fetch().starts_with("exit 0"));
}

#[test]
fn two_of_three_root_keys_and_roles_of_their_own() {
    let project = Project::new("t-threshold");
    let public = |name: &str| format!("keys/{name}.pub");
    let (one, two, three, ci) = (public("one"), public("two"), public("three"), public("cosign"));
    let roles = [
        "--root",
        &one,
        "--root",
        &two,
        "--root",
        &three,
        "--threshold",
        "2",
        "--release",
        &ci,
        "--channel",
        &ci,
    ];
    // The first document needs the pinned key, and two of the new root keys.
    assert_session!(project.rotate(&[&["--key", "keys/cosign.key", "--key", "keys/one.key"], &roles[..]].concat()), @"
    exit 0
    --- stdout
    waiting    trust document 1 is signed by 1 of the 2 root keys that version 1 demands
    draft      trust-1.jsonl
    next       another root key: `imgforge trust sign trust-1.jsonl --key FILE`
    ");
    let sign = |file: &str, key: &str| {
        let key = format!("keys/{key}.key");
        project.0.home.session(&["trust", "sign", file, "--key", &key, "--project", &project.0.project])
    };
    assert_session!(sign("trust-1.jsonl", "two"), @"
    exit 0
    --- stdout
    project    t-threshold
    trust      document 1, 2 of 3 root keys change it
    root       sha256:[DIGEST]
    root       sha256:[DIGEST]
    root       sha256:[DIGEST]
    releases   sha256:[DIGEST]
    channels   sha256:[DIGEST]
    channel    stable counts on
    store      [HOME]/store
    ");
    assert!(project.0.fetch().starts_with("exit 0"));
    // The key of releases and channels goes on with its work, and has no say in keys.
    assert_session!(project.rotate(&["--key", "keys/cosign.key", "--threshold", "1"]), @"
    exit 11
    --- stderr
    error: key sha256:[DIGEST] may not seal trust documents: trust document 1 does not name it for that

    hint: sign with a key that has the role; after a rotation, name the key that operators pinned with `--pinned FILE`
    ");
    // One root key alone waits.
    assert_session!(project.rotate(&["--key", "keys/one.key", "--threshold", "1"]), @"
    exit 0
    --- stdout
    waiting    trust document 2 is signed by 1 of the 2 root keys that version 1 demands
    draft      trust-2.jsonl
    next       another root key: `imgforge trust sign trust-2.jsonl --key FILE`
    ");
    assert!(!project.0.object("trust/2.jsonl").exists());
    assert_session!(sign("trust-2.jsonl", "one"), @"
    exit 0
    --- stdout
    waiting    trust document 2 is signed by 1 of the 2 root keys that version 1 demands
    draft      trust-2.jsonl
    next       another root key: `imgforge trust sign trust-2.jsonl --key FILE`
    ");
    assert!(sign("trust-2.jsonl", "three").starts_with("exit 0"));
    assert!(Path::new(&project.0.object("trust/2.jsonl")).exists());
    assert!(project.0.fetch().starts_with("exit 0"));
    // A root key seals no channel.
    let place = ["--project", &project.0.project];
    assert_session!(project.0.home.session(&[&["channel", "renew", "--key", "keys/one.key"], &place[..]].concat()), @"
    exit 11
    --- stderr
    error: key sha256:[DIGEST] may not seal channels: trust document 2 does not name it for that

    hint: sign with a key that has the role; after a rotation, name the key that operators pinned with `--pinned FILE`
    ");
}
