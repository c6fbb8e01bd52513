//! Failures of commands that looked, and found something.

use imgforge::model::health;

use super::{Code, Failure};

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
        Self::new(Code::Policy, format!("{packages} {word} a licence that is denied"))
            .hint("leave the package out, or the licence out of `deny` below `[licenses]` in imgforge.toml")
    }

    /// The same as a finding among others.
    pub(crate) fn finding(self, about: &'static str) -> health::Finding {
        let fix = self.hint.map_or_else(|| "# correct it".to_owned(), |hint| format!("# {hint}"));
        health::Finding::fault(about, [vec![self.message], self.causes].concat().join(": "), fix)
    }
}
