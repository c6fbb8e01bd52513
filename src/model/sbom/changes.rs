//! What changed from one image to another, package by package.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Ecosystem, Inventory};

/// A change of one package. A package that is there several times may have several versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Who packed it.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Versions before; none where it is new.
    pub before: BTreeSet<String>,
    /// Versions now; none where it is gone.
    pub now: BTreeSet<String>,
}

/// All packages whose versions differ, in order.
#[must_use]
pub fn between(before: &Inventory, now: &Inventory) -> Vec<Change> {
    let (before, now) = (versions(before), versions(now));
    let names: BTreeSet<&(Ecosystem, &str)> = before.keys().chain(now.keys()).collect();
    let none = BTreeSet::new();
    names
        .into_iter()
        .map(|name| (name, before.get(name).unwrap_or(&none), now.get(name).unwrap_or(&none)))
        .filter(|(_, before, now)| before != now)
        .map(|((ecosystem, name), before, now)| Change {
            ecosystem: *ecosystem,
            name: (*name).to_owned(),
            before: before.clone(),
            now: now.clone(),
        })
        .collect()
}

fn versions(inventory: &Inventory) -> BTreeMap<(Ecosystem, &str), BTreeSet<String>> {
    let mut versions: BTreeMap<(Ecosystem, &str), BTreeSet<String>> = BTreeMap::new();
    for package in &inventory.packages {
        versions.entry((package.ecosystem, &package.name)).or_default().insert(package.version.clone());
    }
    versions
}
