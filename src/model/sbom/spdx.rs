//! SPDX 2.3 as JSON: <https://spdx.github.io/spdx-spec/v2.3/>.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Ecosystem, Inventory, Package, license};
use crate::model::digest::Digest;

/// The document. It is dated as the image is: 1970, so that equal images give equal documents.
#[must_use]
pub fn document(inventory: &Inventory) -> Value {
    let image = &inventory.image;
    let ids: BTreeMap<&Package, String> =
        inventory.packages.iter().map(|package| (package, id(inventory, package))).collect();
    let by_name: BTreeMap<(Ecosystem, &str), &String> =
        ids.iter().map(|(package, id)| ((package.ecosystem, package.name.as_str()), id)).collect();
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": image.tag,
        "versionInfo": image.manifest.digest,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    })];
    let relation = |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
    let mut relationships = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for package in &inventory.packages {
        packages.push(entry(inventory, package, &ids[package]));
        relationships.push(relation(IMAGE, "CONTAINS", &ids[package]));
        let needed = package.needs.iter().filter_map(|name| by_name.get(&(package.ecosystem, name.as_str())));
        relationships.extend(needed.map(|needed| relation(&ids[package], "DEPENDS_ON", needed)));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image.tag,
        "documentNamespace": format!("https://imgforge.dev/spdx/{}/{}", image.tag, image.manifest.digest.hex()),
        "creationInfo": {
            "created": "1970-01-01T00:00:00Z",
            "creators": [format!("Tool: imgforge-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    })
}

const IMAGE: &str = "SPDXRef-Image";

fn entry(inventory: &Inventory, package: &Package, id: &str) -> Value {
    let expression = license::expression(&package.licenses);
    let mut entry = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": expression.as_deref().unwrap_or("NOASSERTION"),
        "copyrightText": "NOASSERTION",
        "sourceInfo": format!("found in /{}", package.path),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": inventory.purl(package),
        }],
    });
    if expression.is_none() && !package.licenses.is_empty() {
        let names: Vec<&str> = package.licenses.iter().map(String::as_str).collect();
        entry["licenseComments"] = format!("named by the package: {}", names.join(", ")).into();
    }
    entry
}

/// An identifier that says what it is of, and stays the same as long as that does.
fn id(inventory: &Inventory, package: &Package) -> String {
    let purl = inventory.purl(package);
    let word: String =
        package.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    let digest = Digest::of(format!("{purl} {}", package.path).as_bytes()).hex();
    format!("SPDXRef-{word}-{}", &digest[..12])
}
