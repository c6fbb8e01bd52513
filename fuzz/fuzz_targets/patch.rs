//! The table of a stranger's patch: refused, or the one way to write what it says. Never a panic.
#![no_main]

use std::sync::LazyLock;

use imgforge::model::archive::index::{Compressor, Contents, Index, Member};
use imgforge::model::archive::patch::Table;
use imgforge::model::archive::{entries, length};
use imgforge::model::digest::Digest;
use imgforge::model::image::{Blob, Image};
use libfuzzer_sys::fuzz_target;

/// An archive of eight members of a MiB.
static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let image = |size: u64| {
        let layer = Blob { digest: Digest::of(b"layer"), size };
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer.digest
        );
        let platform = "linux/amd64".parse().unwrap();
        Image::new("p/t:1.0.0".parse().unwrap(), platform, config.as_bytes(), vec![layer]).unwrap()
    };
    let around = length(&entries(&image(8 << 20))) - (8 << 20);
    let compressor = Compressor { name: "none".to_owned(), version: "1".to_owned(), level: 0, text_level: 0 };
    let contents = Contents { image: image((8 << 20) - around), papers: Vec::new(), compressor };
    let member = |number: u8| Member {
        packed: 1000,
        plain: 1 << 20,
        checksum: number.into(),
        digest: Digest::of(&[number]),
    };
    Index::new(contents, (0..8).map(member).collect()).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = Table::parse(bytes, &INDEX, &INDEX) {
        assert_eq!(table.to_bytes(), bytes);
        for run in table.making(&[0, 3, 7]) {
            assert!(table.place(run).end <= table.size());
        }
    }
});
