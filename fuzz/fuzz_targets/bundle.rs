//! Bytes that nobody signed: refused, never a panic.
#![no_main]

use imgforge::model::channel::Channel;
use imgforge::model::release::Release;
use imgforge::model::seal::Sealed;
use imgforge::model::trust::{Trust, chain};
use imgforge_fuzz::key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let keys = key().public().clone().into();
    assert!(Sealed::<Release>::from_bytes(bytes.to_vec()).verify(&keys).is_err());
    assert!(Sealed::<Channel>::from_bytes(bytes.to_vec()).verify(&keys).is_err());
    assert!(Sealed::<Trust>::from_bytes(bytes.to_vec()).verify(&keys).is_err());
    let _ = chain(bytes);
});
