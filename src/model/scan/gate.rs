//! What stops an image, and what a project excepts: the command's result.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::find::{Certainty, Found, Match, Uncovered, names};
use super::severity::Severity;
use crate::model::digest::Digest;
use crate::model::name::ImageTag;
use crate::model::report::Reason;
use crate::model::sbom::{Ecosystem, Inventory, Unread};
use crate::model::time::Timestamp;

/// `[scan]` in imgforge.toml.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Files, folders and addresses with data about vulnerabilities.
    #[serde(default)]
    pub db: Vec<String>,
    /// From which severity on a vulnerability stops an image.
    pub fail_on: Option<Severity>,
    /// Vulnerabilities that are known and borne for a while.
    #[serde(default)]
    pub except: Vec<Exception>,
}

impl Settings {
    /// From which severity on a vulnerability stops an image, where nobody says otherwise.
    #[must_use]
    pub fn threshold(&self) -> Severity {
        self.fail_on.unwrap_or(Severity::High)
    }
}

/// A vulnerability that somebody looked at and decided to bear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Which, by any of its names.
    pub id: String,
    /// In which package; absent: wherever it is.
    pub package: Option<String>,
    /// Why.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
    /// The last day on which it counts (UTC), such as `2027-01-31`.
    #[serde(deserialize_with = "date")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub expires: Date,
}

fn reason<'d, D: Deserializer<'d>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Err(D::Error::custom("an exception needs a reason")) } else { Ok(text) }
}

/// TOML has dates of its own.
fn date<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Date, D::Error> {
    let written = toml::value::Datetime::deserialize(deserializer)?;
    let text = written.to_string();
    if written.time.is_some() {
        return Err(D::Error::custom(format!("`{text}` is more than a date, such as `2027-01-31`")));
    }
    text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no date, such as `2027-01-31`")))
}

/// What became of a vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "is", deny_unknown_fields)]
pub enum Standing {
    /// It stops the image.
    Fails,
    /// It is not bad enough for that.
    Below,
    /// The project bears it.
    Excepted {
        /// Why.
        reason: String,
        /// How long (a date).
        #[schemars(with = "String", extend("format" = "date"))]
        expires: Date,
    },
}

/// A vulnerability in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What was found where.
    #[serde(flatten)]
    pub found: Match,
    /// What became of it.
    pub standing: Standing,
}

/// What is said about one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scanned {
    /// Which image.
    #[schemars(with = "String")]
    pub tag: ImageTag,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Vulnerabilities, the worst first.
    pub findings: Vec<Finding>,
    /// How many packages were compared with the data.
    pub covered: usize,
    /// Packages that the data says nothing about.
    pub not_covered: Vec<Uncovered>,
    /// Programs that may hold packages which nobody can list.
    pub unread: Vec<Unread>,
}

/// Where data came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A path or an address.
    pub from: String,
    /// Records in it.
    pub records: usize,
    /// When the newest record was changed; of data that does not say so, when the file was.
    pub newest: Option<Timestamp>,
}

/// An exception that does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Which.
    pub exception: Exception,
    /// Why it does nothing.
    pub why: Why,
}

/// Why an exception does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Its last day has passed.
    Expired,
    /// No image has this vulnerability.
    Unused,
}

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// From which severity on a vulnerability stops an image.
    pub threshold: Severity,
    /// Where the data came from.
    pub data: Vec<Source>,
    /// Every image.
    pub images: Vec<Scanned>,
    /// Exceptions that do nothing.
    pub idle: Vec<Idle>,
}

/// What `imgforge scan --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Report {
    /// Exit code 0.
    Passed(Scan),
    /// Exit code 3.
    Failed(Failed),
}

/// Something stops an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failed {
    /// What, in the form that every command has for what went wrong.
    pub error: Reason,
    /// The whole result.
    pub checks: Scan,
}

/// By what images are judged.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// From which severity on a vulnerability stops an image.
    pub threshold: Severity,
    /// What the project bears.
    pub exceptions: &'a [Exception],
    /// This moment.
    pub now: Timestamp,
}

/// Judges what was found in images.
#[must_use]
pub fn judge(found: Vec<(&Inventory, Found)>, data: Vec<Source>, terms: Terms<'_>) -> Scan {
    let today = terms.now.to_zoned(TimeZone::UTC).date();
    let mut used = vec![false; terms.exceptions.len()];
    let mut standing = |one: &Match| {
        for (exception, used) in terms.exceptions.iter().zip(&mut used) {
            if !matches(exception, one) {
                continue;
            }
            *used = true;
            if exception.expires >= today {
                return Standing::Excepted { reason: exception.reason.clone(), expires: exception.expires };
            }
        }
        // Nobody decided how bad it is: bad enough.
        if one.severity.is_none_or(|severity| severity >= terms.threshold) {
            Standing::Fails
        } else {
            Standing::Below
        }
    };
    let mut images = Vec::new();
    for (inventory, found) in found {
        let finding = |found| Finding { standing: standing(&found), found };
        let mut findings: Vec<Finding> = found.matches.into_iter().map(finding).collect();
        let weight = |one: &Finding| one.found.severity.unwrap_or(terms.threshold);
        findings.sort_by_key(|one| std::cmp::Reverse(weight(one)));
        images.push(Scanned {
            tag: inventory.image.tag.clone(),
            manifest: inventory.image.manifest.digest,
            findings,
            covered: found.covered.values().sum(),
            not_covered: found.uncovered,
            unread: inventory.unread.clone(),
        });
    }
    let idle = terms.exceptions.iter().zip(used).filter_map(|(exception, used)| {
        let why = match () {
            () if exception.expires < today => Why::Expired,
            () if !used => Why::Unused,
            () => return None,
        };
        Some(Idle { exception: exception.clone(), why })
    });
    Scan { threshold: terms.threshold, data, images, idle: idle.collect() }
}

fn matches(exception: &Exception, one: &Match) -> bool {
    let package = exception.package.as_ref();
    names(one).contains(exception.id.as_str())
        && package.is_none_or(|name| *name == one.package || one.installed.contains(name))
}

impl Scan {
    /// The vulnerabilities that stop images.
    pub fn failing(&self) -> impl Iterator<Item = &Match> {
        let findings = self.images.iter().flat_map(|image| &image.findings);
        findings.filter(|finding| finding.standing == Standing::Fails).map(|finding| &finding.found)
    }
}

/// What it is called, and where it is.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        f.write_str(&self.id)?;
        if !self.aliases.is_empty() {
            write!(f, " ({})", list(&self.aliases))?;
        }
        write!(f, "  {} {}", self.package, self.version)?;
        let itself = self.installed.len() == 1 && self.installed.contains(&self.package);
        if itself { Ok(()) } else { write!(f, " in {}", list(&self.installed)) }
    }
}

impl Match {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        let fixed: Vec<&str> = self.fixed.iter().map(String::as_str).collect();
        let fixed = fixed.join(" or ");
        let advice = match (self.ecosystem, fixed.is_empty()) {
            (_, true) => "no version is known that mends it: leave the package out, or except it for a while"
                .to_owned(),
            (Ecosystem::Deb | Ecosystem::Apk, _) => {
                format!("mended in {fixed}: lock again (`imgforge recipe lock`) and build")
            }
            (Ecosystem::Cargo | Ecosystem::Golang, _) => {
                format!("mended in {fixed}: build the program again with that version")
            }
            (Ecosystem::Npm | Ecosystem::Pypi, _) => {
                format!("mended in {fixed}: require that version, and build again")
            }
        };
        match self.certainty {
            Certainty::Known => advice,
            Certainty::Unclear => format!("not known whether this version is affected; {advice}"),
        }
    }
}
