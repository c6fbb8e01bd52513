//! What an archive's documents say of its blobs: which they are, what kind, how large, where else. Each is
//! signed as if it were that image's, as a broken or malicious build machine would.

use imgforge::model::archive::{self, Content, Entry, padding};
use imgforge::model::digest::Digest;
use imgforge::model::image::{Blob, Image};
use serde_json::{Value, json};

use super::refused;
use crate::forged::{Forged, tar, tar_from};
use crate::workbench::Bench;

/// The bytes of a document of an image.
fn document(image: &Image, path: &str) -> Vec<u8> {
    let entry = archive::entries(image).into_iter().find(|entry| entry.path == path);
    let Some(Entry { content: Content::Bytes(bytes), .. }) = entry else { panic!("no document {path}") };
    bytes
}

/// Another document in the place of one, with a header that fits.
fn replaced(tar: &[u8], image: &Image, path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut at = 0;
    for entry in archive::entries(image) {
        let span = usize::try_from(entry.span()).unwrap();
        if entry.path == path {
            let other = Entry { path: path.to_owned(), content: Content::Bytes(bytes.to_vec()) };
            let end = vec![0; padding(bytes.len() as u64)];
            return [&tar[..at], &other.header(), bytes, &end, &tar[at + span..]].concat();
        }
        at += span;
    }
    panic!("no {path}")
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a list of attacks")]
fn documents_that_say_more_or_something_else() {
    let bench = Bench::new("t-descriptors");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let manifest = format!("blobs/sha256/{}", image.manifest.digest.hex());
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let index = "application/vnd.oci.image.index.v1+json";
    let of = |path: &str| serde_json::from_slice::<Value>(&document(&image, path)).unwrap();
    let change = |path: &str, change: &dyn Fn(&mut Value)| {
        let mut document = of(path);
        change(&mut document);
        (path.to_owned(), document)
    };
    let whole = |path: &str, document: Value| (path.to_owned(), document);
    let evil = Digest::of(b"evil");
    let cases = [
        ("a layer from elsewhere", change(&manifest, &|m| m["layers"][0]["urls"] = json!(["https://evil/"]))),
        ("a foreign layer", change(&manifest, &|m| m["layers"][0]["mediaType"] = json!(foreign))),
        ("a layer's bytes inside", change(&manifest, &|m| m["layers"][0]["data"] = json!("ZXZpbA=="))),
        ("a smaller layer", change(&manifest, &|m| m["layers"][0]["size"] = json!(1))),
        ("another layer", change(&manifest, &|m| m["layers"][0]["digest"] = json!(evil))),
        ("another configuration", change(&manifest, &|m| m["config"]["digest"] = json!(evil))),
        ("a subject", change(&manifest, &|m| m["subject"] = m["config"].clone())),
        ("an index that is called a manifest", whole(&manifest, of("index.json"))),
        ("a manifest that is called an index", change(&manifest, &|m| m["mediaType"] = json!(index))),
        ("both at once", change(&manifest, &|m| m["manifests"] = of("index.json")["manifests"].clone())),
        ("a manifest in the place of the index", whole("index.json", of(&manifest))),
        (
            "an index below the index",
            change("index.json", &|i| i["manifests"][0]["mediaType"] = json!(index)),
        ),
        (
            "an image from elsewhere",
            change("index.json", &|i| i["manifests"][0]["urls"] = json!(["https://evil/"])),
        ),
        ("a smaller manifest", change("index.json", &|i| i["manifests"][0]["size"] = json!(1))),
        (
            "another platform",
            change("index.json", &|i| i["manifests"][0]["platform"]["architecture"] = json!("arm64")),
        ),
        (
            "another name for containerd",
            change("index.json", &|i| {
                i["manifests"][0]["annotations"]["io.containerd.image.name"] =
                    json!("docker.io/library/debian:12");
            }),
        ),
        (
            "another name for podman",
            change("index.json", &|i| {
                i["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = json!("debian:12");
            }),
        ),
        (
            "two images for containerd",
            change("index.json", &|i| {
                let one = i["manifests"][0].clone();
                i["manifests"].as_array_mut().unwrap().push(one);
            }),
        ),
        ("no image for containerd", change("index.json", &|i| i["manifests"] = json!([]))),
        ("another name for Docker", change("manifest.json", &|m| m[0]["RepoTags"] = json!(["debian:12"]))),
        (
            "a second name for Docker",
            change("manifest.json", &|m| m[0]["RepoTags"].as_array_mut().unwrap().push(json!("debian:12"))),
        ),
        (
            "two images for Docker",
            change("manifest.json", &|m| {
                let one = m[0].clone();
                m.as_array_mut().unwrap().push(one);
            }),
        ),
        ("a parent", change("manifest.json", &|m| m[0]["Parent"] = json!(evil))),
        (
            "layers from elsewhere for Docker",
            change("manifest.json", &|m| {
                m[0]["LayerSources"] = json!({ evil.to_string(): {"urls": ["https://evil/"]} });
            }),
        ),
        (
            "a path out of the archive",
            change("manifest.json", &|m| m[0]["Layers"][0] = json!("../../etc/shadow")),
        ),
        ("another version of the layout", whole("oci-layout", json!({"imageLayoutVersion": "2.0.0"}))),
    ];
    for (what, (path, document)) in cases {
        let (bytes, right) = (document.to_string().into_bytes(), self::document(&image, &path));
        assert_ne!(bytes, right, "{what} is no change");
        let tar = replaced(&good, &image, &path, &bytes);
        let reason = if tar.len() != good.len() {
            "the members hold".to_owned()
        } else if bytes.len() != right.len() {
            format!("the entry for `{path}` is not there")
        } else {
            format!("`{path}` has other bytes")
        };
        refused(what, &Forged::new(&image, &[&tar]).verdict(&bench, &image), 12, &reason);
        // A release that signs that manifest, too.
        if path == manifest {
            let lying = Image { manifest: Blob::of(&bytes), ..image.clone() };
            let tar = replaced(
                &self::tar(&bench, &lying),
                &lying,
                &format!("blobs/sha256/{}", lying.manifest.digest.hex()),
                &bytes,
            );
            let reason = if tar.len() == good.len() {
                "the manifest does not follow from"
            } else {
                "the members hold"
            };
            refused(what, &Forged::new(&lying, &[&tar]).verdict(&bench, &lying), 12, reason);
        }
    }
}

#[test]
fn sizes_that_lie() {
    let bench = Bench::new("t-sizes");
    let (_, image) = bench.image("tiny", "1.0.0", "hello");
    let good = tar(&bench, &image);
    let verdict = |change: &dyn Fn(&mut Image)| {
        let mut lying = image.clone();
        change(&mut lying);
        Forged::new(&lying, &[&good]).verdict(&bench, &lying)
    };
    let manifest = "the manifest does not follow from configuration and layers";
    refused("a manifest", &verdict(&|image| image.manifest.size += 1), 12, manifest);
    // Within the padding of the tar, so that all else fits.
    let header = |blob: Blob| format!("the entry for `blobs/sha256/{}` is not there", blob.digest.hex());
    refused("a configuration", &verdict(&|image| image.config.size += 1), 12, &header(image.config));
    refused("a layer", &verdict(&|image| image.layers[0].size -= 1), 12, &header(image.layers[0]));
    refused("more than there is", &verdict(&|image| image.layers[0].size += 512), 12, "the members hold");
    refused("more than any disk", &verdict(&|image| image.layers[0].size = u64::MAX), 12, "a blob of");
    refused(
        "no end of layers",
        &verdict(&|image| image.layers = vec![image.layers[0]; 128]),
        12,
        "128 layers",
    );
}

#[test]
fn layers_that_engines_would_unpack_to_something_else() {
    let bench = Bench::new("t-compressed");
    let bomb = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 24), &mut gzip).unwrap();
        gzip.finish().unwrap()
    };
    for (what, layer) in [
        ("gzip", bomb),
        ("zstd", [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0; 600]].concat()),
        ("zstd, after a frame to skip", [&[0x5a, 0x2a, 0x4d, 0x18][..], &[0; 600]].concat()),
        ("bzip2", [&b"BZh9"[..], &[0; 600]].concat()),
        ("xz", [&b"\xfd7zXZ\0"[..], &[0; 600]].concat()),
    ] {
        let (store, image) = bench.layered("tiny", "1.0.0", &[layer]);
        let tar = tar_from(&store, &image);
        // The first bytes one by one: where members end is up to who packs.
        let mut pieces: Vec<&[u8]> = tar[..1024].chunks(if what == "gzip" { 1024 } else { 1 }).collect();
        pieces.extend(tar[1024..].chunks(1 << 19));
        refused(what, &Forged::new(&image, &pieces).verdict(&bench, &image), 12, "is compressed");
    }
}
