//! `package.json` below `node_modules`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Ecosystem, Package};

#[derive(Deserialize)]
struct Written {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
}

/// The package that a file describes; `None` for one that has no name or version.
pub(super) fn package(path: &str, bytes: &[u8]) -> Option<Package> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    // Old packages write `{"type": "MIT"}`.
    let license = written.license.as_str().or_else(|| written.license.get("type")?.as_str());
    Some(Package {
        ecosystem: Ecosystem::Npm,
        name: written.name,
        version: written.version,
        architecture: None,
        source: None,
        licenses: license.map(str::to_owned).into_iter().collect(),
        needs: written.dependencies.into_keys().collect(),
        path: path.to_owned(),
    })
}
