//! Archives that a trusted key signed, and that turn out wrong while an engine gets what is right in them: engines are
//! given what was checked before all of it was.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imgforge::model::image::Image;

use super::refused;
use crate::faults::engine::counting;
use crate::fetching::publish_layers;
use crate::forged::{Forged, tar_from};
use crate::transport::ENGINE;
use crate::workbench::{Bench, in_engine, layered, noise};

const LAYER: usize = 4 << 20;

/// Two layers, the first of which is small and always the same.
fn layers(bench: &Bench, second: u64) -> [Vec<u8>; 2] {
    [(LAYER / 8, 1), (LAYER, second)]
        .map(|(size, seed)| layered(&bench.project, &[("data", noise(size, seed))]))
}

/// Publishes an archive with one changed byte at this place of its tar.
fn publish_with(bench: &Bench, version: &str, second: u64, at: impl Fn(usize) -> usize) -> Image {
    let (store, image) = bench.layered("tiny", version, &layers(bench, second));
    let mut tar = tar_from(&store, &image);
    let at = at(tar.len());
    tar[at] ^= 1;
    let pieces: Vec<&[u8]> = tar.chunks(1 << 19).collect();
    Forged::new(&image, &pieces).publish(bench, &image, if version == "1.0.0" { 1 } else { 2 });
    image
}

/// Fetches through a socket that notes when the engine was given this much.
fn fetch(bench: &Bench, much: usize) -> (String, bool) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let came = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&came);
    let engine = Path::new(ENGINE).to_owned();
    let socket = counting(folder.path(), engine, much, move || note.store(true, Ordering::SeqCst));
    let mut command = bench.home.imgforge(&["fetch", "--verify", "tiny"]);
    let said = bench.home.record(command.env("DOCKER_HOST", format!("unix://{}", socket.display())));
    (said, came.load(Ordering::SeqCst))
}

#[test]
fn a_layer_that_the_engine_gets() {
    let bench = Bench::new("t-feed-new");
    // The last quarter of the second layer, when the engine has the first one and most of the second.
    let image = publish_with(&bench, "1.0.0", 2, |size| size - LAYER / 4);
    let (said, came) = fetch(&bench, LAYER / 2);
    refused("a changed layer", &said, 12, "does not hold the image that it should");
    assert!(came, "nothing was sent before that was known, so this shows nothing");
    assert!(!in_engine(&image.tag.to_string()));
}

#[test]
fn a_layer_that_the_engine_has() {
    let bench = Bench::new("t-feed-held");
    publish_layers(&bench, "1.0.0", 1, &layers(&bench, 2));
    assert!(fetch(&bench, LAYER / 2).0.starts_with("exit 0"));
    let image = publish_with(&bench, "1.1.0", 3, |_| LAYER / 16);
    let (said, _) = fetch(&bench, LAYER / 2);
    refused("a changed layer", &said, 12, "does not hold the image that it should");
    assert!(!in_engine(&image.tag.to_string()));
    assert!(bench.in_engine(), "the version before is gone");
}

#[test]
fn what_was_damaged_here_is_mended_before_the_engine_has_it() {
    let bench = Bench::new("t-feed-here");
    publish_layers(&bench, "1.0.0", 1, &layers(&bench, 2));
    bench.home.must(&["fetch", "tiny", "--no-load"]);
    let path = bench.home.path(".cache/imgforge/archives/t-feed-here/tiny-1.0.0-linux-amd64.tar.gz");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - LAYER / 4;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (said, came) = fetch(&bench, LAYER / 2);
    assert!(said.starts_with("exit 0") && said.contains("it is damaged, and mended"), "{said}");
    assert!(came && bench.in_engine());
}
