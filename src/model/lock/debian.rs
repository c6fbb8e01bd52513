//! What apt and dpkg say about packages, and what they read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

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

/// The archive of every package that Debian ever had.
pub const SNAPSHOT: &str = "https://snapshot.debian.org";

/// The question where the archive has a package, as a path of its machine-readable interface; `None` for
/// what is no Debian package.
#[must_use]
pub fn archive_question(item: &Item) -> Option<String> {
    architecture(&item.file_name())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    let escaped = |text: &str| -> String {
        let parts = text
            .bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
        parts.collect()
    };
    Some(format!("/mr/binary/{}/{}/binfiles", escaped(&item.name), escaped(&item.version)))
}

/// The path of the file, from the answer. Files go by SHA-1 there, which only has to find them.
#[must_use]
pub fn archive_path(item: &Item, answer: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        architecture: String,
        hash: String,
    }
    let file = item.file_name();
    let wanted = architecture(&file)?;
    let answer: Answer = serde_json::from_str(answer).ok()?;
    let found = answer.result.into_iter().find(|found| found.architecture == wanted)?;
    let sha1 = found.hash.len() == 40 && found.hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    sha1.then(|| format!("/file/{}", found.hash))
}

/// `amd64` of `jq_1.7.1-6_amd64.deb`.
fn architecture(file: &str) -> Option<&str> {
    file.strip_suffix(".deb")?.rsplit_once('_').map(|(_, architecture)| architecture)
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

    #[test]
    fn the_archive_of_all_packages_is_asked_by_name_version_and_architecture() {
        let item = Item {
            name: "g++-14".to_owned(),
            version: "4:14.2.0-19".to_owned(),
            size: 1,
            digest: Digest::of(b""),
            integrity: None,
            url: "http://deb.debian.org/debian/pool/main/g/gcc/g++-14_14.2.0-19_amd64.deb".to_owned(),
        };
        assert_eq!(archive_question(&item).unwrap(), "/mr/binary/g%2B%2B-14/4%3A14.2.0-19/binfiles");
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let answer = |hash: &str| {
            format!(
                r#"{{"result": [{{"architecture": "arm64", "hash": "x"}}, {{"architecture": "amd64", "hash": "{hash}"}}]}}"#
            )
        };
        assert_eq!(archive_path(&item, &answer(sha1)).unwrap(), format!("/file/{sha1}"));
        for bad in ["../../x", "", &sha1.replace('0', "/")] {
            assert_eq!(archive_path(&item, &answer(bad)), None, "{bad}");
        }
        let crate_file = Item { url: "https://static.crates.io/crates/x/x-1.0.0.crate".to_owned(), ..item };
        assert_eq!(archive_question(&crate_file), None);
    }
}
