//! `METADATA` of installed Python distributions: headers as in mail.

use super::{Ecosystem, Package};

/// The package that a file describes; `None` for one that has no name or version.
pub(super) fn metadata(path: &str, text: &str) -> Option<Package> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let field = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    // The older field is free text; a long one is the licence itself and not its name.
    let license = field("License-Expression").or_else(|| field("License").filter(|text| text.len() <= 60));
    let classified = head.lines().filter_map(|line| {
        let name = line.strip_prefix("Classifier: License :: OSI Approved :: ")?;
        Some(name.rsplit(" :: ").next().unwrap_or(name).to_owned())
    });
    let licenses = match license {
        Some(license) => [license.to_owned()].into(),
        None => classified.collect(),
    };
    // A requirement with a marker may not hold here.
    let needs = head
        .lines()
        .filter_map(|line| line.strip_prefix("Requires-Dist: "))
        .filter(|need| !need.contains(';'));
    let name = |need: &str| {
        need.split([' ', '(', '<', '>', '=', '!', '~', '[']).next().unwrap_or_default().to_owned()
    };
    Some(Package {
        ecosystem: Ecosystem::Pypi,
        name: field("Name")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: None,
        source: None,
        licenses,
        needs: needs.map(name).collect(),
        path: path.to_owned(),
    })
}
