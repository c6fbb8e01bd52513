//! What is known about vulnerabilities, as far as it concerns some images: data may be of gigabytes, and
//! what is kept is what names a package that is there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;

use super::tracker::{self, Entry};
use super::{Advisory, Affected, named, osv};
use crate::model::sbom::{Ecosystem, Inventory};
use crate::model::time::Timestamp;

/// Advisories about packages of some images.
#[derive(Debug, Default)]
pub struct Database {
    wanted: BTreeSet<(Ecosystem, String)>,
    covered: BTreeSet<(Ecosystem, Option<String>)>,
    advisories: Vec<Advisory>,
    kept: usize,
}

/// What was read in one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: usize,
    /// When the newest of them was changed, where they say so.
    pub newest: Option<Timestamp>,
}

/// Data that cannot be read. Nothing of it is believed then: what is missing would be a hole in the gate.
#[derive(Debug, thiserror::Error)]
pub enum BadData {
    /// No JSON, or of other types than its format has.
    #[error("it is not data about vulnerabilities in a form that is known")]
    Json(#[from] serde_json::Error),
    /// The tracker's data, which is one object and not a text of records.
    #[error("something follows the data of Debian's security tracker")]
    Trailing,
    /// More than memory should hold.
    #[error("it has more advisories about the packages of these images than can be true")]
    TooMany,
}

/// The most advisories that are kept. Debian's kernel, the most troubled package there is, has some 10,000.
const MAX_KEPT: usize = 1 << 20;

impl Database {
    /// One that keeps what is about packages of these images.
    #[must_use]
    pub fn about(inventories: &[Inventory]) -> Self {
        let packages = inventories.iter().flat_map(|inventory| &inventory.packages);
        let wanted = packages.map(|package| (package.ecosystem, named(package).name.into_owned()));
        Self { wanted: wanted.collect(), ..Self::default() }
    }

    /// Reads records of OSV (one, several one after the other, or a list), or the data of Debian's tracker.
    pub fn read(&mut self, json: &[u8]) -> Result<Tally, BadData> {
        let mut tally = Tally::default();
        let mut texts = serde_json::Deserializer::from_slice(json).into_iter::<&RawValue>();
        let mut first = true;
        while let Some(text) = texts.next().transpose()? {
            if first && !text.get().starts_with('[') && is_tracker(text)? {
                tally.records = self.tracker(text)?;
                return if texts.next().is_none() { Ok(tally) } else { Err(BadData::Trailing) };
            }
            first = false;
            if text.get().starts_with('[') {
                for value in serde_json::from_str::<Vec<Value>>(text.get())? {
                    self.osv(value, &mut tally)?;
                }
            } else {
                self.osv(serde_json::from_str(text.get())?, &mut tally)?;
            }
        }
        Ok(tally)
    }

    fn osv(&mut self, value: Value, tally: &mut Tally) -> Result<(), BadData> {
        let read = osv::read(value)?;
        tally.records += 1;
        tally.newest = tally.newest.max(Some(read.modified));
        self.covered.extend(read.ecosystems);
        let Some(mut advisory) = read.advisory else { return Ok(()) };
        for affected in &mut advisory.affected {
            affected.name = named_so(affected.ecosystem, &affected.name).into_owned();
        }
        advisory
            .affected
            .retain(|affected| self.wanted.contains(&(affected.ecosystem, affected.name.clone())));
        self.keep(advisory)
    }

    fn tracker(&mut self, text: &RawValue) -> Result<usize, BadData> {
        let packages: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text.get())?;
        let mut records = 0;
        for (package, text) in packages {
            let entries: BTreeMap<String, Entry> = serde_json::from_str(text.get()).map_err(|error| {
                <serde_json::Error as serde::de::Error>::custom(format!("package `{package}`: {error}"))
            })?;
            records += entries.len();
            for advisory in tracker::advisories(&package, entries) {
                for affected in &advisory.affected {
                    let place = (affected.ecosystem, affected.release.clone());
                    if !self.covered.contains(&place) {
                        self.covered.insert(place);
                    }
                }
                if self.wanted.contains(&(Ecosystem::Deb, package.to_string())) {
                    self.keep(advisory)?;
                }
            }
        }
        Ok(records)
    }

    fn keep(&mut self, advisory: Advisory) -> Result<(), BadData> {
        if advisory.affected.is_empty() {
            return Ok(());
        }
        self.kept += advisory.affected.len();
        if self.kept > MAX_KEPT {
            return Err(BadData::TooMany);
        }
        self.advisories.push(advisory);
        Ok(())
    }

    /// What is known about each package.
    pub(super) fn by_name(&self) -> BTreeMap<(Ecosystem, &str), Vec<(&Advisory, &Affected)>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for advisory in &self.advisories {
            for affected in &advisory.affected {
                let name = (affected.ecosystem, affected.name.as_str());
                all.entry(name).or_default().push((advisory, affected));
            }
        }
        all
    }

    /// Whether anything is known about packages of an ecosystem in an image.
    pub(super) fn covers(&self, ecosystem: Ecosystem, inventory: &Inventory) -> bool {
        let covers = |release: Option<&str>| self.covered.contains(&(ecosystem, release.map(str::to_owned)));
        match ecosystem {
            Ecosystem::Deb => inventory.distribution.as_ref().is_some_and(|distribution| {
                let releases = [&distribution.version, &distribution.codename];
                distribution.id == "debian" && releases.into_iter().any(|release| covers(Some(release)))
            }),
            // Nothing here knows the order of its versions.
            Ecosystem::Apk => false,
            _ => covers(None),
        }
    }
}

/// Records have an identifier; the tracker has names of packages, none of which is `id` or `schema_version`.
fn is_tracker(text: &RawValue) -> Result<bool, serde_json::Error> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text.get())?;
    Ok(!fields.contains_key("id") && fields.values().all(|field| field.get().starts_with('{')))
}

/// The name by which advisories know a package.
pub(super) fn named_so(ecosystem: Ecosystem, name: &str) -> Cow<'_, str> {
    match ecosystem {
        // <https://packaging.python.org/en/latest/specifications/name-normalization/>
        Ecosystem::Pypi => {
            let lower = name.to_lowercase();
            let parts: Vec<&str> = lower.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
            Cow::Owned(parts.join("-"))
        }
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::find::{self, Certainty};
    use super::*;
    use crate::model::sbom::Distribution;
    use crate::model::sbom::tests::inventory;

    /// Made for tests.
    const OSV: &str = r#"{"id":"PYSEC-1","modified":"2026-01-02T03:04:05Z","aliases":["CVE-1"],"unknown":[{}],
        "database_specific":{"severity":"HIGH"},
        "affected":[{"package":{"ecosystem":"PyPI","name":"some.THING"},"versions":["3.1.0"],"severity":null,
        "ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]}]}"#;
    const TRACKER: &str = r#"{"glibc":{"CVE-2":{"description":"x","releases":{"trixie":{"status":"undetermined","urgency":"high"}}}},
        "gcc-14":{"CVE-3":{"releases":{"trixie":{"status":"open","urgency":"not yet assigned","nodsa":"Minor issue"}}}}}"#;

    fn image() -> Inventory {
        let mut inventory = inventory();
        let named = |text: &str| text.to_owned();
        inventory.distribution =
            Some(Distribution { id: named("debian"), version: named("13"), codename: named("trixie") });
        inventory
    }

    fn found(data: &[&str]) -> Vec<String> {
        let image = image();
        let mut database = Database::about(std::slice::from_ref(&image));
        for text in data {
            database.read(text.as_bytes()).unwrap();
        }
        let line = |one: find::Match| {
            let severity = one.severity.map_or_else(|| "unknown".to_owned(), |severity| severity.to_string());
            let doubt = if one.certainty == Certainty::Unclear { " unclear" } else { "" };
            format!("{severity}{doubt} {} {} {}", one.id, one.package, one.version)
        };
        find::find(&image, &database).matches.into_iter().map(line).collect()
    }

    #[test]
    fn names_and_versions_are_those_that_advisories_mean() {
        assert_eq!(
            found(&[OSV, TRACKER]),
            [
                "high unclear CVE-2 glibc 2.41-12+deb13u1",
                "high CVE-1 some-thing 3.1",
                "low CVE-3 gcc-14 14.2.0-19",
            ]
        );
        let other = OSV.replace("PYSEC-1", "GHSA-1").replace("HIGH", "CRITICAL");
        assert_eq!(found(&[&format!("[{OSV},{other}]")]), ["critical CVE-1 some-thing 3.1"]);
        let withdrawn = OSV.replace("\"unknown\"", "\"withdrawn\":\"2026-01-02T03:04:05Z\",\"unknown\"");
        assert_eq!(found(&[&format!("{withdrawn}\n{withdrawn}")]), [""; 0]);
        let bookworm = TRACKER.replace("trixie", "bookworm");
        assert_eq!(found(&[&bookworm]), [""; 0]);
    }

    #[test]
    fn what_is_not_covered_is_known() {
        let image = image();
        let mut database = Database::about(std::slice::from_ref(&image));
        database.read(OSV.as_bytes()).unwrap();
        let found = find::find(&image, &database);
        assert_eq!(found.covered, [(Ecosystem::Pypi, 1)].into());
        assert_eq!(found.uncovered.len(), 4);
        assert!(matches!(database.read(format!("{TRACKER}{TRACKER}").as_bytes()), Err(BadData::Trailing)));
    }

    proptest! {
        #[test]
        fn data_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic(
            which in 0..2_usize, at: prop::sample::Index, byte: u8, end: prop::sample::Index,
        ) {
            let image = image();
            let mut bytes = [OSV, TRACKER][which].as_bytes().to_vec();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            for bytes in [&bytes[..], &bytes[..end.index(bytes.len())]] {
                let mut database = Database::about(std::slice::from_ref(&image));
                if database.read(bytes).is_ok() {
                    let _ = find::find(&image, &database);
                }
            }
        }
    }
}
