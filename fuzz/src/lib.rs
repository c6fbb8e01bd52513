//! What the targets share: a trusted key, and documents that it signed, whatever they say. So the parsers
//! behind the signature are reached on the real road.

use std::sync::OnceLock;

use imgforge::model::document::{Document, write};
use imgforge::model::key::TrustedKeys;
use imgforge::model::seal::{Sealed, Verified, to_be_signed};
use imgforge::step::keyring::{self, SigningKey};

/// A key of this run.
///
/// # Panics
///
/// When there is no place for temporary files.
pub fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("imgforge-fuzz-{}", std::process::id()));
        keyring::generate(&folder, "cosign", b"").expect("a key");
        let key = keyring::open(&folder.join("cosign.key"), b"").expect("the key");
        std::fs::remove_dir_all(folder).expect("no key left behind");
        key
    })
}

/// Signs these bytes as a document. If it is accepted, it says the same when it is written again.
///
/// # Panics
///
/// When a document changes on the way.
pub fn signed<T: Document + PartialEq + std::fmt::Debug>(payload: &[u8]) -> Option<Verified<T>> {
    let keys: TrustedKeys = key().public().clone().into();
    let seal = |payload: &[u8]| {
        let signature = key().sign(&to_be_signed(payload)).expect("a signature");
        Sealed::<T>::assemble(payload, &signature, key().public())
    };
    let document = seal(payload).verify(&keys).ok()?;
    let again = seal(&write(&*document)).verify(&keys).expect("what was accepted once");
    assert_eq!(*document, *again);
    Some(document)
}
