//! Which known vulnerabilities the packages of an image have, and whether it may leave with them.
//!
//! [`database`] reads what others publish about vulnerabilities (OSV's records, Debian's tracker) and keeps
//! what concerns the packages at hand; [`find`] matches it with an inventory; [`gate`] says what stops an
//! image, and what a project excepts for a while. What is not known fails: a severity that nobody decided
//! counts as the threshold, a version that has no order counts as affected, and packages that the data says
//! nothing about are named.

pub mod database;
mod debian;
pub mod find;
pub mod gate;
mod osv;
pub mod severity;
mod tracker;
pub mod version;

use std::borrow::Cow;

use self::severity::Severity;
use self::version::Event;
use super::sbom::{Ecosystem, Package};

/// One vulnerability, and the packages that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Advisory {
    id: String,
    /// Other identifiers of the same.
    aliases: Vec<String>,
    affected: Vec<Affected>,
}

/// Versions of one package that are affected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Affected {
    ecosystem: Ecosystem,
    /// The release of the distribution, by number or by name; none where all are meant.
    release: Option<String>,
    name: String,
    severity: Option<Severity>,
    /// Single versions.
    versions: Vec<String>,
    /// Ranges, any of which may hold.
    ranges: Vec<Vec<Event>>,
    /// The database itself does not know which.
    unclear: bool,
}

/// A package by the name and version that advisories mean.
struct Named<'a> {
    name: Cow<'a, str>,
    version: &'a str,
}

/// Advisories for Debian name source packages, whose version may be another than that of the package.
fn named(package: &Package) -> Named<'_> {
    let source = package.source.as_deref().filter(|_| package.ecosystem == Ecosystem::Deb);
    let (name, version) = match source.map(|source| source.split_once(' ').unwrap_or((source, ""))) {
        Some((name, version)) => (name, version.trim_matches(['(', ')', ' '])),
        None => (package.name.as_str(), ""),
    };
    let version = if version.is_empty() { &package.version } else { version };
    Named { name: database::named_so(package.ecosystem, name), version }
}
