//! What apt and dpkg say about packages, and what they read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Item;
use crate::model::digest::Digest;
use crate::model::name::DebianName;

const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://security.debian.org/debian-security";

/// Suites that move on by themselves and have no updates beside them.
const ROLLING: [&str; 4] = ["experimental", "sid", "testing", "unstable"];

/// apt's sources of a suite: a stable one has updates and security updates. `options` go into each.
#[must_use]
pub fn sources(suite: &DebianName, options: &str) -> String {
    let mut text = format!("deb {options}{MIRROR} {suite} main\n");
    if !ROLLING.contains(&suite.as_str()) {
        let _ = write!(
            text,
            "deb {options}{MIRROR} {suite}-updates main\ndeb {options}{SECURITY} {suite}-security main\n"
        );
    }
    text
}

/// Reads the answer of `apt-get --print-uris`: `'URL' file size SHA256:hex`, among other lines.
pub fn uris(text: &str) -> Result<Vec<Item>, String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('\'')) {
        let bad = || format!("apt answered `{line}`");
        let words: Vec<&str> = line.split(' ').collect();
        let [url, file, size, hash] = words[..] else { return Err(bad()) };
        let digest =
            hash.strip_prefix("SHA256:").and_then(|hex| Digest::from_hex(hex).ok()).ok_or_else(bad)?;
        let url = url.trim_matches('\'').to_owned();
        let mut parts = file.trim_end_matches(".deb").split('_');
        let (Some(name), Some(version)) = (parts.next(), parts.next()) else { return Err(bad()) };
        found.push(Item {
            name: name.to_owned(),
            // An epoch's colon cannot stand in a file name.
            version: version.replace("%3a", ":"),
            size: size.parse().map_err(|_| bad())?,
            digest,
            integrity: None,
            url,
        });
    }
    found.sort();
    Ok(found)
}

/// `/var/lib/dpkg/status` of a system in which packages with these control files were installed,
/// later ones over earlier ones.
#[must_use]
pub fn status<'a>(controls: impl IntoIterator<Item = &'a str>) -> String {
    let mut installed = BTreeMap::new();
    for control in controls {
        let field = |name: &str| control.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        installed.insert((field("Package:").trim(), field("Architecture:").trim()), control.trim());
    }
    let entries = installed.values().flat_map(|control| [*control, "\nStatus: install ok installed\n\n"]);
    entries.collect()
}

/// The entry of a package in a repository's list.
#[must_use]
pub fn entry(control: &str, item: &Item) -> String {
    let Item { size, digest, .. } = item;
    let file = item.file_name();
    format!("{}\nFilename: ./{file}\nSize: {size}\nSHA256: {}\n\n", control.trim(), digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_read_strictly() {
        let sum = Digest::of(b"x").hex();
        let text = format!(
            "Reading package lists...\n'http://m/pool/a%2bb_1%253a2_amd64.deb' a+b_1%3a2_amd64.deb 12 SHA256:{sum}\n"
        );
        let [item] = &uris(&text).unwrap()[..] else { panic!("one package") };
        assert_eq!((&*item.name, &*item.version, item.size), ("a+b", "1:2", 12));
        assert_eq!(item.file_name(), "a+b_1%3a2_amd64.deb");
        for line in ["'x' y 1 MD5Sum:00", "'x' y 1", "'x' a_1_b.deb one SHA256:00"] {
            assert!(uris(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_later_package_replaces_an_earlier_one() {
        let one = |version: &str| format!("Package: a\nVersion: {version}\nArchitecture: all\n");
        let text = status([one("1").as_str(), one("2").as_str()]);
        assert_eq!(text, "Package: a\nVersion: 2\nArchitecture: all\nStatus: install ok installed\n\n");
    }

    #[test]
    fn a_stable_suite_has_updates() {
        let lines = |suite: &str| sources(&suite.parse().unwrap(), "").lines().count();
        assert_eq!((lines("trixie"), lines("sid")), (3, 1));
    }
}
