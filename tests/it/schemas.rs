//! The published schemas: made from the types, and true of real documents, says a validator that is not ours.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imgforge::model::schema;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::{root, run};
use crate::workbench::Bench;

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let folder = root().join("docs/schemas");
    let mut names = Vec::new();
    for published in schema::all() {
        let (path, text) = (folder.join(published.file), format!("{:#}\n", published.schema));
        if update {
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is not what the types say now; if they are right, run `UPDATE_SCHEMAS=1 cargo test --test it schemas`",
            path.display()
        );
        names.push(published.file.to_owned());
    }
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.collect();
    names.sort();
    files.sort();
    assert_eq!(files, names);
}

fn validator(file: &str) -> Validator {
    let text = fs::read(root().join("docs/schemas").join(file)).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&serde_json::from_slice(&text).unwrap())
        .unwrap()
}

/// Checks a document and says what is wrong with it, if anything is.
pub(crate) fn verdict(file: &str, document: &Value) -> Vec<String> {
    validator(file)
        .iter_errors(document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect()
}

/// The statement in the seals of a file, one a line, that satisfy their own schema.
fn statement(path: &Path) -> Value {
    let mut statements = fs::read_to_string(path).unwrap().lines().map(sealed).collect::<Vec<_>>();
    statements.dedup();
    assert_eq!(statements.len(), 1, "{statements:?}");
    statements.remove(0)
}

fn sealed(bundle: &str) -> Value {
    let bundle: Value = serde_json::from_str(bundle).unwrap();
    assert_eq!(verdict("bundle.json", &bundle), [""; 0]);
    let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn real_documents_satisfy_them_and_changed_ones_do_not() {
    let bench = Bench::published("t-schemas");
    bench.publish(&bench.release("0.9.0", vec![bench.archive("tiny", "0.9.0", "old")]), &bench.key);
    let project = ["--project", "t-schemas"];
    let yank = ["yank", "0.9.0", "--to", "1.0.0", "--reason", "it leaks", "--key", "keys/cosign.key"];
    bench.home.must(&[&yank[..], &project].concat());
    bench.home.must(&["keys", "generate", "--name", "next"]);
    let rotate = ["trust", "rotate", "--key", "keys/cosign.key", "--to", "keys/next.key"];
    bench.home.must(&[&rotate[..], &project].concat());
    for (file, object) in [
        ("trust.v1.json", "trust/1.jsonl"),
        ("channel.v1.json", "channels/stable.sigstore.json"),
        ("release.v1.json", "releases/1.0.0/release.sigstore.json"),
    ] {
        let real = statement(&bench.object(object));
        assert_eq!(verdict(file, &real), [""; 0], "{object}: {real:#}");
        let wrong = |change: &dyn Fn(&mut Value)| {
            let mut document = real.clone();
            change(&mut document);
            assert!(!verdict(file, &document).is_empty(), "{file} accepts {document:#}");
        };
        wrong(&|document| document["predicateType"] = json!("https://imgforge.dev/other/v1"));
        wrong(&|document| document["predicate"]["extra"] = json!(1));
        wrong(&|document| document["predicate"]["project"] = json!("../evil"));
        wrong(&|document| document["subject"][0]["digest"]["sha256"] = json!("00"));
        let keys = real["predicate"].as_object().unwrap().keys();
        for key in keys {
            wrong(&|document| drop(document["predicate"].as_object_mut().unwrap().remove(key)));
        }
    }
    let wrong = json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "base64Signature": "", "cert": ""});
    assert!(!verdict("bundle.json", &wrong).is_empty());
}

#[test]
fn what_verify_prints_satisfies_its_schema() {
    let bench = Bench::published("t-report");
    let folder = bench.object("releases/1.0.0");
    let verify = || {
        let arguments = ["verify", "--json", folder.to_str().unwrap()];
        let output = run(&mut bench.home.imgforge(&arguments));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict("verify.json", &report), [""; 0], "{report:#}");
        (output.status.code(), report)
    };
    let (code, report) = verify();
    assert_eq!((code, &report["integrity"], &report["freshness"]), (Some(0), &json!("ok"), &json!("fresh")));
    let archive = folder.join("tiny-1.0.0-linux-amd64.tar.gz");
    let mut bytes = fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&archive, bytes).unwrap();
    let (code, report) = verify();
    assert_eq!((code, &report["error"]["code"]), (Some(12), &json!(12)));
    assert_eq!(report["checks"].as_array().unwrap().last().unwrap()["result"], "failed");
    // Before anything was looked at.
    for arguments in [&["verify", "--json", "nowhere"][..], &["verify", "--json", ".", "--key", "nowhere"]] {
        let output = run(&mut bench.home.imgforge(arguments));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &report["checks"]), (Some(2), &json!([])));
        assert_eq!(verdict("verify.json", &report), [""; 0], "{report:#}");
    }
    // Neither one nor the other.
    let mut neither = report.clone();
    neither.as_object_mut().unwrap().remove("error");
    assert!(!verdict("verify.json", &neither).is_empty());
}
