//! What is in an image: the packages of its package managers, as two standard documents.
//!
//! [`database`] says which files of an image are package databases and reads them, [`spdx`] and
//! [`cyclonedx`] write what was found. Everything is a function of the image: the same image gives
//! the same bytes, whoever asks and whenever.

pub mod changes;
pub mod cyclonedx;
pub mod database;
mod debian;
pub mod denied;
mod license;
mod npm;
mod python;
pub mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::image::Image;

/// Who packed a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Alpine.
    Apk,
    /// Debian and what derives from it.
    Deb,
    /// Node.js.
    Npm,
    /// Python.
    Pypi,
}

/// One package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Who packed it.
    pub ecosystem: Ecosystem,
    /// Its name, with the scope of npm.
    pub name: String,
    /// Its version, as its ecosystem writes it.
    pub version: String,
    /// The architecture that it was built for, where packages of the ecosystem have one.
    pub architecture: Option<String>,
    /// The source package that it was built from, where it has another name or version.
    pub source: Option<String>,
    /// Licences by the names that the package gives them.
    pub licenses: BTreeSet<String>,
    /// Names of the packages of its ecosystem that it needs.
    pub needs: BTreeSet<String>,
    /// Where it was found.
    pub path: String,
}

/// A distribution, from `/etc/os-release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// `debian`, `alpine`.
    pub id: String,
    /// `13`, `3.22`.
    pub version: String,
}

/// All packages of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// What the image is, as other documents name it.
    pub image: Image,
    /// What the base is of, where it says so.
    pub distribution: Option<Distribution>,
    /// Sorted and each once.
    pub packages: Vec<Package>,
}

impl Inventory {
    /// Puts together what the databases of an image hold, by their path.
    #[must_use]
    pub fn of(image: &Image, files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut packages = BTreeSet::new();
        let mut distribution = None;
        for (path, bytes) in files {
            match database::kind(path) {
                Some(database::Kind::Release) => {
                    distribution = distribution.or_else(|| database::distribution(bytes));
                }
                Some(kind) => packages.extend(database::read(kind, path, bytes, files)),
                None => {}
            }
        }
        Self { image: image.clone(), distribution, packages: packages.into_iter().collect() }
    }

    /// The package URL of a package.
    #[must_use]
    pub fn purl(&self, package: &Package) -> String {
        let distribution = self.distribution.as_ref();
        let (kind, namespace) = match package.ecosystem {
            Ecosystem::Apk => ("apk", distribution.map_or("alpine", |found| &found.id)),
            Ecosystem::Deb => ("deb", distribution.map_or("debian", |found| &found.id)),
            Ecosystem::Npm => ("npm", package.name.split_once('/').map_or("", |(scope, _)| scope)),
            Ecosystem::Pypi => ("pypi", ""),
        };
        let name = match package.ecosystem {
            Ecosystem::Npm => package.name.rsplit('/').next().unwrap_or_default().to_owned(),
            Ecosystem::Pypi => package.name.to_lowercase().replace('_', "-"),
            Ecosystem::Apk | Ecosystem::Deb => package.name.clone(),
        };
        let namespace = if namespace.is_empty() { String::new() } else { format!("{}/", encode(namespace)) };
        let purl = format!("pkg:{kind}/{namespace}{}@{}", encode(&name), encode(&package.version));
        let distro = distribution.map(|found| format!("{}-{}", found.id, found.version));
        let os = matches!(package.ecosystem, Ecosystem::Apk | Ecosystem::Deb);
        let qualifiers: Vec<String> = [("arch", &package.architecture), ("distro", &distro)]
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", encode(value.as_ref().filter(|_| os)?))))
            .collect();
        if qualifiers.is_empty() { purl } else { format!("{purl}?{}", qualifiers.join("&")) }
    }
}

/// Percent-encodes all that the purl specification does not leave as it is.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model) fn image() -> Image {
        crate::model::image::tests::of_layers(vec![crate::model::image::Blob::of(b"layer")]).0
    }

    /// A little of everything.
    pub(in crate::model) fn inventory() -> Inventory {
        let files = [
            ("etc/os-release", "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"13\"\n"),
            (
                "var/lib/dpkg/status",
                "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.41-12+deb13u1\nDepends: libgcc-s1\n\nPackage: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-14 (14.2.0-19)\nVersion: 14.2.0-19\nDepends: libc6 (>= 2.35) | other, gone:any\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
            ),
            (
                "usr/share/doc/libc6/copyright",
                "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+ and Expat\n text\n\nLicense: GPL-2\n",
            ),
            (
                "app/node_modules/@scope/one/package.json",
                "{\"name\":\"@scope/one\",\"version\":\"1.2.3\",\"license\":\"MIT\",\"dependencies\":{\"two\":\"^1\"}}",
            ),
            (
                "app/node_modules/two/package.json",
                "{\"name\":\"two\",\"version\":\"2.0.0\",\"license\":{\"type\":\"ISC\"}}",
            ),
            ("app/node_modules/two/test/package.json", "{\"name\":\"fixture\",\"version\":\"0\"}"),
            (
                "opt/venv/lib/python3.13/site-packages/Some_Thing-3.1.dist-info/METADATA",
                "Metadata-Version: 2.4\nName: Some_Thing\nVersion: 3.1\nLicense-Expression: BSD-3-Clause\nRequires-Dist: numpy (>=1); extra == 'x'\n\nLicense: not a header\n",
            ),
        ];
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Inventory::of(&image(), &files)
    }

    #[test]
    fn packages_of_every_kind_are_found() {
        let inventory = inventory();
        let lines: Vec<String> = inventory
            .packages
            .iter()
            .map(|package| {
                let licenses: Vec<&str> = package.licenses.iter().map(String::as_str).collect();
                let needs: Vec<&str> = package.needs.iter().map(String::as_str).collect();
                format!("{} [{}] needs [{}]", inventory.purl(package), licenses.join(", "), needs.join(", "))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13 [GPL-2, LGPL-2.1+ and Expat] needs [libgcc-s1]
        pkg:deb/debian/libgcc-s1@14.2.0-19?arch=amd64&distro=debian-13 [] needs [gone, libc6, other]
        pkg:npm/%40scope/one@1.2.3 [MIT] needs [two]
        pkg:npm/two@2.0.0 [ISC] needs []
        pkg:pypi/some-thing@3.1 [BSD-3-Clause] needs []
        ");
    }
}
