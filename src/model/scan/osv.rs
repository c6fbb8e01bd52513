//! Records in the OSV format: <https://ossf.github.io/osv-schema/>.
//!
//! Fields that nobody here needs are passed over, because databases add their own; one of a wrong type
//! is an error.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use super::severity::Severity;
use super::version::Event;
use super::{Advisory, Affected};
use crate::model::sbom::Ecosystem;
use crate::model::time::Timestamp;

#[derive(Deserialize)]
struct Record {
    id: String,
    modified: Timestamp,
    withdrawn: Option<Timestamp>,
    #[serde(default, deserialize_with = "list")]
    aliases: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    severity: Vec<Score>,
    #[serde(default, deserialize_with = "list")]
    affected: Vec<Place>,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct Score {
    score: String,
}

#[derive(Deserialize)]
struct Place {
    package: Option<Named>,
    #[serde(default, deserialize_with = "list")]
    severity: Vec<Score>,
    #[serde(default, deserialize_with = "list")]
    ranges: Vec<Range>,
    #[serde(default, deserialize_with = "list")]
    versions: Vec<String>,
    #[serde(default)]
    ecosystem_specific: Value,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct Named {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    events: Vec<Bounds>,
}

#[derive(Deserialize)]
struct Bounds {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

/// Some databases write `null` for a list that is empty.
fn list<'d, D: Deserializer<'d>, T: Deserialize<'d>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// When a record was changed last, and what it says.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) modified: Timestamp,
    /// Every ecosystem that it names, also of a record that was withdrawn.
    pub(super) ecosystems: Vec<(Ecosystem, Option<String>)>,
    /// `None` for one that was withdrawn.
    pub(super) advisory: Option<Advisory>,
}

/// Reads one record.
pub(super) fn read(value: Value) -> Result<Read, serde_json::Error> {
    let named = value.get("id").and_then(Value::as_str).map(str::to_owned);
    record(value).map_err(|error| match named {
        Some(id) => serde_json::Error::custom(format!("record `{id}`: {error}")),
        None => error,
    })
}

fn record(value: Value) -> Result<Read, serde_json::Error> {
    let record: Record = serde_json::from_value(value)?;
    let common = of(&record.severity, &[&record.database_specific]);
    let malicious = record.id.starts_with("MAL-").then_some(Severity::Critical);
    let mut affected = Vec::new();
    for place in record.affected {
        let Some((name, ecosystem)) = place.package.map(|named| (named.name, named.ecosystem)) else {
            continue;
        };
        let Some((ecosystem, release)) = self::ecosystem(&ecosystem) else { continue };
        let own = of(&place.severity, &[&place.ecosystem_specific, &place.database_specific]);
        let ranges = place.ranges.into_iter().filter(|range| range.kind != "GIT");
        affected.push(Affected {
            ecosystem,
            release,
            name,
            severity: malicious.or(own).or(common),
            versions: place.versions,
            ranges: ranges.map(|range| range.events.into_iter().flat_map(events).collect()).collect(),
            unclear: false,
        });
    }
    let ecosystems = affected.iter().map(|place| (place.ecosystem, place.release.clone())).collect();
    let mut aliases = record.aliases;
    // Debian's records are each about one CVE, and name it nowhere else in this form.
    aliases.extend(record.id.strip_prefix("DEBIAN-").map(str::to_owned));
    let advisory = Advisory { id: record.id, aliases, affected };
    Ok(Read {
        modified: record.modified,
        ecosystems,
        advisory: record.withdrawn.is_none().then_some(advisory),
    })
}

/// Our name of an ecosystem, and the release of the distribution, where the name has one.
fn ecosystem(name: &str) -> Option<(Ecosystem, Option<String>)> {
    let (name, release) = match name.split_once(':') {
        Some((name, release)) => (name, Some(release.to_owned())),
        None => (name, None),
    };
    let ecosystem = match name {
        "crates.io" => Ecosystem::Cargo,
        "Debian" => Ecosystem::Deb,
        "Go" => Ecosystem::Golang,
        "npm" => Ecosystem::Npm,
        "PyPI" => Ecosystem::Pypi,
        _ => return None,
    };
    Some((ecosystem, release))
}

fn events(bounds: Bounds) -> Vec<Event> {
    [
        bounds.introduced.map(Event::Introduced),
        bounds.fixed.map(Event::Fixed),
        bounds.last_affected.map(Event::LastAffected),
        bounds.limit.map(Event::Limit),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The worst score; else the word of the database that the record comes from.
fn of(scores: &[Score], specific: &[&Value]) -> Option<Severity> {
    let worst = scores.iter().filter_map(|score| Severity::of_vector(&score.score)).max();
    let word = |value: &&Value| {
        let word = |key: &str| value.get(key)?.as_str();
        word("severity")
            .or_else(|| word("urgency"))
            .or_else(|| word("informational"))
            .and_then(Severity::of_word)
    };
    worst.or_else(|| specific.iter().filter_map(word).max())
}
