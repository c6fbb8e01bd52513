//! A program in an image, and what it says about what is inside it: packages with names, or a reason.
#![no_main]

use imgforge::model::sbom::program::{self, Notes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Without the headers too, so that the fuzzer need not find them; zlib's checksum stops it anyway.
    let bare = Notes { cargo: None, go: Some(bytes.to_vec()) };
    for notes in program::notes(bytes).ok().into_iter().chain([bare]) {
        if let Ok(packages) = program::packages("usr/bin/app", &notes) {
            assert!(packages.iter().all(|package| package.path == "usr/bin/app"));
        }
    }
});
