//! What an operator must never load: each attack is refused with its own exit code, for its own reason, and
//! nothing of it becomes an image.
//!
//! | family | attacks |
//! |---|---|
//! | [`documents`] | forms of bundles and statements, each byte changed |
//! | [`store`] | changed, cut, replaced and missing files |
//! | [`pointers`] | replay, freeze, equivocation, clock, another channel or project |
//! | [`handover`] | trust documents by those who have no say, and keys that lost theirs |
//! | [`memory`] | what this machine remembers is lost, damaged, or written by two at once |
//! | [`tars`] | archives that a trusted key signed, but that hold something else |
//! | [`descriptors`] | what their documents say of blobs: kinds, sizes, places; compressed layers |
//! | [`feeding`] | what turns out wrong while an engine gets it already |
//! | [`engine`] | names of other images, an engine that lies, keys of other projects |
//!
//! `docs/attacks.md` is the list of them, with those that other files test.

mod descriptors;
mod documents;
mod engine;
mod feeding;
mod handover;
mod memory;
mod pointers;
mod store;
mod tars;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use imgforge::step::keyring::{self, SigningKey};

use crate::harness::{PASSWORD, root};
use crate::workbench::Bench;

/// A key that nobody trusts.
pub(crate) fn stranger(bench: &Bench) -> SigningKey {
    key(bench, "evil")
}

/// Another key, in a folder of its own.
fn key(bench: &Bench, name: &str) -> SigningKey {
    let folder = bench.home.path(name);
    if !folder.exists() {
        keyring::generate(&folder, "cosign", PASSWORD.as_bytes()).unwrap();
    }
    keyring::open(&folder.join("cosign.key"), PASSWORD.as_bytes()).unwrap()
}

#[test]
fn the_page_names_every_attack_and_its_test() {
    let page = fs::read_to_string(root().join("docs/attacks.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(".rs` `"));
    let mut named = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, codes, reason, tests, _] = cells[..] else { panic!("{row}") };
        assert!(codes.split([',', ';']).all(|code| code.trim().parse::<u8>().is_ok()), "{row}");
        assert!(!reason.is_empty(), "{row}");
        for test in tests.split(", ") {
            let [_, file, _, name, _] = test.split('`').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let source = fs::read_to_string(root().join("tests/it").join(file)).unwrap();
            assert!(source.contains(&format!("\nfn {name}() {{")), "{file} has no {name}");
            named.insert(name.to_owned());
        }
    }
    for file in fs::read_dir(root().join("tests/it/attacks")).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        for test in source.split("#[test]\n").skip(1) {
            let name = test.split_once("fn ").unwrap().1.split('(').next().unwrap();
            let own = ["the_page_names_every_attack_and_its_test", "the_untouched_release_is_accepted"];
            assert!(named.contains(name) || own.contains(&name), "docs/attacks.md does not name {name}");
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Refused with this code and this reason.
#[track_caller]
fn refused(what: &str, said: &str, code: u8, reason: &str) {
    assert!(said.starts_with(&format!("exit {code}\n")), "{what}: not {code}: {said}");
    assert!(said.contains(reason), "{what}: not `{reason}`: {said}");
}
