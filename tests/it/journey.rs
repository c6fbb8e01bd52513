//! The whole road on the real sample: from the oracle's recipe to a container that is healthy.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::assert_session;
use crate::harness::{Home, must, root, run, tool};

const TAG: &str = "noderr/oracle:0.0.7";

fn docker(arguments: &[&str]) -> String {
    must(&mut tool("docker", arguments))
}

fn forget_image() {
    run(&mut tool("docker", &["image", "rm", "-f", TAG]));
}

/// A container that is removed when the test ends, however it ends.
struct Container(String);

impl Container {
    fn start(arguments: &[&str]) -> Self {
        let all = [&["run", "-d", "--health-interval", "1s"], arguments, &[TAG]].concat();
        Self(docker(&all).trim().to_owned())
    }

    fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "-f", format, &self.0]).trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        run(&mut tool("docker", &["rm", "-f", &self.0]));
    }
}

#[test]
fn from_recipe_to_healthy_container() {
    let engineer = Home::new();
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache");
    engineer.must(&["keys", "generate"]);
    let key = engineer.text("keys/cosign.key");
    let (store, dist) = (engineer.text("store"), engineer.text("dist"));
    let release = |arguments: &[&str]| {
        let fixed =
            ["release", "oracle", "--version", "0.0.7", "--key", &key, "--store", &store, "-o", &dist];
        let mut command = engineer.imgforge(&[&fixed, arguments].concat());
        command.current_dir(root()).env("XDG_CACHE_HOME", &cache);
        must(&mut command)
    };
    let first = release(&["--quiet"]);
    let sealed = fs::read(engineer.path("store/noderr/releases/0.0.7/release.sigstore.json")).unwrap();
    assert_eq!(release(&["--quiet"]), first, "a repeated release changes nothing");
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
    assert_session!(operator.session(&["fetch", "--verify", "oracle", "--quiet"]), @"
    exit 0
    --- stdout
    channel    stable points to 0.0.7 (sequence 1, expires [TIME])
    release    noderr 0.0.7, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/noderr/oracle-0.0.7-linux-amd64.tar.gz  every byte matches
    image      noderr/oracle:0.0.7  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    ");
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", TAG]), id);
    assert!(
        docker(&["ps", "-aq", "--filter", &format!("ancestor={TAG}")]).is_empty(),
        "the probe container is gone"
    );

    contract();
    lifecycle();
    forget_image();
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
      NODE_ID is missing
          name of this node: lower-case letters, digits and `-`
      NODE_VERSION is missing
          the version that the deployment engine expects of this node; another one is reported

    hint: give them with `docker run -e NAME=value`, `--env-file FILE` or `environment:` in compose
    ");
}

fn lifecycle() {
    let container = Container::start(&[
        "--read-only",
        "-e",
        "NODE_ID=n1",
        "-e",
        "DEPLOYMENT_ENGINE_URL=https://e.example",
        "-e",
        "NODE_VERSION=0.0.7",
    ]);
    let end = Instant::now() + Duration::from_mins(1);
    while container.inspect("{{.State.Health.Status}}") != "healthy" {
        assert!(Instant::now() < end, "{}", docker(&["logs", &container.0]));
        std::thread::sleep(Duration::from_millis(300));
    }
    let probe = "Promise.all(['3000/health', '3000/ready', '3000/v1/version', '9090/health', '9090/metrics'].map(async a => { \
                 const r = await fetch('http://127.0.0.1:' + a); if (!r.ok) throw new Error(a + r.status); \
                 return r.text(); })).then(t => console.log(t.join('\\n')))";
    let said = docker(&["exec", &container.0, "node", "-e", probe]);
    assert!(said.contains("noderr_build_info{") && said.contains("version=\"0.0.7\""), "{said}");
    assert_eq!(docker(&["exec", &container.0, "id", "-u"]).trim(), "1001");
    docker(&["stop", "-t", "20", &container.0]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", docker(&["logs", &container.0]));

    // Half a node is not a node: when one service dies, the container ends, and says so.
    let container = Container::start(&[
        "-e",
        "NODE_ID=n1",
        "-e",
        "DEPLOYMENT_ENGINE_URL=https://e.example",
        "-e",
        "NODE_VERSION=0.0.7",
    ]);
    // It starts when all that it needs is ready.
    let kill = "while :; do for p in /proc/[0-9]*; do \
                if tr '\\0' ' ' < $p/cmdline | grep -q '^node services/telemetry'; then kill -9 ${p#/proc/}; exit; fi; \
                done 2> /dev/null; sleep 0.2; done";
    docker(&["exec", &container.0, "bash", "-c", kill]);
    docker(&["wait", &container.0]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");
}

fn sha256(bytes: &[u8]) -> String {
    imgforge::model::digest::Digest::of(bytes).hex()
}
