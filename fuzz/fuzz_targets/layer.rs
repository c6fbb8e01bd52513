//! A stranger's layer, as `imgforge sbom` and the policy walk it: an error or a listing, never a panic.
#![no_main]

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::sync::OnceLock;

use imgforge::step::layers;
use libfuzzer_sys::fuzz_target;

fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("imgforge-fuzz-layer-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a file");
        std::fs::remove_file(path).expect("a file without a name");
        file
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut file = file();
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes)).expect("written");
    file.rewind().expect("its beginning");
    let _ = layers::items(file);
});
