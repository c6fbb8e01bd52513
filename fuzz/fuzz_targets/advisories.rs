//! Data about vulnerabilities, from anywhere: refused, or matched with packages that it names.
#![no_main]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use imgforge::model::image::{Blob, Image};
use imgforge::model::sbom::{Found, Inventory};
use imgforge::model::scan::database::Database;
use imgforge::model::scan::find;
use libfuzzer_sys::fuzz_target;

fn inventory() -> &'static Inventory {
    static INVENTORY: OnceLock<Inventory> = OnceLock::new();
    INVENTORY.get_or_init(|| {
        let layer = Blob::of(b"layer");
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
            layer.digest
        );
        let (tag, platform) = ("f/f:1.0.0".parse().expect("a tag"), "linux/amd64".parse().expect("a platform"));
        let image = Image::new(tag, platform, config.as_bytes(), vec![layer]).expect("an image");
        let files = [
            ("etc/os-release", "ID=debian\nVERSION_ID=13\nVERSION_CODENAME=trixie\n"),
            ("var/lib/dpkg/status", "Package: a\nVersion: 1.0-1\n"),
            ("node_modules/a/package.json", "{\"name\":\"a\",\"version\":\"1.0.0\"}"),
            ("a.dist-info/METADATA", "Name: a\nVersion: 1.0\n"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        Inventory::of(&image, Found::from(BTreeMap::from(files)))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut data = Database::about(std::slice::from_ref(inventory()));
    if data.read(bytes).is_ok() {
        let found = find::find(inventory(), &data);
        assert!(found.matches.iter().all(|one| one.package == "a"));
    }
});
