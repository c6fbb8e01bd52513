//! The packages of an image, read back from the `CycloneDX` document that was written of them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Distribution, Ecosystem, Inventory, Package};
use crate::model::image::Image;

#[derive(Deserialize)]
struct Document {
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    version: String,
    purl: String,
    #[serde(default)]
    licenses: Vec<License>,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct License {
    expression: Option<String>,
    license: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: String,
}

/// The inventory that a document of this image was written of; licences are expressions where SPDX knows them,
/// and what packages need of each other is left out.
pub fn inventory(image: &Image, document: &[u8]) -> Result<Inventory, serde_json::Error> {
    let document: Document = serde_json::from_slice(document)?;
    let mut distribution = None;
    let mut packages = BTreeSet::new();
    for component in document.components {
        let qualifier = |name: &str| {
            let (_, qualifiers) = component.purl.rsplit_once('?')?;
            let mut pairs = qualifiers.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let kind = component.purl.strip_prefix("pkg:").and_then(|rest| rest.split('/').next());
        let ecosystem: Ecosystem = serde_json::from_value(kind.unwrap_or_default().into())?;
        if let Some((id, version)) = qualifier("distro").as_deref().and_then(|distro| distro.split_once('-'))
        {
            distribution.get_or_insert(Distribution {
                id: id.to_owned(),
                version: version.to_owned(),
                codename: String::new(),
            });
        }
        let architecture = qualifier("arch");
        let names = component.licenses.into_iter();
        let licenses = names.filter_map(|one| one.expression.or(one.license.map(|named| named.name)));
        let path = component.properties.into_iter().find(|property| property.name == "imgforge:path");
        let path = path.map(|property| property.value.trim_start_matches('/').to_owned());
        packages.insert(Package {
            ecosystem,
            licenses: licenses.collect(),
            name: component.name,
            version: component.version,
            architecture,
            source: None,
            needs: BTreeSet::new(),
            path: path.unwrap_or_default(),
        });
    }
    Ok(Inventory {
        image: image.clone(),
        distribution,
        packages: packages.into_iter().collect(),
        unread: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{changes, cyclonedx, tests};
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written() {
        let written = tests::inventory();
        let document = cyclonedx::document(&written).to_string();
        let read = inventory(&written.image, document.as_bytes()).unwrap();
        assert_eq!(read.distribution, written.distribution);
        assert_eq!(changes::between(&written, &read), []);
        let purls = |inventory: &Inventory| {
            inventory.packages.iter().map(|package| inventory.purl(package)).collect::<BTreeSet<_>>()
        };
        assert_eq!(purls(&read), purls(&written));
        let scoped = read.packages.iter().find(|package| package.name == "@scope/one").unwrap();
        assert_eq!(scoped.path, "app/node_modules/@scope/one/package.json");
        assert_eq!(scoped.licenses.iter().collect::<Vec<_>>(), ["MIT"]);
    }
}
