//! What is in an archive: an OCI layout and Docker's `manifest.json` in one tar, cut into gzip
//! members that can each be fetched, verified and unpacked alone.
//!
//! **Invariant:** an archive's tar is a pure function of its [`Image`], its [`Paper`]s and the bytes
//! of its blobs. A reader therefore parses no foreign tar header: it computes the entries that must
//! be there and compares. An archive whose `index.json` and `manifest.json` disagree, that holds a
//! second image, an odd entry type or a surprising name is simply not equal.
//!
//! Order: layers, configuration, manifest, the small documents that engines start from, papers;
//! then the [`tail`]: the [`mod@index`], the sealed release, and the [`tail::Footer`] by which both are
//! found. [`cut`] says where members end, [`delta`] which of them a machine lacks, and [`patch`] how those come
//! from older ones that are like them.

pub mod cut;
pub mod delta;
pub mod gzip;
pub mod index;
pub mod patch;
pub mod tail;
pub mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::blocks::{BLOCK, END, padding};
use super::digest::Digest;
use super::image::{Blob, Image, json};
use super::name::{Platform, TierName, Version};

/// The bytes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A blob of the content store.
    Blob(Blob),
    /// A document that follows from the image.
    Bytes(Vec<u8>),
}

/// One entry of the tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path inside the tar.
    pub path: String,
    /// What it holds.
    pub content: Content,
}

impl Entry {
    /// Number of bytes without padding.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Blob(blob) => blob.size,
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Header, content and padding.
    #[must_use]
    pub fn span(&self) -> u64 {
        BLOCK as u64 + self.size() + padding(self.size()) as u64
    }

    /// The 512 bytes before the content: a regular file, mode 0644, no owner, no time.
    #[must_use]
    pub fn header(&self) -> [u8; BLOCK] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.size());
        // Every path that `entries` makes is shorter than the 100 bytes that the field holds.
        let name = &mut header.as_old_mut().name;
        name[..self.path.len()].copy_from_slice(self.path.as_bytes());
        header.set_cksum();
        *header.as_bytes()
    }
}

/// What engines read of an archive, in order.
#[must_use]
pub fn entries(image: &Image) -> Vec<Entry> {
    let blob = |blob: Blob| Entry { path: blob_path(&blob), content: Content::Blob(blob) };
    let file = |path: &str, bytes: Vec<u8>| Entry { path: path.to_owned(), content: Content::Bytes(bytes) };
    let mut entries: Vec<Entry> = image.unique_layers().into_iter().map(blob).collect();
    entries.push(blob(image.config));
    entries.push(file(&blob_path(&image.manifest), image.manifest_bytes()));
    entries.push(file("index.json", index(image)));
    entries.push(file("manifest.json", docker_manifest(image)));
    entries.push(file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    entries
}

/// A document about the image that travels in the archive: an SBOM, provenance, a compose file.
///
/// Engines ignore them, and readers that do not know one only check its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// Its name below [`FOLDER`]: lower-case letters, digits, `.` and `-`.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
}

/// Where in the tar imgforge keeps what engines do not look for.
pub const FOLDER: &str = "imgforge";

/// Most papers of an archive.
const MAX_PAPERS: usize = 64;

/// Why these cannot be the papers of an archive.
fn check_papers(papers: &[Paper], largest: u64) -> Result<(), String> {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| plain(byte) || byte == b'.' || byte == b'-')
            && name.bytes().next().is_some_and(plain)
            && ![tail::INDEX, tail::RELEASE].contains(&name)
    };
    if papers.len() > MAX_PAPERS {
        return Err(format!("{} papers", papers.len()));
    }
    if let Some(paper) = papers.iter().find(|paper| !is_name(&paper.name) || paper.size > largest) {
        return Err(format!("a paper `{}` of {} bytes", paper.name, paper.size));
    }
    match papers.windows(2).find(|pair| pair[0].name >= pair[1].name) {
        Some(pair) => Err(format!("`{}` after `{}`", pair[1].name, pair[0].name)),
        None => Ok(()),
    }
}

/// The entries that an archive's members hold.
#[must_use]
pub fn body_entries(image: &Image, papers: &[Paper]) -> Vec<Entry> {
    let paper = |paper: &Paper| Entry {
        path: format!("{FOLDER}/{}", paper.name),
        content: Content::Blob(Blob { digest: paper.digest, size: paper.size }),
    };
    entries(image).into_iter().chain(papers.iter().map(paper)).collect()
}

/// Bytes of entries in a tar.
#[must_use]
pub fn length(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::span).sum()
}

/// The file name of a patch from an older version of an archive.
#[must_use]
pub fn patch_name(archive: &str, from: &Version) -> String {
    format!("{}.from-{from}.patch", archive.strip_suffix(".tar.gz").unwrap_or(archive))
}

/// The archive's file name.
#[must_use]
pub fn file_name(tier: &TierName, version: &Version, platform: &Platform) -> String {
    format!("{tier}-{version}-{}-{}.tar.gz", platform.os, platform.architecture)
}

/// What an archive's file name says; `None` when it is not one that [`file_name`] gives.
#[must_use]
pub fn parse_file_name(path: &Path) -> Option<(TierName, Version, Platform)> {
    let name = path.file_name()?.to_str()?;
    let (rest, architecture) = name.strip_suffix(".tar.gz")?.rsplit_once('-')?;
    let (rest, os) = rest.rsplit_once('-')?;
    let platform = format!("{os}/{architecture}").parse().ok()?;
    // A tier may hold `-` and digits, and so may a version: the first cut that reads as both wins.
    rest.match_indices('-').find_map(|(at, _)| {
        let (tier, version) = (rest[..at].parse().ok()?, rest[at + 1..].parse().ok()?);
        (file_name(&tier, &version, &platform) == name).then(|| (tier, version, platform.clone()))
    })
}

pub(super) fn blob_path(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.digest.hex())
}

/// One descriptor only: with more, `skopeo` asks which image is meant. The annotations are what
/// containerd, podman and `cosign verify --local-image` look for.
fn index(image: &Image) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: [Descriptor<'a>; 1],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Descriptor<'a> {
        media_type: &'a str,
        digest: Digest,
        size: u64,
        platform: Platform<'a>,
        annotations: BTreeMap<&'a str, String>,
    }
    #[derive(Serialize)]
    struct Platform<'a> {
        architecture: &'a str,
        os: &'a str,
    }
    let annotations = [
        ("io.containerd.image.name", format!("docker.io/{}", image.tag)),
        ("kind", "dev.cosignproject.cosign/image".to_owned()),
        ("org.opencontainers.image.ref.name", image.tag.to_string()),
    ];
    json(&Index {
        schema_version: 2,
        media_type: "application/vnd.oci.image.index.v1+json",
        manifests: [Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json",
            digest: image.manifest.digest,
            size: image.manifest.size,
            platform: Platform { architecture: &image.platform.architecture, os: &image.platform.os },
            annotations: annotations.into(),
        }],
    })
}

fn docker_manifest(image: &Image) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Manifest {
        config: String,
        repo_tags: [String; 1],
        layers: Vec<String>,
    }
    json(&[Manifest {
        config: blob_path(&image.config),
        repo_tags: [image.tag.to_string()],
        layers: image.layers.iter().map(blob_path).collect(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image;

    #[test]
    fn layers_come_first_and_the_small_documents_last() {
        let (image, _) = image::tests::sample();
        let paths: Vec<String> =
            entries(&image).iter().map(|entry| entry.path.chars().take(20).collect::<String>()).collect();
        insta::assert_snapshot!(paths.join("\n"), @"
        blobs/sha256/7692c3a
        blobs/sha256/3fc4ccf
        blobs/sha256/c0be3a6
        blobs/sha256/90c73c0
        index.json
        manifest.json
        oci-layout
        ");
    }

    #[test]
    fn every_path_fits_the_header() {
        let (image, _) = image::tests::sample();
        for entry in entries(&image) {
            assert!(entry.path.len() < 100);
            let header = entry.header();
            let parsed = tar::Header::from_byte_slice(&header);
            assert_eq!(parsed.path().unwrap().to_str().unwrap(), entry.path);
            assert_eq!(parsed.size().unwrap(), entry.size());
        }
    }

    #[test]
    fn file_names_round_trip() {
        for name in ["oracle-1.4.0-linux-amd64.tar.gz", "market-data-1.0.0-rc.1-linux-arm64.tar.gz"] {
            let (tier, version, platform) = parse_file_name(Path::new(name)).unwrap();
            assert_eq!(file_name(&tier, &version, &platform), name);
        }
        for name in ["oracle.tar.gz", "oracle-1.4-linux-amd64.tar.gz", "oracle-1.4.0-linux-amd64.tar"] {
            assert!(parse_file_name(Path::new(name)).is_none(), "{name} was accepted");
        }
    }
}
