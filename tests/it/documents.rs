//! Sealed documents: what stock cosign says of them, and what no change survives.

use imgforge::model::channel::Channel;
use imgforge::model::key::TrustedKeys;
use imgforge::model::release::Release;
use imgforge::model::seal::Sealed;
use proptest::prelude::*;

use imgforge::step::keyring;

use crate::harness::{PASSWORD, must, run, tool};
use crate::workbench::Bench;

/// A command in a namespace without any network.
fn offline(tool_name: &str, arguments: &[&str]) -> std::process::Command {
    let with_path = tool(tool_name, &[]);
    let mut command = tool("unshare", &["-n", with_path.get_program().to_str().unwrap()]);
    command.args(arguments);
    command
}

/// The part of the published archive that its release names, as `docs/verify-without-imgforge.md` cuts
/// it off: without the seal at the end.
fn body(bench: &Bench, version: &str) -> String {
    let script = "size=$(jq -r .dsseEnvelope.payload release.sigstore.json | base64 -d \
        | jq '.predicate.archives[0].size') && head -c \"$size\" tiny-*.tar.gz > \"$0\"";
    let body = bench.home.text("body");
    must(tool("sh", &["-c", script, &body]).current_dir(bench.object(&format!("releases/{version}"))));
    body
}

#[test]
fn cosign_verifies_every_hop_offline() {
    let bench = Bench::published("t-cosign");
    let at = |below: &str| bench.object(below).to_str().unwrap().to_owned();
    let (key, evil) = (bench.home.text("keys/cosign.pub"), bench.home.text("evil/cosign.pub"));
    bench.home.must(&["keys", "generate", "--output", "evil"]);
    let release = at("releases/1.0.0/release.sigstore.json");
    let sums = at("releases/1.0.0/SHA256SUMS");
    let attestation = |key: &str, kind: &str, bundle: &str, file: &str| {
        let kind = format!("https://imgforge.dev/{kind}/v1");
        let ignore = "--insecure-ignore-tlog";
        offline(
            "cosign",
            &["verify-blob-attestation", "--key", key, "--type", &kind, "--bundle", bundle, ignore, file],
        )
    };
    let channel = at("channels/stable.sigstore.json");
    let archive = body(&bench, "1.0.0");
    must(&mut attestation(&key, "channel", &channel, &release));
    must(&mut attestation(&key, "release", &release, &archive));
    let detached = |key: &str| {
        let signature = format!("{sums}.sig");
        offline(
            "cosign",
            &["verify-blob", "--key", key, "--signature", &signature, "--insecure-ignore-tlog", &sums],
        )
    };
    must(&mut detached(&key));
    // The checks can fail: another key, another kind, another file.
    for mut wrong in [
        attestation(&evil, "release", &release, &archive),
        attestation(&key, "channel", &release, &archive),
        attestation(&key, "release", &release, &sums),
        detached(&evil),
    ] {
        assert!(!run(&mut wrong).status.success(), "{wrong:?} accepted it");
    }
}

#[test]
fn an_rsa_key_seals_as_well() {
    let bench = Bench::new("t-rsa");
    let rsa = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "rsa.pem"];
    must(tool("openssl", &rsa).current_dir(bench.home.path("")));
    bench.home.must(&["keys", "import", "rsa.pem", "--name", "rsa"]);
    let key = keyring::open(&bench.home.path("keys/rsa.key"), PASSWORD.as_bytes()).unwrap();
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "hello")]);
    bench.publish(&release, &key);
    let at = |below: &str| bench.object(below).to_str().unwrap().to_owned();
    let (kind, public) = ("https://imgforge.dev/release/v1", bench.home.text("keys/rsa.pub"));
    let (bundle, archive) = (at("releases/1.0.0/release.sigstore.json"), body(&bench, "1.0.0"));
    let options = ["--type", kind, "--bundle", &bundle, "--insecure-ignore-tlog", &archive];
    must(&mut offline("cosign", &[&["verify-blob-attestation", "--key", &public], &options[..]].concat()));
    bench.home.must(&["verify", &at("releases/1.0.0"), "--key", &public]);
}

#[test]
fn verification_opens_no_socket() {
    let bench = Bench::published("t-offline");
    let imgforge = env!("CARGO_BIN_EXE_imgforge");
    let mut command =
        tool("unshare", &["-n", imgforge, "verify", bench.object("releases/1.0.0").to_str().unwrap()]);
    let said = must(command.env("HOME", bench.home.path("")));
    assert!(said.contains("integrity  OK") && said.contains("freshness  OK"), "{said}");
}

proptest! {
    /// Foreign bytes are refused, never a panic, and never accepted.
    #[test]
    fn foreign_bytes_are_no_document(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bench = BENCH.get_or_init(|| Bench::new("t-foreign"));
        let keys = TrustedKeys::from(bench.key.public().clone());
        prop_assert!(Sealed::<Channel>::from_bytes(bytes.clone()).verify(&keys).is_err());
        prop_assert!(Sealed::<Release>::from_bytes(bytes).verify(&keys).is_err());
    }
}

static BENCH: std::sync::OnceLock<Bench> = std::sync::OnceLock::new();
