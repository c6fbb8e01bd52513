//! `imgforge push` to real registries, read by real tools: Debian's `docker-registry`, and crane's, which
//! answers without the addresses that the specification wants. Neither lists referrers itself.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgforge::model::digest::Digest;
use imgforge::model::image::Image;
use imgforge::step::content::ContentStore;

use crate::assert_session;
use crate::harness::{Home, must, run, tool};
use crate::workbench::layer;

/// A registry for one test, on a port of its own.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

/// `me` with the password `open sesame`.
const USERS: &str = "me:$2b$04$6yRe92VTLDGexnVCSjlzD.SVf1F157R7TUWFIsEp5YwgS8..6KYyW\n";

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Registry {
    /// Debian's, of 2.8: it has no list of referrers.
    pub(crate) fn debian(auth: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", port()));
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("users"), USERS).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{}",
            at("data"),
            auth.replace("USERS", &at("users")),
        );
        fs::write(at("config.yml"), config).unwrap();
        let mut serve = Command::new("docker-registry");
        serve.args(["serve", &at("config.yml")]);
        Self::start(serve, address, folder)
    }

    /// crane's.
    fn cranes() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", port()));
        let serve = tool("crane", &["registry", "serve", "--address", &address]);
        Self::start(serve, address, folder)
    }

    fn start(mut serve: Command, address: String, folder: tempfile::TempDir) -> Self {
        let process = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{serve:?} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, address, folder }
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Registry {
    /// Where Debian's keeps the bytes of a blob or a manifest.
    pub(crate) fn data(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(&hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A project whose image is built already, and a key.
fn project() -> (Home, Image) {
    made_of("t-push", &layer("t-push", "hello"))
}

/// A project whose only image has this layer.
pub(crate) fn made_of(name: &str, layer: &[u8]) -> (Home, Image) {
    let home = Home::new();
    home.must(&["keys", "generate", "--quiet"]);
    fs::create_dir(home.path("recipes")).unwrap();
    let head = format!("name = \"{name}\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\"]\n");
    fs::write(home.path("recipes/project.toml"), head).unwrap();
    let tier = "base = \"scratch\"\nuser = { name = \"app\", uid = 1000, gid = 1000 }\n";
    fs::write(home.path("recipes/tiny.toml"), tier).unwrap();
    let image = image(&home, &format!("{name}/tiny:1.0.0"), layer);
    (home, image)
}

/// What a built image says of itself.
fn labels(tag: &str) -> serde_json::Value {
    let (title, version) = tag.split_once(':').unwrap();
    serde_json::json!({"org.opencontainers.image.title": title, "org.opencontainers.image.version": version})
}

/// An image in the content store, as if it had been built.
pub(crate) fn image(home: &Home, tag: &str, layer: &[u8]) -> Image {
    layered(home, tag, &[layer])
}

pub(crate) fn layered(home: &Home, tag: &str, layers: &[&[u8]]) -> Image {
    let store = ContentStore::open(&home.path(".cache/imgforge/content")).unwrap();
    let layers: Vec<_> = layers.iter().map(|layer| store.take(&mut &layer[..]).unwrap()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"], "Labels": labels(tag)},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>()},
    });
    let config = config.to_string().into_bytes();
    store.take(&mut config.as_slice()).unwrap();
    let image = Image::new(tag.parse().unwrap(), "linux/amd64".parse().unwrap(), &config, layers).unwrap();
    store.list(&[(&image, None)]).unwrap();
    image
}

fn cosign(home: &Home, command: &str, more: &[&str], reference: &str) -> Command {
    let key = home.text("keys/cosign.pub");
    let fixed = [command, "--key", &key, "--insecure-ignore-tlog"];
    tool("cosign", &[&fixed[..], more, &[reference]].concat())
}

/// What stock tools say of an image that was pushed.
fn read_by_all(home: &Home, image: &Image, reference: &str) {
    assert_eq!(must(&mut tool("crane", &["digest", reference])).trim(), image.manifest.digest.to_string());
    // Without `--fast`, crane unzips every layer and fails at plain ones, which the specification allows.
    must(&mut tool("crane", &["validate", "--fast", "--remote", reference]));
    let tar = home.text("whole.tar");
    must(&mut tool("crane", &["export", reference, &tar]));
    assert_eq!(must(Command::new("tar").args(["-xOf", &tar, "hello"])), "hello");
    must(&mut cosign(home, "verify", &[], reference));
    for kind in ["spdxjson", "cyclonedx"] {
        must(&mut cosign(home, "verify-attestation", &["--type", kind], reference));
    }
    // The checks can fail: another key, another kind.
    assert!(!run(&mut cosign(home, "verify-attestation", &["--type", "vuln"], reference)).status.success());
    home.must(&["keys", "generate", "--output", "evil", "--quiet"]);
    let evil = home.text("evil/cosign.pub");
    let mut wrong = tool("cosign", &["verify", "--key", &evil, "--insecure-ignore-tlog", reference]);
    assert!(!run(&mut wrong).status.success());
    fs::remove_dir_all(home.path("evil")).unwrap();
}

#[test]
fn pushed_signed_and_read_by_all() {
    let (home, image) = project();
    let registry = Registry::debian("");
    let place = registry.reference("acme/{tier}");
    let named = |session: String| session.replace(&registry.address, "[REGISTRY]");
    assert_session!(named(home.session(&["push", "tiny", &place, "--quiet"])), @"
    exit 0
    --- stdout
    pushed     [REGISTRY]/acme/tiny:1.0.0  sha256:[DIGEST]
    signed     https://sigstore.dev/cosign/sign/v1
    signed     https://spdx.dev/Document
    signed     https://cyclonedx.org/bom
    signed     legacy signature
    check      cosign verify --key cosign.pub --insecure-ignore-tlog [REGISTRY]/acme/tiny@sha256:[DIGEST]
    ");
    let reference = registry.reference("acme/tiny:1.0.0");
    read_by_all(&home, &image, &reference);
    // Every layer is there as it is: what skopeo reads is what the archive holds.
    let transport = format!("docker://{reference}");
    let said = must(&mut tool("skopeo", &["inspect", "--tls-verify=false", &transport]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["Digest"], image.manifest.digest.to_string());
    assert_eq!(said["Layers"][0], image.layers[0].digest.to_string());
    let folder = format!("oci:{}:x", home.text("copy"));
    must(&mut tool("skopeo", &["copy", "--src-tls-verify=false", &transport, &folder]));

    // Again: nothing is sent. Somebody else's signatures stay.
    let second = named(home.session(&["push", "tiny", &place, "--quiet"]));
    assert_eq!(second.matches("was there").count(), 5, "{second}");
    home.must(&["keys", "generate", "--output", "other", "--quiet"]);
    home.must(&["push", "tiny", &place, "--key", "other/cosign.key", "--quiet"]);
    read_by_all(&home, &image, &reference);
    let hex = image.manifest.digest.hex();
    let manifest = |tag: &str| -> serde_json::Value {
        let reference = registry.reference(&format!("acme/tiny:{tag}"));
        serde_json::from_str(&must(&mut tool("crane", &["manifest", &reference]))).unwrap()
    };
    assert_eq!(manifest(&format!("sha256-{hex}"))["manifests"].as_array().unwrap().len(), 6);
    assert_eq!(manifest(&format!("sha256-{hex}.sig"))["layers"].as_array().unwrap().len(), 2);
    let other = home.text("other/cosign.pub");
    must(&mut tool("cosign", &["verify", "--key", &other, "--insecure-ignore-tlog", &reference]));

    // An engine that pulls it has the very image.
    must(&mut tool("docker", &["pull", "-q", &reference]));
    let id = must(&mut tool("docker", &["image", "inspect", "-f", "{{.Id}}", &reference]));
    must(&mut tool("docker", &["image", "rm", &reference]));
    assert_eq!(id.trim(), image.config.digest.to_string());
}

#[test]
fn another_registry_and_the_next_image() {
    let (home, image) = project();
    let registry = Registry::cranes();
    let reference = registry.reference("acme/tiny:latest");
    home.must(&["push", "tiny", &reference, "--quiet"]);
    read_by_all(&home, &image, &reference);
    let tags = must(&mut tool("crane", &["ls", &registry.reference("acme/tiny")]));
    let tags: Vec<&str> = tags.lines().collect();
    let hex = image.manifest.digest.hex();
    assert_eq!(tags, ["latest", &format!("sha256-{hex}"), &format!("sha256-{hex}.sig")]);
    // The tag follows the next image.
    let next = self::image(&home, "t-push/tiny:1.0.0", &layer("t-push", "hello again"));
    home.must(&["push", "tiny", &reference, "--unsigned", "--quiet"]);
    assert_eq!(must(&mut tool("crane", &["digest", &reference])).trim(), next.manifest.digest.to_string());
}

pub(crate) const AUTH: &str = "auth:\n  htpasswd:\n    realm: test\n    path: USERS\n";

#[test]
fn who_may_push() {
    let (home, _) = project();
    let registry = Registry::debian(AUTH);
    let place = registry.reference("{tier}");
    let config = home.path(".docker/config.json");
    fs::create_dir(home.path(".docker")).unwrap();
    let push = || {
        let mut push = home.imgforge(&["push", "tiny", &place, "--unsigned", "--quiet"]);
        let path = format!("{}:{}", home.text("bin"), std::env::var("PATH").unwrap());
        home.record(push.env("PATH", path)).replace(&registry.address, "[REGISTRY]")
    };
    assert_session!(push(), @"
    exit 21
    --- stderr
    error: registry `[REGISTRY]` does not let us read `[REGISTRY]/tiny:1.0.0`
      cause: it wants to know who we are

    hint: run `docker login HOST` with a name that may do that
    ");
    let auth = |word: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("me:{word}"));
        format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{text}\"}}}}}}", registry.address)
    };
    fs::write(&config, auth("wrong")).unwrap();
    assert!(push().starts_with("exit 21\n"));
    fs::write(&config, auth("open sesame")).unwrap();
    assert!(push().starts_with("exit 0\n"));

    // The same from a helper, which gets the registry's name and nothing on its command line.
    let helper = home.path("bin/docker-credential-test");
    fs::create_dir(home.path("bin")).unwrap();
    let script = "#!/bin/sh\n[ \"$*\" = get ] && read -r host || [ -n \"$host\" ] && \
                  echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":\\\"me\\\",\\\"Secret\\\":\\\"open sesame\\\"}\"\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, format!("{{\"credHelpers\": {{\"{}\": \"test\"}}}}", registry.address)).unwrap();
    let said = push();
    assert!(said.starts_with("exit 0\n"), "{said}");
    fs::write(&config, "{\"credsStore\": \"missing\"}").unwrap();
    assert_session!(push(), @"
    exit 2
    --- stderr
    error: `docker-credential-missing` gives no credentials for `[REGISTRY]`: No such file or directory (os error 2)

    hint: run `docker login HOST` again
    ");
    fs::write(&config, "{\"credsStore\": \"../../bin/sh\"}").unwrap();
    assert!(push().contains("that is no name of a program"));
}

#[test]
fn what_cannot_be_pushed() {
    let (home, _) = project();
    let push = |place: &str, more: &[&str]| {
        home.session(&[&["push", "tiny", place, "--unsigned", "--quiet"], more].concat())
    };
    assert_session!(push("127.0.0.1:1/x", &[]), @"
    exit 20
    --- stderr
    error: registry `127.0.0.1:1` cannot be reached to log in
      cause: Connection refused (os error 111)

    hint: run the same command again: it goes on where it stopped
    ");
    assert_session!(push("ghcr.io/acme@sha256:00", &[]), @"
    exit 2
    --- stderr
    error: `ghcr.io/acme@sha256:00` names an image by its digest, which only the image itself decides

    hint: write `HOST/PATH/{tier}`, such as `ghcr.io/acme/{tier}`
    ");
    assert_session!(push("127.0.0.1:1/x", &["--version", "2.0.0"]), @"
    exit 2
    --- stderr
    error: there is no image `t-push/tiny:2.0.0` in the content store

    hint: build it first with `imgforge build TIER`, and the same `--version`
    ");
    assert_session!(home.session(&["push", "tiny", "tiny", "127.0.0.1:1/x", "--unsigned", "--quiet"]), @"
    exit 2
    --- stderr
    error: the tiers would take `127.0.0.1:1/x` from each other

    hint: write `HOST/PATH/{tier}`, such as `ghcr.io/acme/{tier}`
    ");
}
