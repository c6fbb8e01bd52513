//! Which files of an image are package databases, and how each is read.
//!
//! They come from an image that a project built itself; still nothing in them is believed further
//! than a name in a list: what cannot be read is left out, and never stops a build.

use std::collections::BTreeMap;

use super::{Distribution, Package, debian, npm, python};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/etc/os-release`.
    Release,
    /// Installed packages of dpkg.
    Dpkg,
    /// Licences of one Debian package.
    Copyright,
    /// Installed packages of apk.
    Apk,
    /// One package of npm.
    Npm,
    /// One package of Python.
    Python,
}

/// Larger files are no databases.
pub const MAX_FILE: u64 = 32 << 20;

/// What a file is, by its path without a leading slash.
#[must_use]
pub fn kind(path: &str) -> Option<Kind> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["etc" | "usr", .., "os-release"] if path == "etc/os-release" || path == "usr/lib/os-release" => {
            Some(Kind::Release)
        }
        ["var", "lib", "dpkg", "status"] => Some(Kind::Dpkg),
        ["var", "lib", "dpkg", "status.d", file] if !file.contains('.') => Some(Kind::Dpkg),
        ["usr", "share", "doc", _, "copyright"] => Some(Kind::Copyright),
        // Alpine moved it when it merged `/lib` into `/usr/lib`.
        ["lib", "apk", "db", "installed"] | ["usr", "lib", "apk", "db", "installed"] => Some(Kind::Apk),
        [.., "node_modules", name, "package.json"] if !name.starts_with('@') => Some(Kind::Npm),
        [.., "node_modules", scope, _, "package.json"] if scope.starts_with('@') => Some(Kind::Npm),
        [.., folder, "METADATA"] if folder.ends_with(".dist-info") => Some(Kind::Python),
        _ => None,
    }
}

/// The packages in one database; `files` are all of them, for what is told elsewhere.
pub(super) fn read(kind: Kind, path: &str, bytes: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    match kind {
        Kind::Dpkg => debian::dpkg(path, &text, files),
        Kind::Apk => debian::apk(path, &text),
        Kind::Npm => npm::package(path, bytes).into_iter().collect(),
        Kind::Python => python::metadata(path, &text).into_iter().collect(),
        Kind::Release | Kind::Copyright => Vec::new(),
    }
}

/// What `/etc/os-release` says.
pub(super) fn distribution(bytes: &[u8]) -> Option<Distribution> {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    Some(Distribution {
        id: value("ID")?,
        version: value("VERSION_ID").unwrap_or_default(),
        codename: value("VERSION_CODENAME").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_databases_are_databases() {
        let yes = [
            "etc/os-release",
            "var/lib/dpkg/status",
            "usr/lib/apk/db/installed",
            "a/node_modules/x/package.json",
            "node_modules/@s/x/package.json",
        ];
        let no = [
            "home/etc/os-release",
            "var/lib/dpkg/status-old",
            "a/node_modules/x/lib/package.json",
            "package.json",
            "node_modules/@s/package.json",
        ];
        assert!(yes.iter().all(|path| kind(path).is_some()));
        assert!(no.iter().all(|path| kind(path).is_none()));
    }
}
