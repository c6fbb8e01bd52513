//! The whole road on the real sample: from the oracle's recipe to a container that is healthy.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::assert_session;
use crate::harness::{Home, must, root, run, tool};
use crate::node::{self, docker};

const TAG: &str = "noderr/oracle:0.0.7";

fn forget_image() {
    run(&mut tool("docker", &["image", "rm", "-f", TAG]));
}

#[test]
fn from_recipe_to_healthy_container() {
    let engineer = Home::new();
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache");
    engineer.must(&["keys", "generate"]);
    let key = engineer.text("keys/cosign.key");
    let (store, dist) = (engineer.text("store"), engineer.text("dist"));
    let release = |arguments: &[&str]| {
        let fixed = [
            "release",
            "oracle",
            "--allow-unlocked",
            "--version",
            "0.0.7",
            "--key",
            &key,
            "--store",
            &store,
            "-o",
            &dist,
        ];
        let mut command = engineer.imgforge(&[&fixed, arguments].concat());
        command.current_dir(root()).env("XDG_CACHE_HOME", &cache);
        must(&mut command)
    };
    let first = release(&["--quiet"]);
    let sealed = fs::read(engineer.path("store/noderr/releases/0.0.7/release.sigstore.json")).unwrap();
    let again = release(&["--quiet"]);
    let rest = again.strip_prefix(first.trim_end()).unwrap_or_else(|| panic!("{first}\n{again}"));
    assert!(rest.trim_start().contains("nothing to do"), "a repeated release says so: {again}");
    assert_eq!(fs::read(engineer.path("store/noderr/releases/0.0.7/release.sigstore.json")).unwrap(), sealed);

    // Without imgforge: stock `docker load`, `skopeo`, `gunzip` and `tar`.
    let archive = engineer.text("dist/oracle-0.0.7-linux-amd64.tar.gz");
    forget_image();
    must(Command::new("sh").args(["-c", "docker load < \"$0\""]).arg(&archive));
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", TAG]);
    must(&mut tool("gunzip", &["-t", &archive]));
    must(&mut tool(
        "tar",
        &["xzf", &archive, "-C", &{
            fs::create_dir(engineer.path("untar")).unwrap();
            engineer.text("untar")
        }],
    ));
    let plain = engineer.text("plain.tar");
    must(Command::new("sh").args(["-c", "gunzip -c \"$0\" > \"$1\""]).arg(&archive).arg(&plain));
    for (kind, name) in [("oci-archive", ""), ("docker-archive", "")] {
        let source = format!("{kind}:{plain}{name}");
        let found = must(&mut tool("skopeo", &["inspect", "--config", "--raw", &source]));
        assert_eq!(format!("sha256:{}", sha256(found.as_bytes())), id.trim(), "{kind}");
    }
    forget_image();

    // An operator with an empty home, who knows the key and the store.
    let operator = Home::new();
    let public = engineer.text("keys/cosign.pub");
    operator.must(&["trust", "add", "noderr", "--key", &public, "--from", &store]);
    // Its size is Debian's.
    let sized = |line: &str| {
        if line.starts_with("transfer ") { "transfer   all of it".to_owned() } else { line.to_owned() }
    };
    let said = operator.session(&["fetch", "--verify", "oracle", "--quiet"]);
    assert_session!(said.lines().map(sized).collect::<Vec<_>>().join("\n"), @"
    exit 0
    --- stdout
    channel    stable points to 0.0.7 (sequence 1, expires [TIME])
    release    noderr 0.0.7, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/noderr/oracle-0.0.7-linux-amd64.tar.gz  every byte matches
    verified   [MANY] members, 21 layers, [SIZE] unpacked
    transfer   all of it
    image      noderr/oracle:0.0.7  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container of it ran the image's own check without a network, and was removed
    integrity  OK
    freshness  OK
    disk       [SIZE] in the cache, at most [SIZE] in Docker, [FREE] free
    next       docker run --rm noderr/oracle:0.0.7  # says which settings it misses; nothing was started
    ");
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", TAG]), id);
    assert!(
        docker(&["ps", "-aq", "--filter", &format!("ancestor={TAG}")]).is_empty(),
        "the probe container is gone"
    );

    contract();
    node::lives(TAG, "4g", &["3000/ready", "3000/v1/ml-inference/model", "9090/metrics"]);
    forget_image();

    // All tiers in one container. The base and most layers are there already.
    let mut build = engineer.imgforge(&["build", "all", "--version", "0.0.7", "--load", "--quiet"]);
    must(build.current_dir(root()).env("XDG_CACHE_HOME", &cache));
    let ports = ["3000/ready", "3001/ready", "3002/ready", "9090/metrics", "9091/metrics", "9092/metrics"];
    node::lives("noderr/all:0.0.7", "6g", &ports);
    run(&mut tool("docker", &["image", "rm", "-f", "noderr/all:0.0.7"]));
}

/// Missing settings are named all at once.
fn contract() {
    let home = Home::new();
    assert_session!(home.record(&mut tool("docker", &["run", "--rm", TAG])), @"
    exit 64
    --- stderr
    error: oracle cannot start: 3 variables are wrong in its environment
      DEPLOYMENT_ENGINE_URL is missing
          address of the deployment engine, without user name and password
          for example DEPLOYMENT_ENGINE_URL=https://engine.example
      NODE_ID is missing
          name of this node: lower-case letters, digits and `-`
          for example NODE_ID=node-1
      NODE_VERSION is missing
          the version that the deployment engine expects of this node; another one is reported
          for example NODE_VERSION=1.4.0

    hint: give them with `docker run -e NAME=value`, `--env-file FILE` or `environment:` in compose
    ");
}

fn sha256(bytes: &[u8]) -> String {
    imgforge::model::digest::Digest::of(bytes).hex()
}
