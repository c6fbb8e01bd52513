//! Matches an inventory with what is known.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::database::Database;
use super::severity::Severity;
use super::version::{self, Answer};
use super::{Advisory, Affected, named};
use crate::model::sbom::{Ecosystem, Inventory, Package};

/// A package that has a vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// What the vulnerability is called.
    pub id: String,
    /// What else it is called.
    pub aliases: BTreeSet<String>,
    /// How bad it is; `null` where nobody decided.
    pub severity: Option<Severity>,
    /// Who packed the package.
    pub ecosystem: Ecosystem,
    /// The package, as the data names it: of Debian, the source package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Versions that mend it.
    pub fixed: BTreeSet<String>,
    /// Whether it is certain that this version is affected.
    pub certainty: Certainty,
    /// Names of installed Debian packages; of others, the files that tell of the package.
    pub installed: BTreeSet<String>,
}

/// Whether a version is known to be affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// The data says so.
    Known,
    /// The database has not decided, or a version has no order; it counts as affected.
    Unclear,
}

/// Packages of one ecosystem that nothing is known about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uncovered {
    /// Which.
    pub ecosystem: Ecosystem,
    /// Their names.
    pub packages: BTreeSet<String>,
}

/// What the data says about one image.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Worst first, and by name.
    pub matches: Vec<Match>,
    /// How many packages were compared with the data, by ecosystem.
    pub covered: BTreeMap<Ecosystem, usize>,
    /// The others.
    pub uncovered: Vec<Uncovered>,
}

/// Packages that advisories do not tell apart: who packed them, name, version.
type Group<'a> = (Ecosystem, String, &'a str);

/// Finds every vulnerability that is known in an image.
#[must_use]
pub fn find(inventory: &Inventory, data: &Database) -> Found {
    let mut found = Found::default();
    let mut groups: BTreeMap<Group<'_>, Vec<&Package>> = BTreeMap::new();
    let mut uncovered: BTreeMap<Ecosystem, BTreeSet<String>> = BTreeMap::new();
    for package in &inventory.packages {
        if data.covers(package.ecosystem, inventory) {
            *found.covered.entry(package.ecosystem).or_default() += 1;
            let named = named(package);
            groups
                .entry((package.ecosystem, named.name.into_owned(), named.version))
                .or_default()
                .push(package);
        } else {
            uncovered.entry(package.ecosystem).or_default().insert(package.name.clone());
        }
    }
    found.uncovered =
        uncovered.into_iter().map(|(ecosystem, packages)| Uncovered { ecosystem, packages }).collect();
    let by_name = data.by_name();
    for (group, packages) in &groups {
        let known = by_name.get(&(group.0, group.1.as_str())).map_or(&[][..], Vec::as_slice);
        let known = known.iter().filter(|(_, affected)| concerns(affected, inventory));
        let matches = known.filter_map(|(advisory, affected)| one(group, packages, advisory, affected));
        found.matches.extend(merged(matches.collect()));
    }
    found.matches.sort_by(|one, other| {
        let key = |one: &Match| (one.package.clone(), one.version.clone(), one.id.clone());
        other.severity.cmp(&one.severity).then_with(|| key(one).cmp(&key(other)))
    });
    found
}

/// Whether an advisory is about the release of the distribution.
fn concerns(affected: &Affected, inventory: &Inventory) -> bool {
    affected.release.as_ref().is_none_or(|release| {
        let distribution = inventory.distribution.as_ref();
        distribution.is_some_and(|found| [&found.version, &found.codename].contains(&release))
    })
}

fn one(group: &Group<'_>, packages: &[&Package], advisory: &Advisory, affected: &Affected) -> Option<Match> {
    let (ecosystem, name, version) = group;
    let mut answers: Vec<Answer> =
        affected.ranges.iter().map(|range| version::within(*ecosystem, version, range)).collect();
    if affected.versions.iter().any(|one| version::same(*ecosystem, one, version)) {
        answers.push(Answer::Yes(None));
    }
    answers.retain(|answer| *answer != Answer::No);
    if answers.is_empty() {
        return None;
    }
    let certain = !affected.unclear && answers.iter().any(|answer| matches!(answer, Answer::Yes(_)));
    let fixed = answers.into_iter().filter_map(|answer| match answer {
        Answer::Yes(fixed) | Answer::Unclear(fixed) => fixed,
        Answer::No => None,
    });
    let installed = |package: &&Package| match ecosystem {
        Ecosystem::Deb | Ecosystem::Apk => package.name.clone(),
        _ => format!("/{}", package.path),
    };
    Some(Match {
        id: advisory.id.clone(),
        aliases: advisory.aliases.iter().filter(|alias| **alias != advisory.id).cloned().collect(),
        severity: affected.severity,
        ecosystem: *ecosystem,
        package: name.clone(),
        version: (*version).to_owned(),
        fixed: fixed.collect(),
        certainty: if certain { Certainty::Known } else { Certainty::Unclear },
        installed: packages.iter().map(installed).collect(),
    })
}

/// Several databases tell of one vulnerability: of all that share a name one is made, as bad as the worst.
fn merged(matches: Vec<Match>) -> Vec<Match> {
    let mut all: Vec<Match> = Vec::new();
    for mut one in matches {
        // It may join two that had nothing in common before.
        while let Some(at) = all.iter().position(|other| !names(other).is_disjoint(&names(&one))) {
            let other = all.swap_remove(at);
            one.aliases.insert(other.id);
            one.aliases.extend(other.aliases);
            one.severity = one.severity.max(other.severity);
            one.fixed.extend(other.fixed);
            one.certainty = one.certainty.min(other.certainty);
            one.installed.extend(other.installed);
        }
        // People look for the number that all databases share.
        one.aliases.insert(one.id);
        let id = one.aliases.iter().find(|name| name.starts_with("CVE-")).or(one.aliases.first()).cloned();
        one.id = id.unwrap_or_default();
        one.aliases.remove(&one.id);
        all.push(one);
    }
    all
}

/// All that a vulnerability is called.
pub(super) fn names(one: &Match) -> BTreeSet<&str> {
    one.aliases.iter().map(String::as_str).chain([one.id.as_str()]).collect()
}
