//! What an operator must never load: each attack is refused with its own exit code, for its own reason, and
//! nothing of it reaches the engine.
//!
//! | family | attacks |
//! |---|---|
//! | [`documents`] | forms of bundles and statements, each byte changed; through the model |
//! | [`store`] | changed, cut, replaced and missing files |
//! | [`pointers`] | replay, freeze, equivocation, clock, another channel or project |
//! | [`handover`] | trust documents by those who have no say, and keys that lost theirs |
//! | [`memory`] | what this machine remembers is lost, damaged, or written by two at once |
//! | [`tars`] | archives that a trusted key signed, but that hold something else |
//! | [`engine`] | names of other images, keys of other projects |

mod documents;
mod engine;
mod handover;
mod memory;
mod pointers;
mod store;
mod tars;

use std::fs;
use std::path::Path;

use imgforge::step::keyring::{self, SigningKey};

use crate::harness::PASSWORD;
use crate::workbench::Bench;

/// A key that nobody trusts.
fn stranger(bench: &Bench) -> SigningKey {
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
