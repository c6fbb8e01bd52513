//! `imgforge fetch oci://...` from a real registry: images that imgforge or cosign signed, and what somebody
//! does who may write there but has no key.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use imgforge::model::image::Image;
use imgforge::model::registry::{INDEX, MANIFEST, fallback_tag, legacy_tag};
use serde_json::{Value, json};

use crate::assert_session;
use crate::harness::{Home, must, run, tool};
use crate::line::{Line, listen};
use crate::pushing::{AUTH, Registry, image, layered as image_of, made_of};
use crate::workbench::{layer, layered, noise};

/// Who pushes, and who fetches; images of the project leave the engine with this value.
struct Yard {
    publisher: Home,
    operator: Home,
    registry: Registry,
    project: String,
    image: Image,
}

impl Yard {
    fn new(project: &str) -> Self {
        let (publisher, image) = made_of(project, &layer(project, "hello"));
        let operator = Home::new();
        fs::copy(publisher.path("keys/cosign.pub"), operator.path("cosign.pub")).unwrap();
        Self { publisher, operator, registry: Registry::debian(""), project: project.to_owned(), image }
    }

    fn reference(&self, tag: &str) -> String {
        self.registry.reference(&format!("acme/tiny:{tag}"))
    }

    fn push(&self, more: &[&str]) {
        let place = self.registry.reference("acme/tiny:1.0.0");
        self.publisher.must(&[&["push", "tiny", &place, "--quiet"], more].concat());
    }

    fn command(&self, reference: &str, more: &[&str]) -> Command {
        let reference = format!("oci://{reference}");
        let fixed = ["fetch", "--verify", &reference, "--key", "cosign.pub", "--platform", "linux/amd64"];
        self.operator.imgforge(&[&fixed[..], more].concat())
    }

    /// `imgforge fetch --verify oci://...`, written down.
    fn fetch(&self, tag: &str) -> String {
        self.named(&self.operator.record(&mut self.command(&self.reference(tag), &[])))
    }

    fn named(&self, session: &str) -> String {
        session.replace(&self.registry.address, "[REGISTRY]")
    }

    /// It ends with this code, for this reason, and the engine has nothing of the project.
    fn refused(&self, attack: &str, tag: &str, code: u8, reason: &str) {
        let said = self.fetch(tag);
        assert!(said.starts_with(&format!("exit {code}\n")) && said.contains(reason), "{attack}: {said}");
        assert!(!self.in_engine(), "{attack}: something is in the engine");
    }

    fn in_engine(&self) -> bool {
        let filter = format!("reference={}/*", self.project);
        !must(&mut tool("docker", &["image", "ls", "-q", "--filter", &filter])).trim().is_empty()
    }

    fn forget(&self) {
        let tag = self.image.tag.to_string();
        run(&mut tool("docker", &["image", "rm", "-f", &tag]));
    }

    /// What anybody can do who may write to the registry.
    fn put(&self, tag: &str, kind: &str, bytes: &[u8]) {
        let mut stream = TcpStream::connect(&self.registry.address).unwrap();
        let head = format!(
            "PUT /v2/acme/tiny/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.registry.address,
            bytes.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// Gives a manifest that is there another tag too.
    fn tag(&self, from: &str, to: &str) {
        must(&mut tool("crane", &["tag", &self.reference(from), to]));
    }

    fn cosign(&self, command: &str, more: &[&str], digest: &str) {
        let key = self.publisher.text("keys/cosign.key");
        let fixed = [command, "--key", &key, "--yes", "--use-signing-config=false", "--tlog-upload=false"];
        let reference = self.registry.reference(&format!("acme/tiny@{digest}"));
        must(&mut tool("cosign", &[&fixed[..], more, &[&reference]].concat()));
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        self.forget();
    }
}

#[test]
fn an_image_of_a_registry_is_verified_and_loaded() {
    let yard = Yard::new("t-pull");
    yard.push(&[]);
    assert_session!(yard.fetch("1.0.0"), @"
    exit 0
    --- stdout
    registry   [REGISTRY]/acme/tiny:1.0.0  sha256:[DIGEST]
    signature  of the image, by key sha256:[DIGEST]
    verified   1 layer, 2.0 kB unpacked
    transfer   2.0 kB downloaded
    image      t-pull/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  unknown: a tag of a registry has no date, and a newer release may exist
    disk       at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-pull/tiny:1.0.0  # nothing was started
    --- stderr
    asking `[REGISTRY]/acme/tiny:1.0.0`
    fetching layer 6664578f496e
    loading `t-pull/tiny:1.0.0` into Docker [VERSION]
    ");
    assert!(yard.in_engine());
    // It is there: nothing is asked for again but what says so.
    assert_session!(yard.fetch("1.0.0"), @"
    exit 0
    --- stdout
    registry   [REGISTRY]/acme/tiny:1.0.0  sha256:[DIGEST]
    signature  of the image, by key sha256:[DIGEST]
    verified   the manifest; Docker has the image already
    image      t-pull/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  unknown: a tag of a registry has no date, and a newer release may exist
    disk       at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-pull/tiny:1.0.0  # nothing was started
    --- stderr
    asking `[REGISTRY]/acme/tiny:1.0.0`
    ");
    let log = fs::read_to_string(yard.operator.path(".local/state/imgforge/audit.jsonl")).unwrap();
    let entry: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&entry["result"], &entry["proven"]), (&json!("done"), &json!(true)));
    assert_eq!(entry["asked"], format!("oci://{}", yard.reference("1.0.0")));
    // By its digest, for a project whose key was pinned.
    let pin = ["trust", "add", "t-pull", "--key", "cosign.pub", "--from", "store"];
    yard.operator.must(&pin);
    let digest = yard.image.manifest.digest.to_string();
    let reference = format!("oci://{}", yard.registry.reference(&format!("acme/tiny@{digest}")));
    let said = yard.operator.must(&["fetch", &reference, "--platform", "linux/amd64", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["signed"], &said["project"]), (&json!(digest), &json!("t-pull")));
    assert_eq!((&said["integrity"], &said["freshness"]), (&json!("ok"), &json!("unknown")));
    // The layers that it was loaded from are in the engine, and nowhere else.
    let kept = fs::read_dir(yard.operator.path(".cache/imgforge/registry/blobs/sha256")).unwrap();
    assert_eq!(kept.count(), 0);
}

#[test]
fn only_what_is_new_comes_over_a_bad_line() {
    let yard = Yard::new("t-pull-line");
    let same = layered(&yard.project, &[("data", noise(2 << 20, 1))]);
    let other = |seed| layered(&yard.project, &[("program", noise(300_000, seed))]);
    image_of(&yard.publisher, "t-pull-line/tiny:1.0.0", &[&same, &other(2)]);
    yard.push(&[]);
    let line = Line::breaking(yard.registry.address.parse().unwrap(), 20);
    let through = |tag: &str| {
        let reference = format!("{}/acme/tiny:{tag}", &line.url()["http://".len()..]);
        let said = must(&mut yard.command(&reference, &["--json"]));
        serde_json::from_str::<Value>(&said).unwrap()["transfer"]["fetched"].as_u64().unwrap()
    };
    let whole = (same.len() + other(2).len()) as u64;
    assert_eq!(through("1.0.0"), whole);
    assert!(line.cuts() >= 20, "{} cuts", line.cuts());
    assert!(line.passed() < whole * 103 / 100 + 40_000, "{} bytes for {whole}", line.passed());

    // The next version has one layer that the engine lacks; half of it is here since a fetch was killed.
    let next = image_of(&yard.publisher, "t-pull-line/tiny:1.1.0", &[&same, &other(3)]);
    let place = yard.registry.reference("acme/tiny:1.1.0");
    yard.publisher.must(&["push", "tiny", &place, "--version", "1.1.0", "--quiet"]);
    let part = yard.operator.path(".cache/imgforge/registry/blobs/sha256").join(next.layers[1].digest.hex());
    let part = part.with_extension("part");
    fs::write(&part, &other(3)[..200_000]).unwrap();
    assert_eq!(through("1.1.0"), other(3).len() as u64 - 200_000);
    run(&mut tool("docker", &["image", "rm", "-f", "t-pull-line/tiny:1.1.0"]));
    // What is here was damaged: all of it comes again.
    fs::write(&part, vec![0; 200_000]).unwrap();
    assert_eq!(through("1.1.0"), other(3).len() as u64);
    run(&mut tool("docker", &["image", "rm", "-f", "t-pull-line/tiny:1.1.0"]));
}

#[test]
fn what_cosign_signed_counts_as_well() {
    let yard = Yard::new("t-pull-cosign");
    yard.push(&["--unsigned"]);
    let digest = yard.image.manifest.digest.to_string();
    yard.refused("unsigned", "1.0.0", 10, "there is no signature beside it");
    // An SBOM that the key attested is no signature, whatever `cosign verify --key` says.
    fs::write(yard.publisher.path("predicate"), "{}").unwrap();
    let predicate = yard.publisher.text("predicate");
    yard.cosign("attest", &["--predicate", &predicate, "--type", "spdxjson"], &digest);
    yard.refused("an attestation", "1.0.0", 12, "it is of type `https://spdx.dev/Document`");
    // Not even when the list says that it is a signature, or says what it is.
    let fallback = fallback_tag(&yard.image.manifest.digest);
    let index = must(&mut tool("crane", &["manifest", &yard.reference(&fallback)]));
    let labelled = |kind: &str| {
        let mut index: Value = serde_json::from_str(&index).unwrap();
        index["manifests"][0]["annotations"] = json!({"dev.sigstore.bundle.predicateType": kind});
        yard.put(&fallback, INDEX, index.to_string().as_bytes());
    };
    labelled("https://sigstore.dev/cosign/sign/v1");
    yard.refused("called a signature", "1.0.0", 12, "it is of type `https://spdx.dev/Document`");
    labelled("https://spdx.dev/Document");
    yard.refused("called what it is", "1.0.0", 10, "there is no signature beside it");
    yard.cosign("sign", &[], &digest);
    let said = yard.fetch("1.0.0");
    assert!(said.starts_with("exit 0\n") && said.contains("Docker has this image"), "{said}");
    // The older form alone, and by another key.
    yard.forget();
    yard.put(
        &fallback,
        INDEX,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string().as_bytes(),
    );
    yard.refused("no signature any more", "1.0.0", 10, "there is no signature beside it");
    yard.cosign("sign", &["--new-bundle-format=false"], &digest);
    let said = yard.fetch("1.0.0");
    assert!(said.starts_with("exit 0\n") && said.contains("Docker has this image"), "{said}");
    yard.forget();
    yard.publisher.must(&["keys", "generate", "--output", "other", "--quiet"]);
    fs::copy(yard.publisher.path("other/cosign.pub"), yard.operator.path("cosign.pub")).unwrap();
    yard.refused("another key", "1.0.0", 11, "the image is sealed by no trusted key");
}

#[test]
fn who_may_write_to_a_registry_but_has_no_key() {
    let yard = Yard::new("t-pull-evil");
    yard.push(&[]);
    let good = yard.image.manifest.digest;
    // Another image of the same name, and the signatures of the good one moved over to it.
    let evil = image(&yard.publisher, "t-pull-evil/tiny:1.0.0", &layer("t-pull-evil", "evil"));
    let place = yard.reference("evil");
    yard.publisher.must(&["push", "tiny", &place, "--unsigned", "--quiet"]);
    let evil = evil.manifest.digest;
    yard.tag(&fallback_tag(&good), &fallback_tag(&evil));
    yard.refused("the signature of another image", "evil", 12, "it is of the image");
    yard.tag(&legacy_tag(&good), &legacy_tag(&evil));
    yard.refused("the older form of it too", "evil", 12, "and stands beside");
    // A good image under a newer tag.
    yard.tag("1.0.0", "2.0.0");
    yard.refused("an older version", "2.0.0", 12, "shows `t-pull-evil/tiny:1.0.0` as");
    // A key that is pinned for another project.
    let pin = ["trust", "add", "other", "--key", "cosign.pub", "--from", "store"];
    yard.operator.must(&pin);
    let reference = format!("oci://{}", yard.reference("1.0.0"));
    let said = yard.operator.session(&["fetch", &reference, "--platform", "linux/amd64"]);
    assert!(said.starts_with("exit 11\n") && said.contains("`t-pull-evil`"), "{said}");

    // The registry's own disk.
    let data = yard.registry.data(&yard.image.layers[0].digest);
    let right = fs::read(&data).unwrap();
    let mut wrong = right.clone();
    wrong[600] ^= 1;
    fs::write(&data, &wrong).unwrap();
    yard.refused("a layer with other bytes", "1.0.0", 12, "sent other bytes than were signed");
    fs::write(&data, [&right[..], b"more"].concat()).unwrap();
    yard.refused("a longer layer", "1.0.0", 12, "has more than");
    fs::write(&data, &right).unwrap();
    let config = yard.registry.data(&yard.image.config.digest);
    let before = fs::read_to_string(&config).unwrap();
    fs::write(&config, before.replace("1.0.0", "1.0.1")).unwrap();
    yard.refused("another configuration", "1.0.0", 12, "sent other bytes than were signed");
    fs::write(&config, before).unwrap();
    let manifest = yard.registry.data(&good);
    let before = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, before.clone() + " ").unwrap();
    yard.refused("another manifest", "1.0.0", 10, "there is no signature beside it");
    fs::write(&manifest, before).unwrap();
    assert!(yard.fetch("1.0.0").starts_with("exit 0\n"));
}

/// A registry between us and the real one, that may change each answer.
fn front(to: &str, change: impl Fn(&str, &mut Vec<u8>) + Send + Sync + 'static) -> String {
    let (to, change) = (to.to_owned(), std::sync::Arc::new(change));
    let address = listen(move |mut client| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let Some((first, rest)) = head.split_once("\r\n") else { return };
        let mut registry = TcpStream::connect(&to).unwrap();
        write!(registry, "{first}\r\nConnection: close\r\n{rest}").unwrap();
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer).unwrap();
        change(first, &mut answer);
        let _ = client.write_all(&answer);
    });
    address.to_string()
}

#[test]
fn answers_that_change_and_answers_without_end() {
    let yard = Yard::new("t-pull-front");
    yard.push(&[]);
    let evil = image(&yard.publisher, "t-pull-front/tiny:1.0.0", &layer("t-pull-front", "evil"));
    let place = yard.reference("evil");
    yard.publisher.must(&["push", "tiny", &place, "--unsigned", "--quiet"]);
    let fetch = |address: &str| {
        let reference = format!("{address}/acme/tiny:1.0.0");
        yard.operator.record(&mut yard.command(&reference, &[]))
    };
    let endless = front(&yard.registry.address, |request, answer| {
        if request.contains("/manifests/1.0.0") {
            *answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            answer.resize(answer.len() + (5 << 20), b' ');
        }
    });
    let said = fetch(&endless);
    assert!(said.starts_with("exit 12\n") && said.contains("has more than 4194304 bytes"), "{said}");
    assert!(!yard.in_engine());
    // As soon as the tag was read, it leads to another image: what was verified is what is loaded.
    let (from, good) = (yard.reference("evil"), yard.image.manifest.digest.to_string());
    let moved = front(&yard.registry.address, move |request, _| {
        if request.contains("/manifests/1.0.0") {
            must(&mut tool("crane", &["tag", &from, "1.0.0"]));
        }
    });
    let said = fetch(&moved);
    assert!(said.starts_with("exit 0\n") && said.contains(&good), "{said}");
    assert_ne!(evil.manifest.digest.to_string(), good);
    yard.forget();
    yard.refused("the image that the tag leads to now", "1.0.0", 10, "there is no signature beside it");
}

#[test]
fn an_index_counts_when_it_or_its_image_is_signed() {
    let yard = Yard::new("t-pull-index");
    yard.push(&["--unsigned"]);
    let entry = |architecture: &str| {
        json!({"mediaType": MANIFEST, "digest": yard.image.manifest.digest, "size": yard.image.manifest.size,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = |entries: Vec<Value>| {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
        yard.put("1.0.0", INDEX, index.as_bytes());
        imgforge::model::digest::Digest::of(index.as_bytes()).to_string()
    };
    index(vec![entry("arm64")]);
    yard.refused(
        "no such platform",
        "1.0.0",
        2,
        "its index has linux/arm64, and not one image for linux/amd64",
    );
    let digest = index(vec![entry("amd64"), entry("unknown")]);
    yard.refused("neither is signed", "1.0.0", 10, "there is no signature beside it");
    yard.cosign("sign", &[], &digest);
    let said = yard.fetch("1.0.0");
    assert!(said.starts_with("exit 0\n") && said.contains("signature  of the index that names it"), "{said}");
    // Signed for amd64, and shown as something else.
    yard.forget();
    let digest = index(vec![entry("arm64")]);
    yard.cosign("sign", &[], &digest);
    let reference = format!("oci://{}", yard.reference("1.0.0"));
    let fetch = ["fetch", &reference, "--key", "cosign.pub", "--platform", "linux/arm64"];
    let said = yard.operator.session(&fetch);
    assert!(said.contains("the image is for linux/amd64, not for linux/arm64"), "{said}");
    assert!(!yard.in_engine());
}

#[test]
fn who_may_fetch_and_what_cannot_be_asked() {
    let (publisher, _) = made_of("t-pull-auth", &layer("t-pull-auth", "hello"));
    let registry = Registry::debian(AUTH);
    let key = publisher.text("keys/cosign.pub");
    let reference = format!("oci://{}", registry.reference("acme/tiny:1.0.0"));
    let fetch = |reference: &str, more: &[&str]| {
        let fixed = ["fetch", "--verify", reference, "--key", &key];
        publisher.session(&[&fixed[..], more].concat()).replace(&registry.address, "[REGISTRY]")
    };
    assert_session!(fetch(&reference, &["-q"]), @"
    exit 21
    --- stderr
    error: registry `[REGISTRY]` does not let us read `[REGISTRY]/acme/tiny:1.0.0`
      cause: it wants to know who we are

    hint: run `docker login HOST` with a name that may do that
    ");
    assert_session!(fetch(&reference, &["--from", "store"]), @"
    exit 2
    --- stderr
    error: `--from` means nothing for an image of a registry

    hint: leave it out; or fetch the archive from the project's store, `imgforge fetch TIER --from STORE`
    ");
    assert_session!(fetch("oci://ghcr.io/acme/tiny", &[]), @"
    exit 2
    --- stderr
    error: invalid value 'oci://ghcr.io/acme/tiny' for '<[PROJECT/]TIER[@VERSION]|URL|FILE>': `ghcr.io/acme/tiny` has no tag and no digest: write `oci://HOST/PATH:TAG` or `oci://HOST/PATH@sha256:DIGEST`

    For more information, try '--help'.
    ");
    let open = Registry::debian("");
    let absent = format!("oci://{}", open.reference("acme/tiny:1.0.0"));
    assert_session!(fetch(&absent, &["-q"]).replace(&open.address, "[OPEN]"), @"
    exit 1
    --- stderr
    error: there is no `[OPEN]/acme/tiny:1.0.0`

    hint: check the registry, the repository and the tag
    ");
    assert_session!(fetch("oci://127.0.0.1:1/acme/tiny:1.0.0", &["-q"]), @"
    exit 20
    --- stderr
    error: registry `127.0.0.1:1` cannot be reached to log in
      cause: Connection refused (os error 111)

    hint: run the same command again: it goes on where it stopped
    ");
}
