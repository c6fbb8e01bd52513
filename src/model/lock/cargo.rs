//! `Cargo.lock`: the crates that a build downloads. Their SHA-256 stands in it already.

use serde::Deserialize;

use crate::model::digest::Digest;

/// A crate of crates.io.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of the `.crate` file.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// Both names of the one registry.
const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

impl Needed {
    /// Where crates.io has it.
    #[must_use]
    pub fn url(&self) -> String {
        let Self { name, version, .. } = self;
        format!("https://static.crates.io/crates/{name}/{name}-{version}.crate")
    }
}

/// What is downloaded: all of it, for cargo reads every crate that the lock names.
pub fn needed(lock: &[u8]) -> Result<Vec<Needed>, String> {
    let text = std::str::from_utf8(lock).map_err(|error| error.to_string())?;
    let lock: Written = toml::from_str(text).map_err(|error| error.message().trim().to_owned())?;
    let mut found = Vec::new();
    for Package { name, version, source, checksum } in lock.package {
        let Some(source) = source else { continue };
        if !CRATES_IO.contains(&source.as_str()) {
            return Err(format!(
                "`{name}` comes from `{source}`, and only crates of crates.io can be pinned"
            ));
        }
        let digest = checksum.as_deref().and_then(|hex| Digest::from_hex(hex).ok());
        let digest = digest.ok_or_else(|| format!("`{name}` has no checksum"))?;
        found.push(Needed { name, version, digest });
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_the_registry_are_needed_and_others_refused() {
        let own = "version = 4\n[[package]]\nname = 'own'\nversion = '1.0.0'\n";
        let sum = Digest::of(b"x").hex();
        let one = |source: &str| {
            format!(
                "{own}[[package]]\nname = 'a'\nversion = '0.1.0'\nsource = '{source}'\nchecksum = '{sum}'\n"
            )
        };
        let [found] = &needed(one(CRATES_IO[0]).as_bytes()).unwrap()[..] else { panic!("one crate") };
        assert_eq!(found.url(), "https://static.crates.io/crates/a/a-0.1.0.crate");
        insta::assert_snapshot!(needed(one("git+https://x/y#1").as_bytes()).unwrap_err(), @"`a` comes from `git+https://x/y#1`, and only crates of crates.io can be pinned");
        assert!(needed(own.as_bytes()).unwrap().is_empty());
    }
}
