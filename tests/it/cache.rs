//! What is kept of what was fetched: the next version needs it, a rollback needs it, and a container does.

use std::fs;

use serde_json::Value;

use crate::fetching::publish_layers;
use crate::harness::{must, tool};
use crate::workbench::Bench;

const REGISTRY: &str = ".cache/imgforge/registry";

struct Operator(Bench);

impl Operator {
    fn cache(&self, arguments: &[&str]) -> Value {
        let said = self.0.home.must(&[&["cache"], arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    /// The versions of the archives that are listed, or go; and bytes of layers.
    fn said(&self, arguments: &[&str]) -> (Vec<String>, u64) {
        let said = self.cache(arguments);
        let images = said["archives"].as_array().unwrap().iter().map(|one| one["image"].as_str().unwrap());
        let versions = images.map(|image| image.rsplit(':').next().unwrap().to_owned()).collect();
        (versions, said["layers"].as_u64().unwrap())
    }
}

#[test]
fn what_runs_and_what_one_rolls_back_to_stay() {
    let operator = Operator(Bench::new("t-cache"));
    let Operator(bench) = &operator;
    assert_eq!(operator.said(&["list"]), (vec![], 0));
    for (sequence, version) in (1..).zip(["1.0.0", "1.1.0", "1.2.0", "1.3.0"]) {
        publish_layers(bench, version, sequence, &[bench.layer(version)]);
        bench.home.must(&["fetch", "tiny", "--no-load"]);
    }
    let tag = "t-cache/tiny:1.0.0";
    bench.home.must(&["fetch", "tiny@1.0.0"]);
    let container = must(&mut tool("docker", &["create", tag]));
    let left = bench.home.path(REGISTRY).join("blobs/sha256").join("0".repeat(64)).with_extension("part");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, vec![1; 8192]).unwrap();

    let versions = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let layers = operator.said(&["list"]).1;
    assert!(layers >= 8192, "{layers}");
    assert_eq!(operator.said(&["list"]).0, versions(&["1.0.0", "1.1.0", "1.2.0", "1.3.0"]));
    assert_eq!(operator.said(&["clean", "--dry-run"]), (versions(&["1.1.0"]), layers));
    assert!(left.exists());
    let plenty = operator.said(&["clean", "--dry-run", "--max-size", "1 GB"]);
    assert_eq!(plenty.0, versions(&[]), "there is room");

    // A fetch that goes on right now keeps its layers.
    let held = fs::File::create(bench.home.path(REGISTRY).join(".held")).unwrap();
    held.lock().unwrap();
    assert_eq!(operator.said(&["clean"]), (versions(&["1.1.0"]), 0));
    assert!(left.exists());
    drop(held);
    let said = bench.home.session(&["cache", "clean"]);
    assert!(said.contains(" of layers, left by an interrupted fetch from a registry"), "{said}");
    assert!(!left.exists());

    must(&mut tool("docker", &["rm", container.trim()]));
    assert_eq!(operator.said(&["clean"]), (versions(&["1.0.0"]), 0), "nothing uses it any more");
    let said = bench.home.session(&["cache", "clean"]);
    assert!(said.contains("nothing    all of it may be needed"), "{said}");
    must(&mut tool("docker", &["image", "rm", tag]));
}
