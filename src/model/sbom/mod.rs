//! What is in an image: the packages of its package managers, as two standard documents.
//!
//! [`database`] says which files of an image are package databases and reads them, [`program`] what is
//! inside programs; [`spdx`] and [`cyclonedx`] write what was found. Everything is a function of the image: the same image gives
//! the same bytes, whoever asks and whenever.

mod cargo;
pub mod changes;
pub mod cyclonedx;
pub mod database;
mod debian;
pub mod denied;
mod golang;
mod license;
mod npm;
pub mod program;
mod python;
pub mod read;
pub mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::image::Image;

/// Who packed a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Alpine.
    Apk,
    /// Crates inside a program.
    Cargo,
    /// Debian and what derives from it.
    Deb,
    /// Go modules inside a program.
    Golang,
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
    /// What it was built from, where that is not what its name says: a source package of another name or
    /// version, a revision, a crate that is not of crates.io.
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
    /// `13`, `3.22`; empty for Debian's testing and unstable.
    pub version: String,
    /// `trixie`; empty where there is none.
    pub codename: String,
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
    /// Programs that tell of packages in a way that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// A program that may hold packages which are not listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// Where it is.
    pub path: String,
    /// Why it is not known what is in it.
    pub reason: String,
}

/// What was found in the files of an image, by their path.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Package databases, whole.
    pub databases: BTreeMap<String, Vec<u8>>,
    programs: BTreeMap<String, Result<Vec<Package>, program::Unread>>,
    inside: usize,
}

/// The most packages that programs of one image may have: a hundred times what large images do.
const MAX_INSIDE: usize = 1 << 18;

impl From<BTreeMap<String, Vec<u8>>> for Found {
    fn from(databases: BTreeMap<String, Vec<u8>>) -> Self {
        Self { databases, ..Self::default() }
    }
}

impl Found {
    /// Adds the packages inside a program, or why they cannot be read.
    pub fn program(&mut self, path: String, inside: Result<Vec<Package>, program::Unread>) {
        let mut inside = inside;
        self.inside += inside.as_ref().map_or(0, Vec::len);
        if self.inside > MAX_INSIDE {
            inside = Err(program::Unread::TooMany);
        }
        if inside.as_ref().map_or(true, |packages| !packages.is_empty()) {
            self.programs.insert(path, inside);
        }
    }
}

impl Inventory {
    /// Puts together what the databases and the programs of an image hold.
    #[must_use]
    pub fn of(image: &Image, found: Found) -> Self {
        let files = &found.databases;
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
        let mut unread = Vec::new();
        for (path, inside) in found.programs {
            match inside {
                Ok(inside) => packages.extend(inside),
                Err(reason) => unread.push(Unread { path, reason: reason.to_string() }),
            }
        }
        Self { image: image.clone(), distribution, packages: packages.into_iter().collect(), unread }
    }

    /// The package URL of a package.
    #[must_use]
    pub fn purl(&self, package: &Package) -> String {
        let distribution = self.distribution.as_ref();
        let (kind, namespace) = match package.ecosystem {
            Ecosystem::Apk => ("apk", distribution.map_or("alpine", |found| &found.id)),
            Ecosystem::Deb => ("deb", distribution.map_or("debian", |found| &found.id)),
            Ecosystem::Npm => ("npm", package.name.split_once('/').map_or("", |(scope, _)| scope)),
            Ecosystem::Golang => ("golang", package.name.rsplit_once('/').map_or("", |(above, _)| above)),
            Ecosystem::Cargo => ("cargo", ""),
            Ecosystem::Pypi => ("pypi", ""),
        };
        let name = match package.ecosystem {
            Ecosystem::Npm | Ecosystem::Golang => {
                package.name.rsplit('/').next().unwrap_or_default().to_owned()
            }
            Ecosystem::Pypi => package.name.replace('_', "-"),
            Ecosystem::Apk | Ecosystem::Cargo | Ecosystem::Deb => package.name.clone(),
        };
        // These two are written in lower case, whatever their own tools do.
        let lower = |text: &str| match package.ecosystem {
            Ecosystem::Golang | Ecosystem::Pypi => text.to_lowercase(),
            _ => text.to_owned(),
        };
        let (namespace, name) = (lower(namespace), lower(&name));
        let parts = namespace.split('/').filter(|part| !part.is_empty()).chain([name.as_str()]);
        let path = parts.map(encode).collect::<Vec<_>>().join("/");
        let purl = format!("pkg:{kind}/{path}@{}", encode(&package.version));
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
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        let inside = |name: &str, version: &str, ecosystem| Package {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            source: None,
            licenses: [].into(),
            needs: [].into(),
            path: "usr/bin/app".to_owned(),
        };
        let inside = vec![
            inside("github.com/Some/Thing/v2", "v2.0.1", Ecosystem::Golang),
            inside("serde_json", "1.0.0+x", Ecosystem::Cargo),
        ];
        let mut found = Found::from(files.collect::<BTreeMap<_, _>>());
        found.program("usr/bin/app".to_owned(), Ok(inside));
        found.program("usr/bin/old".to_owned(), Err(program::Unread::OldGo));
        found.program("usr/bin/silent".to_owned(), Ok(Vec::new()));
        Inventory::of(&image(), found)
    }

    #[test]
    fn packages_of_every_kind_are_found() {
        let inventory = inventory();
        assert_eq!(inventory.unread.len(), 1);
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
        pkg:cargo/serde_json@1.0.0%2Bx [] needs []
        pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13 [GPL-2, LGPL-2.1+ and Expat] needs [libgcc-s1]
        pkg:deb/debian/libgcc-s1@14.2.0-19?arch=amd64&distro=debian-13 [] needs [gone, libc6, other]
        pkg:golang/github.com/some/thing/v2@v2.0.1 [] needs []
        pkg:npm/%40scope/one@1.2.3 [MIT] needs [two]
        pkg:npm/two@2.0.0 [ISC] needs []
        pkg:pypi/some-thing@3.1 [BSD-3-Clause] needs []
        ");
    }
}
