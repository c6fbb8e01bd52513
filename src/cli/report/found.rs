//! Failures of commands that looked, and found something.

use imgforge::flow::Error;
use imgforge::model::health;
use imgforge::model::sbom::denied;
use imgforge::model::scan::severity::Severity;
use imgforge::step::advisories::AdvisoriesError;
use imgforge::step::web::WebError;

use super::{Code, Failure};

/// After vulnerabilities.
const BEAR: &str = "mend what can be mended; what must be borne for a while goes below `[[scan.except]]` in imgforge.toml, see docs/scanning.md";

impl Failure {
    /// The faults that a doctor found; the findings say what to type.
    pub(crate) fn unwell(faults: usize) -> Self {
        let word = if faults == 1 { "fault" } else { "faults" };
        Self::new(Code::Found, format!("{faults} {word}"))
            .hint("type what follows each `fix:`, then run `imgforge doctor` again")
    }

    /// Licences that are denied.
    pub(crate) fn denied(packages: usize) -> Self {
        let word = if packages == 1 { "package has" } else { "packages have" };
        Self::new(Code::Policy, format!("{packages} {word} a licence that is denied")).hint(denied::FIX)
    }

    /// Vulnerabilities that stop images.
    pub(crate) fn vulnerable(failing: usize, threshold: Severity) -> Self {
        let words = if failing == 1 { "vulnerability is" } else { "vulnerabilities are" };
        Self::new(
            Code::Policy,
            format!("{failing} {words} of severity {threshold} or worse, or of unknown severity"),
        )
        .hint(BEAR)
    }

    /// No data to compare with.
    pub(crate) fn no_data() -> Self {
        Self::usage(
            "there is no data about vulnerabilities to compare with",
            "name it with `--db FILE|URL`, or as `db` below `[scan]` in imgforge.toml; docs/scanning.md says where to get it",
        )
    }

    /// The same as a finding among others.
    pub(crate) fn finding(self, about: &'static str) -> health::Finding {
        let fix = self.hint.map_or_else(|| "# correct it".to_owned(), |hint| format!("# {hint}"));
        health::Finding::fault(about, [vec![self.message], self.causes].concat().join(": "), fix)
    }
}

pub(super) fn judge(error: &Error) -> (Code, &'static str) {
    match error {
        Error::Vulnerable(_) => (Code::Policy, BEAR),
        Error::Advisories(error) => data(error),
        _ => (Code::Usage, "name the folder of the recipes with `--recipes DIR`"),
    }
}

/// Data about vulnerabilities that cannot be read.
fn data(error: &AdvisoriesError) -> (Code, &'static str) {
    match error {
        AdvisoriesError::Web(WebError::Client(error)) => super::stores::client(error),
        AdvisoriesError::Web(WebError::Silent { .. }) => (Code::Network, "run the same command again"),
        AdvisoriesError::Web(WebError::Refused { .. } | WebError::TooLong { .. }) => {
            (Code::Other, "check the address; docs/scanning.md says where data is published")
        }
        AdvisoriesError::Web(_) | AdvisoriesError::Content(_) => {
            (Code::Other, "check the cache folder and its permissions")
        }
        AdvisoriesError::Plain(_) => (
            Code::Usage,
            "name an address that begins with `https://`: whoever changes the data on its way opens the gate",
        ),
        _ => (
            Code::Usage,
            "download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where",
        ),
    }
}
