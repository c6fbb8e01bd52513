//! Trust documents by those who have no say, and keys that lost theirs.

use std::fs;

use imgforge::model::key::PublicKey;
use imgforge::model::seal::Sealed;
use imgforge::model::trust::{Root, Trust};
use imgforge::step::keyring::SigningKey;
use imgforge::step::sign;

use super::{key, refused};
use crate::workbench::{Bench, now};

/// A trust document in which each of these keys has these roles.
fn document(
    bench: &Bench,
    version: u64,
    root: &[&SigningKey],
    threshold: usize,
    work: &[&SigningKey],
) -> Trust {
    let names = |keys: &[&SigningKey]| keys.iter().map(|key| key.public().fingerprint()).collect::<Vec<_>>();
    let mut keys: Vec<PublicKey> = Vec::new();
    for key in root.iter().chain(work) {
        if !keys.contains(key.public()) {
            keys.push(key.public().clone());
        }
    }
    Trust {
        project: bench.project.parse().unwrap(),
        version,
        issued: now(),
        keys,
        root: Root { keys: names(root), threshold },
        release: names(work),
        channel: names(work),
        kept: Vec::new(),
    }
}

/// Puts a document in its place, signed by these, without asking whether that is right.
fn put(bench: &Bench, number: u64, document: &Trust, signers: &[&SigningKey]) {
    let lines = signers.iter().map(|key| [sealed(document, key).bytes(), b"\n"].concat());
    write(bench, number, &lines.collect::<Vec<_>>().concat());
}

fn write(bench: &Bench, number: u64, bytes: &[u8]) {
    let path = bench.object(&format!("trust/{number}.jsonl"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn sealed(document: &Trust, key: &SigningKey) -> Sealed<Trust> {
    sign::again(&imgforge::model::document::write(document), key).unwrap_or_else(|_| {
        // A document that contradicts itself: signed all the same.
        let payload = imgforge::model::document::write(document);
        let signature = key.sign(&imgforge::model::seal::to_be_signed(&payload)).unwrap();
        Sealed::assemble(&payload, &signature, key.public())
    })
}

#[test]
fn the_first_document_needs_the_pinned_key_and_the_new_ones() {
    let bench = Bench::published("t-first-trust");
    let (one, two) = (key(&bench, "one"), key(&bench, "two"));
    let next = document(&bench, 1, &[&one], 1, &[&one]);
    put(&bench, 1, &next, &[&one]);
    refused("without the pinned key", &bench.fetch(), 11, "signed none of the project's trust documents");
    put(&bench, 1, &next, &[&bench.key]);
    refused(
        "without the new key",
        &bench.fetch(),
        11,
        "signed by 0 of the 1 root keys that version 1 demands",
    );
    let both = document(&bench, 1, &[&one, &two], 2, &[&one]);
    put(&bench, 1, &both, &[&bench.key, &one, &one]);
    refused("one key twice", &bench.fetch(), 11, "signed by 1 of the 2 root keys that version 1 demands");
    let mut other = next.clone();
    other.project = "somebody-else".parse().unwrap();
    put(&bench, 1, &other, &[&bench.key, &one]);
    refused("another project's", &bench.fetch(), 12, "is of project `somebody-else`, not of `t-first-trust`");
    let lines = [sealed(&next, &bench.key).bytes(), b"\n", sealed(&both, &one).bytes()].concat();
    write(&bench, 1, &lines);
    refused("two documents in one", &bench.fetch(), 10, "its lines are not over the same document");
    write(&bench, 1, b"");
    refused("an empty one", &bench.fetch(), 10, "it is empty");
    let mut bit = sealed(&next, &bench.key).bytes().to_vec();
    let at = String::from_utf8_lossy(&bit).find("\"payload\":\"").unwrap() + 200;
    bit[at] ^= 1;
    write(&bench, 1, &bit);
    let said = bench.fetch();
    assert!(said.starts_with("exit 12\n") || said.starts_with("exit 10\n"), "{said}");
    let channel = fs::read(bench.object("channels/stable.sigstore.json")).unwrap();
    write(&bench, 1, &channel);
    refused("a channel in its place", &bench.fetch(), 12, "it is of type `https://imgforge.dev/channel/v1`");
    assert!(!bench.in_engine());
}

#[test]
fn a_document_that_contradicts_itself() {
    let bench = Bench::published("t-odd-trust");
    let one = key(&bench, "one");
    let good = document(&bench, 1, &[&one, &bench.key], 1, &[&one]);
    let signers = [&bench.key, &one];
    let odd = |what: &str, reason: &str, change: &dyn Fn(&mut Trust)| {
        let mut document = good.clone();
        change(&mut document);
        put(&bench, 1, &document, &signers);
        refused(what, &bench.fetch(), 12, reason);
    };
    odd("no threshold", "its threshold is 0 of 2 root keys", &|d| d.root.threshold = 0);
    odd("a threshold that nobody reaches", "its threshold is 3 of 2 root keys", &|d| d.root.threshold = 3);
    odd("version 0", "version 0 is the pinned key itself", &|d| d.version = 0);
    odd("nobody seals releases", "nobody has the role `release`", &|d| d.release.clear());
    odd("a key named twice", "`root` names sha256:", &|d| d.root.keys.push(d.root.keys[0]));
    odd("a key without a role", "are not those that have roles", &|d| {
        d.root.keys.pop();
    });
    odd("a role without a key", "are not those that have roles", &|d| {
        d.keys.pop();
    });
    assert!(!bench.in_engine());
}

#[test]
fn later_documents_need_the_root_keys_before_and_after() {
    let bench = Bench::published("t-later-trust");
    let [a, b, c, work, evil] = ["a", "b", "c", "work", "evil"].map(|name| key(&bench, name));
    let first = document(&bench, 1, &[&a, &b, &c], 2, &[&work]);
    put(&bench, 1, &first, &[&bench.key, &a, &b]);
    let second = document(&bench, 2, &[&evil], 1, &[&evil]);
    put(&bench, 2, &second, &[&work, &evil]);
    refused(
        "a release key changes the root",
        &bench.fetch(),
        11,
        "signed by 0 of the 2 root keys that version 1 demands",
    );
    put(&bench, 2, &second, &[&bench.key, &evil]);
    refused(
        "the key before that",
        &bench.fetch(),
        11,
        "signed by 0 of the 2 root keys that version 1 demands",
    );
    put(&bench, 2, &second, &[&a, &evil]);
    refused("a stolen minority", &bench.fetch(), 11, "signed by 1 of the 2 root keys that version 1 demands");
    put(&bench, 2, &second, &[&a, &a, &evil]);
    refused("a minority twice", &bench.fetch(), 11, "signed by 1 of the 2 root keys that version 1 demands");
    put(&bench, 2, &second, &[&a, &b]);
    refused(
        "without the new key",
        &bench.fetch(),
        11,
        "signed by 0 of the 1 root keys that version 2 demands",
    );
    put(&bench, 2, &second, &[&a, &b, &evil, &work]);
    refused("somebody without a say", &bench.fetch(), 11, "a key that has no say in it");
    let skipped = document(&bench, 3, &[&a], 1, &[&work]);
    put(&bench, 2, &skipped, &[&a, &b]);
    refused("a skipped version", &bench.fetch(), 12, "has version 3 where 2 should be");
    put(&bench, 2, &first, &[&a, &b]);
    refused("an old version again", &bench.fetch(), 12, "has version 1 where 2 should be");
    assert!(!bench.in_engine());
}

#[test]
fn roles_are_kept_apart() {
    let bench = Bench::published("t-roles");
    let [root, build, cron] = ["root", "build", "cron"].map(|name| key(&bench, name));
    let mut roles = document(&bench, 1, &[&root], 1, &[&build, &cron]);
    roles.release.pop();
    roles.channel.remove(0);
    put(&bench, 1, &roles, &[&bench.key, &root]);
    fs::remove_dir_all(bench.object("releases")).unwrap();
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "hello")]);
    let good = bench.publish(&release, &build);
    bench.point(&bench.channel(&good, "1.0.0", 2), &build);
    refused("a release key seals a channel", &bench.fetch(), 11, "the channel is sealed by no trusted key");
    bench.point(&bench.channel(&good, "1.0.0", 2), &root);
    refused("a root key seals a channel", &bench.fetch(), 11, "the channel is sealed by no trusted key");
    bench.point(&bench.channel(&good, "1.0.0", 2), &bench.key);
    refused("the key before", &bench.fetch(), 11, "which does not count any more");
    fs::remove_dir_all(bench.object("releases")).unwrap();
    let bad = bench.publish(&release, &cron);
    bench.point(&bench.channel(&bad, "1.0.0", 2), &cron);
    refused("a channel key seals a release", &bench.fetch(), 11, "the release is sealed by no trusted key");
    assert!(!bench.in_engine());
}

#[test]
fn a_handover_that_was_seen_cannot_be_hidden_again() {
    let bench = Bench::published("t-hidden");
    let one = key(&bench, "one");
    put(&bench, 1, &document(&bench, 1, &[&one], 1, &[&one]), &[&bench.key, &one]);
    refused("what the old key sealed", &bench.fetch(), 11, "which does not count any more");
    fs::remove_dir_all(bench.object("trust")).unwrap();
    refused("the document hidden", &bench.fetch(), 11, "which does not count any more");
    let said = bench.home.session(&["verify", bench.object("releases/1.0.0").to_str().unwrap()]);
    refused("offline", &said, 11, "which does not count any more");
}

#[test]
fn a_thief_who_signed_the_last_sequence_locks_nobody_out() {
    let bench = Bench::published("t-forward");
    let release = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let release = Sealed::from_bytes(release);
    let mut last = bench.channel(&release, "1.0.0", u64::MAX);
    last.floor = Some("1.0.0".parse().unwrap());
    bench.point(&last, &bench.key);
    bench.home.must(&["fetch", "tiny"]);
    bench.point(&bench.channel(&release, "1.0.0", 2), &bench.key);
    refused("before the rotation", &bench.fetch(), 14, "this machine has seen 18446744073709551615");
    let one = key(&bench, "one");
    let mut next = document(&bench, 1, &[&one], 1, &[&one]);
    next.kept.push(imgforge::model::digest::Digest::of(release.bytes()));
    put(&bench, 1, &next, &[&bench.key, &one]);
    bench.point(&bench.channel(&release, "1.0.0", 1), &one);
    assert!(bench.fetch().starts_with("exit 0"));
}
