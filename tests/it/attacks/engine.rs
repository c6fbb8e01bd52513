//! Names that belong to other images, and keys that count for other projects.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use super::{refused, stranger};
use crate::assert_session;
use crate::transport::ENGINE;
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
    error: the engine already has another image named `t-tag/tiny:1.0.0`

    hint: if that image may lose its name, add `--replace`
    ");
    assert_session!(bench.home.session(&["fetch", "--verify", "tiny", "--replace"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 2, expires [TIME])
    release    t-tag 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-tag/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-tag/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-tag/tiny:1.0.0  # nothing was started
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    warning: it is damaged, and mended: archive `tiny-1.0.0-linux-amd64.tar.gz` does not match its release: expected 2334 bytes before the seal, found 2326
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-tag/tiny:1.0.0` into Docker [VERSION]
    ");
}

/// An engine front that changes what the engine answers; requests pass as they are.
fn lying(socket: &Path, lie: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
    let (listener, lie) = (UnixListener::bind(socket).unwrap(), Arc::new(lie));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut engine = UnixStream::connect(ENGINE).unwrap();
            let (mut asks, mut asked) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut asks, &mut asked);
                let _ = asked.shutdown(Shutdown::Write);
            });
            let lie = Arc::clone(&lie);
            std::thread::spawn(move || {
                let mut answer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = engine.read(&mut answer) {
                    if client.write_all(&lie(&answer[..read])).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
}

#[test]
fn an_engine_that_has_something_else_after_the_load() {
    let bench = Bench::published("t-liar");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let layer = image.layers[0].digest.hex();
    let id = image.config.digest.hex();
    for (number, (what, from, to)) in [
        ("image ID", id.clone(), id.chars().rev().collect::<String>()),
        ("list of layers", layer.clone(), layer.chars().rev().collect()),
        ("platform", "\"Architecture\":\"amd64\"".to_owned(), "\"Architecture\":\"arm64\"".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let socket = bench.home.path(&format!("engine{number}.sock"));
        lying(&socket, move |bytes| String::from_utf8_lossy(bytes).replace(&from, &to).into_bytes());
        let mut fetch = bench.home.imgforge(&["fetch", "--verify", "tiny", "--replace", "-q"]);
        let said = bench.home.record(fetch.env("DOCKER_HOST", format!("unix://{}", socket.display())));
        let reason = format!("the engine's `t-liar/tiny:1.0.0` is not the signed image: {what} is");
        refused(what, &said, 12, &reason);
        assert!(said.contains("do not start it"), "{said}");
    }
    assert!(bench.fetch().starts_with("exit 0"));
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
    verified   1 member, 1 layer, 7.6 kB unpacked
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
