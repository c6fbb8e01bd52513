//! The databases of dpkg and apk: paragraphs of `Key: value` lines.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ecosystem, Package, license};

/// Packages in `/var/lib/dpkg/status` that are installed.
pub(super) fn dpkg(path: &str, text: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<Package> {
    let installed = |fields: &BTreeMap<&str, String>| {
        // `status.d` of distroless images has no status: what is there is installed.
        fields.get("Status").is_none_or(|status| status.ends_with(" installed"))
    };
    paragraphs(text)
        .filter(installed)
        .filter_map(|fields| {
            let (name, version) = (fields.get("Package")?.clone(), fields.get("Version")?.clone());
            let copyright = files.get(&format!("usr/share/doc/{name}/copyright"));
            let needs = ["Depends", "Pre-Depends"].iter().filter_map(|key| fields.get(key));
            Some(Package {
                ecosystem: Ecosystem::Deb,
                licenses: copyright
                    .map(|text| license::copyright(&String::from_utf8_lossy(text)))
                    .unwrap_or_default(),
                needs: needs.flat_map(|list| relations(list)).collect(),
                architecture: fields.get("Architecture").cloned(),
                source: fields.get("Source").cloned(),
                path: path.to_owned(),
                name,
                version,
            })
        })
        .collect()
}

/// Paragraphs with their fields; a line that begins with a space continues the one before it.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = BTreeMap<&str, String>> {
    text.split("\n\n").map(|paragraph| {
        let mut fields: BTreeMap<&str, String> = BTreeMap::new();
        let mut last = None;
        for line in paragraph.lines() {
            if let Some(more) = line.strip_prefix([' ', '\t']) {
                if let Some(value) = last.and_then(|key| fields.get_mut(key)) {
                    value.push('\n');
                    value.push_str(more);
                }
            } else if let Some((key, value)) = line.split_once(':') {
                fields.insert(key, value.trim().to_owned());
                last = Some(key);
            }
        }
        fields
    })
}

/// Names in `a (>= 1), b:any | c`: of alternatives, all that could be meant.
fn relations(list: &str) -> BTreeSet<String> {
    let name = |one: &str| one.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_owned();
    list.split([',', '|']).map(name).filter(|name| !name.is_empty()).collect()
}

/// Packages in `/lib/apk/db/installed`.
pub(super) fn apk(path: &str, text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let field =
                |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let needs = field("D").unwrap_or_default().split_whitespace();
            let needs = needs
                .filter(|need| !need.contains([':', '!']))
                .map(|need| need.split(['=', '<', '>', '~']).next().unwrap_or_default().to_owned());
            Some(Package {
                ecosystem: Ecosystem::Apk,
                name: field("P")?.to_owned(),
                version: field("V")?.to_owned(),
                architecture: field("A").map(str::to_owned),
                source: field("o").map(str::to_owned),
                licenses: field("L").map(str::to_owned).into_iter().collect(),
                needs: needs.collect(),
                path: path.to_owned(),
            })
        })
        .collect()
}
