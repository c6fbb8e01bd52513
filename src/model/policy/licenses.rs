//! The rule about licences: what a project denies in `imgforge.toml`, no image of it may hold.

use super::{Charter, Evidence, Finding, Rule};
use crate::model::sbom::denied::{FIX, denied};

pub(super) fn check(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let Some(inventory) = &evidence.packages else { return Vec::new() };
    let found = denied(inventory, &charter.denied).into_iter();
    let finding = |(package, names): (&crate::model::sbom::Package, Vec<&str>)| {
        charter.error(
            Rule::License,
            &["steps"],
            Some(&package.name),
            format!(
                "`{}` {}, in `/{}`, has a licence that imgforge.toml denies: {}",
                package.name,
                package.version,
                package.path,
                names.join(", ")
            ),
            FIX,
        )
    };
    found.map(finding).collect()
}
