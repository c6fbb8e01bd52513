//! The data of Debian's security tracker, <https://security-tracker.debian.org/tracker/data/json>: for each
//! source package its CVEs, and for each of these what is known in every release.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::severity::Severity;
use super::version::Event;
use super::{Advisory, Affected};
use crate::model::sbom::Ecosystem;

#[derive(Deserialize)]
pub(super) struct Entry {
    releases: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    status: Status,
    fixed_version: Option<String>,
    urgency: String,
    /// Why Debian does not hurry: not bad enough for an advisory of its own.
    nodsa: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Resolved,
    Open,
    Undetermined,
}

/// All that is known about one source package.
pub(super) fn advisories(package: &str, entries: BTreeMap<String, Entry>) -> Vec<Advisory> {
    let advisory = |(id, entry): (String, Entry)| {
        let affected =
            entry.releases.into_iter().filter_map(|(name, release)| affected(package, name, release));
        Advisory { id, aliases: Vec::new(), affected: affected.collect() }
    };
    entries.into_iter().map(advisory).collect()
}

fn affected(package: &str, name: String, release: Release) -> Option<Affected> {
    let begin = Event::Introduced("0".to_owned());
    let (range, unclear) = match (release.status, release.fixed_version) {
        // So the tracker writes that a release never had it.
        (Status::Resolved, Some(version)) if version == "0" => return None,
        (Status::Resolved, Some(version)) => (vec![begin, Event::Fixed(version)], false),
        (Status::Open, _) => (vec![begin], false),
        (Status::Resolved, None) | (Status::Undetermined, _) => (vec![begin], true),
    };
    let unhurried = release.nodsa.map(|_| Severity::Low);
    Some(Affected {
        ecosystem: Ecosystem::Deb,
        release: Some(name),
        name: package.to_owned(),
        severity: Severity::of_word(&release.urgency).or(unhurried),
        versions: Vec::new(),
        ranges: vec![range],
        unclear,
    })
}
