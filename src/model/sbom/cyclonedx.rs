//! `CycloneDX` 1.6 as JSON: <https://cyclonedx.org/docs/1.6/json/>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Ecosystem, Inventory, Package, license};

/// The document. Its serial number comes from the image, so equal images give equal documents.
#[must_use]
pub fn document(inventory: &Inventory) -> Value {
    let image = &inventory.image;
    let reference = |package: &Package| format!("{}#{}", inventory.purl(package), package.path);
    let by_name: BTreeMap<(Ecosystem, &str), &Package> = inventory
        .packages
        .iter()
        .map(|package| ((package.ecosystem, package.name.as_str()), package))
        .collect();
    let all: BTreeSet<String> = inventory.packages.iter().map(reference).collect();
    let mut dependencies = vec![json!({"ref": image.manifest.digest, "dependsOn": all})];
    for package in &inventory.packages {
        let needed = package.needs.iter().filter_map(|name| by_name.get(&(package.ecosystem, name.as_str())));
        let needed: BTreeSet<String> = needed.map(|needed| reference(needed)).collect();
        dependencies.push(json!({"ref": reference(package), "dependsOn": needed}));
    }
    let components: Vec<Value> =
        inventory.packages.iter().map(|package| component(inventory, package, &reference(package))).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&image.manifest.digest.hex()),
        "version": 1,
        "metadata": {
            "timestamp": "1970-01-01T00:00:00Z",
            "tools": {"components": [{"type": "application", "name": "imgforge", "version": env!("CARGO_PKG_VERSION")}]},
            "component": {
                "type": "container",
                "bom-ref": image.manifest.digest,
                "name": image.tag,
                "version": image.manifest.digest,
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(inventory: &Inventory, package: &Package, reference: &str) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": package.name,
        "version": package.version,
        "purl": inventory.purl(package),
        "properties": [{"name": "imgforge:path", "value": format!("/{}", package.path)}],
    });
    if let Some(expression) = license::expression(&package.licenses) {
        component["licenses"] = json!([{"expression": expression}]);
    } else if !package.licenses.is_empty() {
        let names = package.licenses.iter().map(|name| json!({"license": {"name": name}}));
        component["licenses"] = names.collect();
    }
    component
}

/// A UUID of version 8, whose bits an application may choose: those of the digest.
fn serial(hex: &str) -> String {
    format!("urn:uuid:{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}
