//! Statements about images, as stock cosign reads them.

use std::fs;

use base64::Engine as _;

use crate::assert_session;
use crate::building::{Project, shared_cache};
use crate::harness::{must, run, tool};

/// What a bundle states. Its signature is cosign's business.
fn stated(project: &Project, file: &str) -> serde_json::Value {
    let bundle: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(project.home.path(file)).unwrap()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn cosign_accepts_what_is_stated() {
    shared_cache();
    let project = Project::new("t-attest", "");
    // Without a base there is nothing of today in it, so what is stated never changes.
    let tier = "base = \"scratch\"\ncontext = \"files\"\n[[steps]]\ncopy = { paths = [\"a.txt\"], to = \"/\" }\n\
                [user]\nname = \"root\"\nuid = 0\ngid = 0\n";
    project.write("recipes/golden.toml", tier);
    project.write("recipes/files/a.txt", "a");
    project.home.must(&["keys", "generate", "--quiet"]);
    let attest = |more: &[&str]| {
        let mut command = project.imgforge(&[&["attest", "golden", "--quiet"], more].concat());
        project.home.record(&mut command)
    };
    assert_session!(attest(&[]), @"
    exit 0
    --- stdout
    image      t-attest/golden:1.0.0  sha256:[DIGEST]
    archive    not here, so the statements name only the image
    wrote      dist/golden-1.0.0-linux-amd64.spdx.sigstore.json  https://spdx.dev/Document
    wrote      dist/golden-1.0.0-linux-amd64.cyclonedx.sigstore.json  https://cyclonedx.org/bom
    wrote      dist/golden-1.0.0-linux-amd64.provenance.sigstore.json  https://slsa.dev/provenance/v1
    ");
    must(&mut project.imgforge(&["export", "golden", "--quiet"]));
    assert_session!(attest(&[]), @"
    exit 0
    --- stdout
    image      t-attest/golden:1.0.0  sha256:[DIGEST]
    archive    golden-1.0.0-linux-amd64.tar.gz  named too
    wrote      dist/golden-1.0.0-linux-amd64.spdx.sigstore.json  https://spdx.dev/Document
    wrote      dist/golden-1.0.0-linux-amd64.cyclonedx.sigstore.json  https://cyclonedx.org/bom
    wrote      dist/golden-1.0.0-linux-amd64.provenance.sigstore.json  https://slsa.dev/provenance/v1
    ");

    let at = |word: &str| project.home.text(&format!("dist/golden-1.0.0-linux-amd64.{word}"));
    let key = project.home.text("keys/cosign.pub");
    let verify = |kind: &str, word: &str, file: &str| {
        let bundle = at(&format!("{word}.sigstore.json"));
        let fixed = ["verify-blob-attestation", "--key", &key, "--insecure-ignore-tlog"];
        tool("cosign", &[&fixed[..], &["--type", kind, "--bundle", &bundle, file]].concat())
    };
    let archive = at("tar.gz");
    for (kind, word) in [("spdxjson", "spdx"), ("cyclonedx", "cyclonedx"), ("slsaprovenance1", "provenance")]
    {
        must(&mut verify(kind, word, &archive));
        assert!(
            !run(&mut verify("vuln", word, &archive)).status.success(),
            "{word} is taken for another kind"
        );
        assert!(!run(&mut verify(kind, word, &key)).status.success(), "{word} is taken for another file's");
    }

    // Signatures differ from run to run, statements do not.
    let file = "dist/golden-1.0.0-linux-amd64.provenance.sigstore.json";
    let before = stated(&project, file);
    attest(&[]);
    assert_eq!(stated(&project, file), before);
    let build = &before["predicate"]["buildDefinition"];
    assert_eq!(build["externalParameters"]["recipe"]["user"]["name"], "root");
    assert_eq!(build["internalParameters"]["locked"], false);
    let materials = build["resolvedDependencies"].as_array().unwrap();
    assert_eq!(
        materials.iter().map(|material| &material["name"]).collect::<Vec<_>>(),
        ["Dockerfile", "context"]
    );
    // Another file is another context, and so other materials.
    project.write("recipes/files/a.txt", "b");
    attest(&[]);
    let now = stated(&project, file);
    let materials =
        |stated: &serde_json::Value| stated["predicate"]["buildDefinition"]["resolvedDependencies"].clone();
    assert_eq!(materials(&now)[0], materials(&before)[0]);
    assert_ne!(materials(&now)[1], materials(&before)[1]);
}
