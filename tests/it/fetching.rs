//! The operator's side over HTTP, on good lines and bad ones.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use imgforge::model::key::TrustedKeys;
use imgforge::model::release::Archive;
use imgforge::model::seal::Verified;

use crate::assert_session;
use crate::harness::{run, tool};
use crate::web::{Web, Whim};
use crate::workbench::{Bench, layered, noise};

/// A project whose first version holds 4 MiB that its second shares, and 200 kB that it does not.
pub(crate) fn project(name: &str) -> (Bench, Web) {
    let bench = Bench::new(name);
    publish(&bench, "1.0.0", 1);
    let web = Web::serve(&bench.home.path("store"));
    (bench, web)
}

pub(crate) fn publish(bench: &Bench, version: &str, sequence: u64) -> Verified<Archive> {
    let same = layered(&bench.project, &[("data", noise(4 << 20, 7))]);
    let other = layered(&bench.project, &[("program", noise(200_000, sequence))]);
    publish_layers(bench, version, sequence, &[same, other])
}

pub(crate) fn publish_layers(
    bench: &Bench,
    version: &str,
    sequence: u64,
    layers: &[Vec<u8>],
) -> Verified<Archive> {
    let archive = bench.pack("tiny", version, bench.layered("tiny", version, layers));
    let release = bench.release(version, vec![archive]);
    let sealed = bench.publish(&release, &bench.key);
    bench.point(&bench.channel(&sealed, version, sequence), &bench.key);
    let verified = sealed.verify(&TrustedKeys::from(bench.key.public().clone())).unwrap();
    verified.archive(&"tiny".parse().unwrap(), &"linux/amd64".parse().unwrap()).unwrap()
}

pub(crate) fn size(bench: &Bench, version: &str) -> u64 {
    fs::metadata(bench.object(&format!("releases/{version}/tiny-{version}-linux-amd64.tar.gz")))
        .unwrap()
        .len()
}

#[test]
fn the_next_version_costs_what_is_new_in_it() {
    let (bench, web) = project("t-fetch-next");
    let url = web.url();
    let fetch = ["fetch", "--verify", "tiny", "--from", &url];
    assert_session!(bench.home.session(&fetch), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-fetch-next 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-fetch-next/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    transfer   4.3 MB downloaded
    image      t-fetch-next/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       4.4 MB in the cache, at most 4.3 MB in Docker, [FREE] free
    next       docker run --rm t-fetch-next/tiny:1.0.0  # nothing was started
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 4.4 MB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-fetch-next/tiny:1.0.0` into Docker [VERSION]
    ");
    let (_, whole) = web.took();
    assert!(whole >= 4 << 20 && whole <= size(&bench, "1.0.0"), "{whole}");

    publish(&bench, "1.1.0", 2);
    assert_session!(bench.home.session(&fetch), @"
    exit 0
    --- stdout
    channel    stable points to 1.1.0 (sequence 2, expires [TIME])
    release    t-fetch-next 1.1.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-fetch-next/tiny-1.1.0-linux-amd64.tar.gz  every byte matches
    verified   31 members, 2 layers, 4.4 MB unpacked
    transfer   203.7 kB downloaded of 4.4 MB, 4.1 MB were here
    image      t-fetch-next/tiny:1.1.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       4.4 MB in the cache, at most 4.3 MB in Docker, [FREE] free
    next       docker run --rm t-fetch-next/tiny:1.1.0  # nothing was started
    --- stderr
    taking what is the same from archives that are here
    downloading `tiny-1.1.0-linux-amd64.tar.gz`: 201.1 kB, the other 4.1 MB are here
    verifying `tiny-1.1.0-linux-amd64.tar.gz`
    loading `t-fetch-next/tiny:1.1.0` into Docker [VERSION] which has 1 of its 2 layers
    ");
    let (requests, patch) = web.took();
    assert!((200_000..260_000).contains(&patch), "{patch} bytes for 200 kB that are new");
    assert!(requests <= 4, "{requests} requests");

    // Nothing is asked for twice.
    bench.home.must(&fetch);
    assert_eq!(web.took(), (0, 0));
}

#[test]
fn killed_at_any_time_it_goes_on() {
    let (bench, web) = project("t-fetch-kill");
    let url = web.url();
    let mut sent = 0;
    for round in 0..8 {
        web.mood(
            move |request| {
                if request.is_archive() { Whim::Slow(Duration::from_millis(10)) } else { Whim::Serve }
            },
        );
        let mut child = bench.home.imgforge(&["fetch", "tiny", "--no-load", "--from", &url]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Between the first request and the end, wherever that is.
        std::thread::sleep(Duration::from_millis(150 + round * 40));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            !bench.home.path(".cache/imgforge/archives/t-fetch-kill/tiny-1.0.0-linux-amd64.tar.gz").exists()
                || round > 2
        );
        sent += web.took().1;
    }
    web.mood(|_| Whim::Serve);
    bench.home.must(&["fetch", "tiny", "--no-load", "--from", &url]);
    sent += web.took().1;
    let whole = size(&bench, "1.0.0");
    // Each kill loses what was on its way on four connections: not yet a member, or not yet read.
    let lost = 8 * 4 * (300 << 10);
    assert!(sent < whole + lost, "{sent} bytes for {whole}");
}

#[test]
fn two_at_once_download_once() {
    let (bench, web) = project("t-fetch-two");
    let url = web.url();
    web.mood(|request| if request.is_archive() { Whim::Slow(Duration::from_millis(5)) } else { Whim::Serve });
    let start = || {
        let mut command = bench.home.imgforge(&["fetch", "tiny", "--no-load", "--from", &url]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    for output in &both {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(web.took().1 <= size(&bench, "1.0.0"));
}

#[test]
fn links_files_and_pipes() {
    let (bench, web) = project("t-fetch-ways");
    let link =
        format!("{}/t-fetch-ways/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz?signature=SECRET", web.url());
    assert_session!(bench.home.session(&["fetch", "--verify", &link]).replace(&web.url(), "[URL]"), @"
    exit 0
    --- stdout
    release    t-fetch-ways 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-fetch-ways/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    transfer   4.3 MB downloaded
    image      t-fetch-ways/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  unknown: a link cannot tell, and a newer release may exist
    disk       4.4 MB in the cache, at most 4.3 MB in Docker, [FREE] free
    next       docker run --rm t-fetch-ways/tiny:1.0.0  # nothing was started
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 4.4 MB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-fetch-ways/tiny:1.0.0` into Docker [VERSION]
    ");
    assert_session!(bench.home.session(&["fetch", "tiny", "--output", "out/tiny.tar.gz"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-fetch-ways 1.0.0, sealed by key sha256:[DIGEST]
    archive    out/tiny.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    image      t-fetch-ways/tiny:1.0.0  not loaded
    integrity  OK
    freshness  OK
    disk       4.3 MB, [FREE] free
    next       imgforge fetch --verify t-fetch-ways/tiny  # gives it to Docker, and asks Docker what it has
    --- stderr
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    ");
    assert_session!(bench.home.session(&["fetch", "--verify", "out/tiny.tar.gz"]), @"
    exit 0
    --- stdout
    release    t-fetch-ways 1.0.0, sealed by key sha256:[DIGEST]
    archive    out/tiny.tar.gz  every byte matches
    verified   30 members, 2 layers, 4.4 MB unpacked
    image      t-fetch-ways/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  unknown: offline, so a newer release may exist
    disk       4.3 MB, at most 4.3 MB in Docker, [FREE] free
    next       docker run --rm t-fetch-ways/tiny:1.0.0  # nothing was started
    ");
    web.mood(|_| Whim::Status(403, ""));
    fs::remove_dir_all(bench.home.path(".cache")).unwrap();
    assert_session!(bench.home.session(&["fetch", "--verify", &link]).replace(&web.url(), "[URL]"), @"
    exit 21
    --- stderr
    error: store `[URL]/t-fetch-ways/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz` denies access to `the link`
      cause: the server answered 403

    hint: links last for a while: get a new one, and run the same command with `--url NEW`, or with it in the old one's place; it goes on where it stopped
    ");
    // What is piped is what `docker load` reads.
    let piped = run(&mut bench.home.imgforge(&["fetch", "tiny", "--pipe", "--quiet"]));
    assert!(piped.status.success());
    fs::write(bench.home.path("piped.tar"), piped.stdout).unwrap();
    let loaded = run(tool("docker", &["load", "-i"]).arg(bench.home.path("piped.tar")));
    assert!(loaded.status.success(), "{loaded:?}");
}

#[test]
fn a_full_disk_is_noticed_beforehand() {
    let (bench, web) = project("t-fetch-disk");
    let cache = bench.home.path("small");
    fs::create_dir_all(&cache).unwrap();
    // A small disk, as only this command sees it: at `$DISK`.
    let fetch = |disk: &str, cache: &str, more: &[&str]| {
        let script = "mount -t tmpfs -o size=50m none \"$DISK\" && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_imgforge")]);
        command.args(["fetch", "tiny", "--from", &web.url()]).args(more).env("DISK", disk);
        command
            .env("HOME", bench.home.path(""))
            .env("XDG_CACHE_HOME", cache)
            .current_dir(bench.home.path(""));
        bench.home.record(&mut command)
    };
    let small = bench.home.text("small");
    assert_session!(fetch(&small, &small, &["--no-load"]), @"
    exit 22
    --- stderr
    error: the disk of `[HOME]/small/imgforge/archives/t-fetch-disk` has 52.4 MB free, and 71.5 MB are needed: 4.3 MB for the archive, 67.1 MB to spare

    hint: make room, or put the cache elsewhere with `XDG_CACHE_HOME`
    ");
    // The engine unpacks what it is sent beside it.
    let info = run(&mut tool("docker", &["info", "--format", "{{.DockerRootDir}}"]));
    let root = String::from_utf8(info.stdout).unwrap().trim().to_owned();
    assert_session!(fetch(&root, &bench.home.text(".cache"), &[]).replace(&root, "[DOCKER]"), @"
    exit 22
    --- stderr
    error: the disk of `[DOCKER]` has 52.4 MB free, and 75.9 MB are needed: 8.7 MB for Docker to unpack it, 67.1 MB to spare

    hint: make room: `docker system df` shows what Docker keeps, `imgforge cache list` what imgforge does
    ");
    assert_session!(fetch(&root, &format!("{root}/cache"), &[]).replace(&root, "[DOCKER]"), @"
    exit 22
    --- stderr
    error: the disk of `[DOCKER]` has 52.4 MB free, and 80.3 MB are needed: 4.3 MB for the archive, 8.7 MB for Docker to unpack it, 67.1 MB to spare

    hint: make room: `docker system df` shows what Docker keeps, `imgforge cache list` what imgforge does
    ");
    assert_eq!(web.took().1, 0);
    assert!(!bench.in_engine());
}

#[test]
fn one_line_is_enough_for_who_has_only_a_key() {
    let (bench, web) = project("t-fetch-line");
    fs::remove_dir_all(bench.home.path(".config")).unwrap();
    let folder = format!("{}/t-fetch-line", web.url());
    let said =
        bench.home.session(&["fetch", "tiny", "--no-load", "--from", &folder, "--key", "keys/cosign.pub"]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert_session!(bench.home.session(&["fetch", "tiny", "--from", &web.url(), "--key", "keys/cosign.pub"]), @"
    exit 2
    --- stderr
    error: `--key` needs to know the project and the store

    hint: write `imgforge fetch --verify PROJECT/TIER --key cosign.pub --from STORE`, or the project's own folder, `--from STORE/PROJECT`
    ");
}
