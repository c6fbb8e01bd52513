//! Licences that a project does not want in an image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::license::known;
use super::{Inventory, Package};

/// Licences by the name that SPDX gives them; `AGPL-*` is all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// In lower case, because people write names in many ways.
    start: String,
    exact: bool,
    written: String,
}

/// A text that names no licence.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no licence: write one as SPDX does, such as `AGPL-3.0-only`, or `AGPL-*`")]
pub struct BadPattern(String);

impl FromStr for Pattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let start = text.strip_suffix('*').unwrap_or(text);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
        if start.is_empty() || !start.chars().all(plain) {
            return Err(BadPattern(text.to_owned()));
        }
        let (start, exact) = (start.to_lowercase(), start.len() == text.len());
        Ok(Self { start, exact, written: text.to_owned() })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What to do about a package with such a licence.
pub const FIX: &str =
    "leave the package out, or the licence out of `deny` below `[licenses]` in imgforge.toml";

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        if self.exact { name == self.start } else { name.starts_with(&self.start) }
    }
}

/// The packages that have a licence which is denied, and by which name. Of `A OR B` one may be chosen, so
/// both must be denied. A name that SPDX does not know is taken word by word, to be on the safe side.
#[must_use]
pub fn denied<'a>(inventory: &'a Inventory, patterns: &[Pattern]) -> Vec<(&'a Package, Vec<&'a str>)> {
    let names = |package: &'a Package| -> Vec<&'a str> {
        package.licenses.iter().map(String::as_str).filter(|name| is_denied(name, patterns)).collect()
    };
    let all = inventory.packages.iter().map(|package| (package, names(package)));
    all.filter(|(_, names)| !names.is_empty()).collect()
}

fn is_denied(name: &str, patterns: &[Pattern]) -> bool {
    let matches = |word: &str| patterns.iter().any(|pattern| pattern.matches(word));
    match known(name).and_then(|text| spdx::Expression::parse(&text).ok()) {
        Some(expression) => !expression.evaluate(|wanted| !matches(&wanted.license.to_string())),
        None => name.split([' ', ',', ';', '/', '(', ')']).any(matches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_chosen_is_not_denied() {
        let patterns = ["AGPL-*", "gpl-3.0-only"].map(|text| text.parse().unwrap());
        let denied = |name: &str| is_denied(name, &patterns);
        assert!(denied("AGPL-3.0-only") && denied("AGPL-3+") && denied("GPL-3"));
        assert!(denied("MIT AND AGPL-3.0-or-later"));
        assert!(!denied("MIT OR AGPL-3.0-or-later"));
        assert!(denied("GPL-3.0-only OR AGPL-1.0-only"));
        assert!(!denied("GPL-3.0-or-later") && !denied("LGPL-3.0-only") && !denied("MIT"));
        assert!(denied("something odd (AGPL-3.0)") && !denied("something odd"));
        for text in ["", "*", "a b", "*GPL"] {
            assert!(text.parse::<Pattern>().is_err(), "{text} was accepted");
        }
    }
}
