//! How bad a vulnerability is, from the words and vectors of several databases.

use std::fmt;
use std::str::FromStr;

use cvss::Cvss;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// How bad, in the words of CVSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not bad at all: nothing fails because of it.
    Trivial,
    /// 0.1 to 3.9.
    Low,
    /// 4.0 to 6.9.
    Medium,
    /// 7.0 to 8.9.
    High,
    /// 9.0 and more.
    Critical,
}

/// A text that is no threshold.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is none of `critical`, `high`, `medium` and `low`")]
pub struct NoThreshold(String);

/// As a threshold.
impl FromStr for Severity {
    type Err = NoThreshold;
    fn from_str(text: &str) -> Result<Self, NoThreshold> {
        match text {
            "critical" => Ok(Self::Critical),
            "high" => Ok(Self::High),
            "medium" => Ok(Self::Medium),
            "low" => Ok(Self::Low),
            _ => Err(NoThreshold(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trivial => "trivial",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

impl Severity {
    /// What a CVSS vector of any version comes to; `None` for a text that is none.
    pub(super) fn of_vector(vector: &str) -> Option<Self> {
        let severity = vector.parse::<Cvss>().ok()?.severity();
        Some(match severity {
            cvss::Severity::None => Self::Trivial,
            cvss::Severity::Low => Self::Low,
            cvss::Severity::Medium => Self::Medium,
            cvss::Severity::High => Self::High,
            cvss::Severity::Critical => Self::Critical,
        })
    }

    /// What a database's own word means: GitHub's, Debian's, `RustSec`'s; `None` where it has not decided.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        // Debian's old data has stars after some.
        match word.trim_end_matches('*').to_ascii_lowercase().as_str() {
            "critical" => Some(Self::Critical),
            "high" => Some(Self::High),
            "medium" | "moderate" => Some(Self::Medium),
            // Nobody looks after a crate any more, or its authors want something to be known.
            "low" | "unmaintained" | "notice" => Some(Self::Low),
            "unimportant" | "negligible" => Some(Self::Trivial),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_words_are_understood() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(Severity::Critical)),
            ("CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:L", Some(Severity::Low)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Some(Severity::Critical)),
            ("AV:N/AC:L/Au:N/C:N/I:N/A:C", Some(Severity::High)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", Some(Severity::Trivial)),
            ("9.8", None),
            ("", None),
        ] {
            assert_eq!(Severity::of_vector(vector), expected, "{vector}");
        }
        assert_eq!(Severity::of_word("MODERATE"), Some(Severity::Medium));
        assert_eq!(Severity::of_word("low**"), Some(Severity::Low));
        assert_eq!(Severity::of_word("not yet assigned"), None);
        assert!("trivial".parse::<Severity>().is_err());
    }
}
