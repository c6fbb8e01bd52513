//! The end of a stranger's file: refused, or the one way to write what it says. Never a panic, never more
//! memory than the format allows.
#![no_main]

use imgforge::model::archive::index::Index;
use imgforge::model::archive::tail::{Footer, Tail};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let size = bytes.len() as u64;
    if let Ok(footer) = Footer::parse(bytes, size) {
        assert!(bytes.ends_with(&footer.to_bytes()));
    }
    if let Ok(tail) = Tail::parse(bytes, size) {
        assert_eq!(tail.index.packed_size(), tail.footer.index_at);
    }
    // Without the frames, so that the fuzzer need not find them.
    if let Ok(index) = Index::parse(bytes) {
        assert_eq!(index.to_bytes(), bytes);
        let members = index.members().len();
        assert_eq!(index.covering(&(0..index.plain_size())), 0..members);
    }
});
