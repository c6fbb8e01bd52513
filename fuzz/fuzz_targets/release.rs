//! Releases that a trusted key signed, whatever they say.
#![no_main]

use imgforge::model::release::Release;
use imgforge_fuzz::signed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Some(release) = signed::<Release>(payload) {
        for archive in &release.archives {
            assert!(!archive.file.contains('/'));
            assert!(release.archive_named(&archive.file).is_some());
        }
    }
});
