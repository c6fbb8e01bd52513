//! Forms of bundles and statements, and every byte of each document changed.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use imgforge::model::channel::Channel;
use imgforge::model::document::{Document, write};
use imgforge::model::key::TrustedKeys;
use imgforge::model::name::Version;
use imgforge::model::release::{Patch, Release};
use imgforge::model::seal::{SealError, Sealed, to_be_signed};
use imgforge::model::trust::{Root, Step, Trust, Trusted};
use imgforge::step::sign;

use super::{refused, stranger};
use crate::workbench::{Bench, now};

/// What the model says of a release.
fn verdict(bench: &Bench, bytes: &[u8]) -> String {
    let trusted = Trusted::pin(bench.project.parse().unwrap(), bench.key.public().clone());
    match trusted.release(&Sealed::from_bytes(bytes.to_vec())) {
        Ok(_) => "accepted".to_owned(),
        Err(SealError::Document { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Signs any bytes with the trusted key.
fn signed(bench: &Bench, payload: &[u8]) -> Vec<u8> {
    let signature = bench.key.sign(&to_be_signed(payload)).unwrap();
    Sealed::<Release>::assemble(payload, &signature, bench.key.public()).bytes().to_vec()
}

#[test]
fn only_one_form_of_bundle_is_read() {
    let bench = Bench::published("t-forms");
    let path = bench.object("releases/1.0.0/release.sigstore.json");
    let good = fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&good).unwrap();
    let text = |at: &str| json.pointer(at).unwrap().as_str().unwrap();
    let (payload, signature) = (text("/dsseEnvelope/payload"), text("/dsseEnvelope/signatures/0/sig"));
    let bytes = STANDARD.decode(payload).unwrap();
    let evil = stranger(&bench);
    let pem = STANDARD.encode(evil.public().to_pem());
    let evil_signature = STANDARD.encode(evil.sign(&to_be_signed(&bytes)).unwrap());
    let two = good.replace("\"signatures\":[", &format!("\"signatures\":[{{\"sig\":\"{signature}\"}},"));
    let spaced = format!("{}\\n{}", &payload[..64], &payload[64..]);
    let legacy = format!(r#"{{"base64Signature":"{evil_signature}","cert":"{pem}","rekorBundle":null}}"#);
    let hybrid = format!(r#"{{"base64Signature":"{evil_signature}","cert":"{pem}",{}"#, &good[1..]);
    let certificate = format!(r#""certificate":{{"rawBytes":"{pem}"}},"publicKey""#);
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), "EOF while parsing"),
        ("not JSON", "hello".into(), "expected value"),
        ("the bare statement", String::from_utf8(bytes).unwrap(), "unknown field `_type`"),
        ("cosign's older form with a key", legacy, "unknown field `base64Signature`"),
        ("both forms in one file", hybrid, "unknown field `base64Signature`"),
        ("no signature", good.replace(&format!("{{\"sig\":\"{signature}\"}}"), ""), "invalid length 0"),
        ("two signatures", two, "with one signature (trailing characters"),
        ("a key identifier", good.replace("{\"sig\"", "{\"keyid\":\"\",\"sig\""), "unknown field `keyid`"),
        ("a certificate", good.replace("\"publicKey\"", &certificate), "unknown field `certificate`"),
        (
            "log entries",
            good.replace("{\"publicKey\"", "{\"tlogEntries\":[],\"publicKey\""),
            "unknown field `tlogEntries`",
        ),
        ("an older bundle", good.replace("bundle.v0.3+json", "bundle.v0.2+json"), "is not accepted"),
        ("another payload type", good.replace("vnd.in-toto+json", "vnd.in-toto.json"), "is not accepted"),
        (
            "a payload twice",
            good.replace("\"payload\"", "\"payload\":\"e30=\",\"payload\""),
            "key `payload` occurs twice",
        ),
        (
            "a field twice, escaped",
            good.replace("{\"mediaType\"", "{\"\\u006dediaType\":\"\",\"mediaType\""),
            "key `mediaType` occurs twice",
        ),
        ("deep nesting", deep, "nested deeper than 16 levels"),
        (
            "another alphabet",
            good.replace(signature, &URL_SAFE.encode([0xff; 70])),
            "its signature is not base64",
        ),
        ("white space in base64", good.replace(payload, &spaced), "its payload is not base64"),
        ("no padding", good.replace(signature, "AAA"), "its signature is not base64"),
        ("bits after the padding", good.replace(signature, "AB=="), "its signature is not base64"),
        ("something behind it", format!("{good}{{}}"), "trailing characters"),
        ("too much of it", format!("{good}{}", " ".repeat(1 << 20)), "larger than 1048576 bytes"),
        ("an empty signature", good.replace(signature, ""), "was changed after it was sealed"),
        (
            "a stranger's signature",
            good.replace(signature, &evil_signature),
            "was changed after it was sealed",
        ),
    ];
    for (what, text, reason) in &cases {
        let said = verdict(&bench, text.as_bytes());
        assert!(said.contains(reason), "{what}: {said}");
    }
    for (what, text, reason) in &cases {
        through_the_program(&bench, what, text, if reason.contains("was changed") { 12 } else { 10 }, reason);
    }
}

/// The same for a person: offline, and from a store that shows it.
fn through_the_program(bench: &Bench, what: &str, text: impl AsRef<[u8]>, code: u8, reason: &str) {
    let path = bench.object("releases/1.0.0/release.sigstore.json");
    fs::write(&path, text).unwrap();
    refused(what, &bench.home.session(&["fetch", "tiny@1.0.0", "-q"]), code, reason);
    let folder = path.parent().unwrap().to_str().unwrap().to_owned();
    refused(what, &bench.home.session(&["verify", &folder, "-q"]), code, reason);
}

#[test]
fn a_good_signature_over_something_else() {
    let bench = Bench::published("t-statements");
    let good = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "hello")]);
    let text = String::from_utf8(write(&good)).unwrap();
    let changed = |change: &dyn Fn(&mut Release)| {
        let mut release = good.clone();
        change(&mut release);
        String::from_utf8(write(&release)).unwrap()
    };
    let archive =
        |change: fn(&mut imgforge::model::release::Archive)| changed(&move |r| change(&mut r.archives[0]));
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "an attestation",
            text.replace("imgforge.dev/release/v1", "slsa.dev/provenance/v1"),
            "it is of type `https://slsa.dev/provenance/v1`",
        ),
        (
            "an image signature",
            text.replace("imgforge.dev/release/v1", "sigstore.dev/cosign/sign/v1"),
            "it is of type `https://sigstore.dev/cosign/sign/v1`",
        ),
        (
            "a newer version of the format",
            text.replace("release/v1", "release/v2"),
            "it is of type `https://imgforge.dev/release/v2`",
        ),
        (
            "another statement",
            text.replace("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
            "it is of type `https://in-toto.io/Statement/v0.1`",
        ),
        (
            "two types",
            text.replace("\"predicateType\"", "\"predicateType\":\"x\",\"predicateType\""),
            "it cannot be read",
        ),
        (
            "an unknown field",
            text.replace("\"predicate\":{", "\"predicate\":{\"critical\":true,"),
            "it cannot be read",
        ),
        ("no predicate", "{}".into(), "it cannot be read"),
        (
            "no subject",
            text.replacen(
                &text[text.find("\"subject\"").unwrap()..=text.find(']').unwrap()],
                "\"subject\":[]",
                1,
            ),
            "its subjects are not the files that it names",
        ),
        ("no archive", changed(&|r| r.archives.clear()), "it names no archive"),
        ("an archive twice", changed(&|r| r.archives.push(r.archives[0].clone())), "twice"),
        ("a path", archive(|a| a.file = "../../etc/passwd".into()), "is not the file name of tier"),
        (
            "another tier's file",
            archive(|a| a.tier = "other".parse().unwrap()),
            "is not the file name of tier",
        ),
        (
            "another project's image",
            archive(|a| a.image.tag = "debian/tiny:1.0.0".parse().unwrap()),
            "holds an image named `debian/tiny:1.0.0`",
        ),
        (
            "another version's image",
            archive(|a| a.image.tag = "t-statements/tiny:9.0.0".parse().unwrap()),
            "holds an image named",
        ),
    ];
    let patch = |archive: &str, from: &str, file: &str| {
        let (digest, table) = (good.archives[0].digest, good.archives[0].index);
        let from = from.parse().unwrap();
        let (archive, file) = (archive.to_owned(), file.to_owned());
        changed(&|r| {
            let (archive, file, from) = (archive.clone(), file.clone(), Version::clone(&from));
            r.patches.push(Patch { archive, from, base: digest, file, size: 1, digest, table });
        })
    };
    let (archive, other) = ("tiny-1.0.0-linux-amd64.tar.gz", "other-1.0.0-linux-amd64.tar.gz");
    let file = "tiny-1.0.0-linux-amd64.from-1.0.0.patch";
    let patches = [
        ("a patch with a path", patch(archive, "0.9.0", "../../evil"), "is not the file name of a patch"),
        ("a patch of another archive", patch(other, "0.9.0", "x.patch"), "which is not in it"),
        ("a patch from itself", patch(archive, "1.0.0", file), "is not the file name of a patch"),
    ];
    let cases = cases.into_iter().chain(patches);
    assert_eq!(verdict(&bench, &signed(&bench, text.as_bytes())), "accepted");
    for (what, payload, reason) in cases {
        assert_ne!(payload, text, "{what} is no change");
        let bytes = signed(&bench, payload.as_bytes());
        let said = verdict(&bench, &bytes);
        assert!(said.contains(reason), "{what}: {said}");
        through_the_program(&bench, what, bytes, 12, reason);
    }
}

/// Every byte of a document changed: refused, or the same document.
fn every_byte<T: Document + PartialEq + std::fmt::Debug>(bytes: &[u8], keys: &TrustedKeys) {
    let good = Sealed::<T>::from_bytes(bytes.to_vec()).verify(keys).unwrap();
    let text = String::from_utf8_lossy(bytes);
    let hint = text.find("\"hint\":\"").unwrap();
    for at in 0..bytes.len() {
        for change in [0x01, 0x20, 0x80] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            match Sealed::<T>::from_bytes(changed).verify(keys) {
                Err(
                    SealError::NotSealed { .. } | SealError::Changed { .. } | SealError::Untrusted { .. },
                ) => {}
                Err(error) => panic!("byte {at}: {error}"),
                // The hint is not signed, and only chooses words: cosign ignores it too.
                Ok(same) => {
                    assert_eq!(*same, *good);
                    assert!((hint..hint + 60).contains(&at), "byte {at} changed nothing");
                }
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_document_is_refused() {
    let bench = Bench::published("t-every-byte");
    let keys = TrustedKeys::from(bench.key.public().clone());
    every_byte::<Release>(&fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap(), &keys);
    every_byte::<Channel>(&fs::read(bench.object("channels/stable.sigstore.json")).unwrap(), &keys);
    let own = vec![bench.key.public().fingerprint()];
    let trust = Trust {
        project: bench.project.parse().unwrap(),
        version: 1,
        issued: now(),
        keys: vec![bench.key.public().clone()],
        root: Root { keys: own.clone(), threshold: 1 },
        release: own.clone(),
        channel: own,
        kept: Vec::new(),
    };
    let (sealed, _) = sign::seal(&trust, &bench.key).unwrap();
    every_byte::<Trust>(sealed.bytes(), &keys);
    let trusted = Trusted::pin(bench.project.parse().unwrap(), bench.key.public().clone());
    assert_eq!(trusted.advance(&Step::parse(sealed.bytes()).unwrap()).unwrap().0.version(), 1);
}

/// Order of the group of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The same signature with `s` replaced by `order - s`: as valid, and other bytes.
fn mirrored(der: &[u8]) -> Vec<u8> {
    let r_length = usize::from(der[3]);
    let (r, s) = (&der[2..4 + r_length], &der[6 + r_length..]);
    let mut number = [0u8; 32];
    let s: Vec<u8> = s.iter().copied().skip_while(|byte| *byte == 0).collect();
    number[32 - s.len()..].copy_from_slice(&s);
    let (mut order, mut borrow) = (hex::decode(ORDER).unwrap(), 0i16);
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(number[at]) - borrow;
        borrow = i16::from(difference < 0);
        order[at] = u8::try_from(difference & 0xff).unwrap();
    }
    let mut s: Vec<u8> = order.into_iter().skip_while(|byte| *byte == 0).collect();
    if s[0] & 0x80 != 0 {
        s.insert(0, 0);
    }
    let body = [r, &[2, u8::try_from(s.len()).unwrap()], &s].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

#[test]
fn other_spellings_of_a_signature() {
    let bench = Bench::published("t-malleable");
    let path = bench.object("releases/1.0.0/release.sigstore.json");
    let good = fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&good).unwrap();
    let signature = json.pointer("/dsseEnvelope/signatures/0/sig").unwrap().as_str().unwrap();
    let der = STANDARD.decode(signature).unwrap();
    let with = |der: &[u8]| good.replace(signature, &STANDARD.encode(der));
    // ECDSA has two spellings of each signature. Whoever has one can make the other, over the same
    // document; a channel names the very bytes, so a release is not exchanged unnoticed.
    let mirror = with(&mirrored(&der));
    assert_eq!(verdict(&bench, mirror.as_bytes()), "accepted");
    fs::write(&path, mirror).unwrap();
    refused("mirrored", &bench.fetch(), 12, "is not the one that the channel names");
    let r_length = usize::from(der[3]);
    let padded = [&[0x30, der[1] + 1, 2, der[3] + 1, 0], &der[4..]].concat();
    let long = [&[0x30, 0x81, der[1]], &der[2..]].concat();
    let behind = [&der[..], &[0]].concat();
    let raw = [&der[4 + r_length - 32..4 + r_length], &der[der.len() - 32..]].concat();
    for (what, der) in [
        ("padded", padded),
        ("long form", long),
        ("bytes behind", behind),
        ("raw", raw),
        ("zero", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
    ] {
        assert!(verdict(&bench, with(&der).as_bytes()).contains("was changed after it was sealed"), "{what}");
        through_the_program(&bench, what, with(&der), 12, "was changed after it was sealed");
    }
}
