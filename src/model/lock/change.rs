//! What differs between two locks, package by package.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::Lock;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// In which step.
    pub step: String,
    /// For which platform.
    pub platform: String,
    /// Of which package.
    pub package: String,
    /// Versions that go.
    pub old: Vec<String>,
    /// Versions that come.
    pub new: Vec<String>,
}

/// All differences.
#[must_use]
pub fn between(old: &Lock, new: &Lock) -> Vec<Change> {
    let (old, new) = (versions(old), versions(new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |key: &&(String, String, String)| {
        let none = BTreeSet::new();
        let (before, after) = (old.get(*key).unwrap_or(&none), new.get(*key).unwrap_or(&none));
        let names = |from: &BTreeSet<(String, String)>, other: &BTreeSet<(String, String)>| {
            from.difference(other).map(|(version, _)| version.clone()).collect::<Vec<_>>()
        };
        let (gone, come) = (names(before, after), names(after, before));
        let (step, platform, package) = (*key).clone();
        (before != after).then_some(Change { step, platform, package, old: gone, new: come })
    };
    keys.iter().filter_map(change).collect()
}

type Versions = BTreeMap<(String, String, String), BTreeSet<(String, String)>>;

/// Version and digest of each package of each step.
fn versions(lock: &Lock) -> Versions {
    let mut found = Versions::new();
    for pin in lock.pins.values() {
        for item in &pin.files {
            let key = (pin.step.clone(), pin.platform.to_string(), item.name.clone());
            found.entry(key).or_default().insert((item.version.clone(), item.digest.to_string()));
        }
    }
    found
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, old, new, .. } = self;
        match (&old[..], &new[..]) {
            ([], new) => write!(f, "+ {package} {}", new.join(", ")),
            (old, []) => write!(f, "- {package} {}", old.join(", ")),
            (old, new) if old == new => write!(f, "~ {package} {} (other bytes)", new.join(", ")),
            (old, new) => write!(f, "~ {package} {} -> {}", old.join(", "), new.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Item, Pin};
    use super::*;
    use crate::model::digest::Digest;

    fn lock(items: &[(&str, &str)]) -> Lock {
        let item = |(name, version): &(&str, &str)| Item {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            size: 1,
            digest: Digest::of(version.as_bytes()),
            integrity: None,
            url: format!("http://x/{name}"),
        };
        let of = Digest::of(b"question");
        let platform = "linux/amd64".parse().unwrap();
        let pin = Pin { step: "t: apt a".to_owned(), platform, of, files: items.iter().map(item).collect() };
        Lock { pins: [(of, pin)].into() }
    }

    #[test]
    fn changes_name_the_package_and_its_versions() {
        let (old, new) =
            (lock(&[("a", "1"), ("b", "1"), ("c", "1")]), lock(&[("a", "2"), ("b", "1"), ("d", "1")]));
        let lines: Vec<String> = between(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["~ a 1 -> 2", "- c 1", "+ d 1"]);
        assert!(between(&new, &new).is_empty());
    }
}
