//! What an image must be before anybody gets it.
//!
//! Pure: a [`Charter`] says what is demanded, [`Evidence`] what an image holds, and [`judge`] gives the
//! findings. Some demands need a running container; [`trial`] says what is tried there, [`verdict`] judges
//! what came of it. `docs/policy.md` explains each [`Rule`] to the people who meet it.

pub mod commands;
pub mod elf;
pub mod files;
pub mod libraries;
mod licenses;
pub mod look;
pub mod secrets;
pub mod settings;
pub mod trial;
pub mod verdict;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::elf::{Elf, Malformed};
use self::secrets::Secret;
use self::settings::Settings;
use super::digest::Digest;
use super::hygiene::Wanted;
use super::ignore::Ignore;
use super::listing::Listing;
use super::name::ImageTag;
use super::plan::Plan;
use super::recipe::Recipe;
use super::recipe::proof::Allowance;
use super::recipe::tree::{Node, Place};
use super::sbom::Inventory;
use super::sbom::denied::Pattern;

/// What is demanded. The identifiers are part of recipes (`[policy] allow`) and of `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Services run as somebody else than root, or the recipe names root.
    NonRoot,
    /// A tier with services has a health check.
    HealthCheck,
    /// The health check can be run, and fails where nothing runs.
    HealthProbe,
    /// The labels that the recipe demands.
    Label,
    /// No secrets and no private keys, in any layer.
    Secret,
    /// Nothing that builds programs.
    Compiler,
    /// No set-user-ID, set-group-ID or file capability that the base does not have.
    Setuid,
    /// Every program and library finds the libraries that it needs, in the versions it needs.
    Library,
    /// Every program and script finds its interpreter.
    Interpreter,
    /// What is started exists and may be executed.
    Command,
    /// No package has a licence that imgforge.toml denies.
    License,
    /// The compressed archive stays within the tier's budget.
    Size,
    /// The tests that the recipe declares.
    Test,
    /// Files that would be sent to the builder hold no secrets.
    Context,
    /// Every allowance of the recipe is used.
    Allowance,
}

impl Rule {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::NonRoot,
        Self::HealthCheck,
        Self::HealthProbe,
        Self::Label,
        Self::Secret,
        Self::Compiler,
        Self::Setuid,
        Self::Library,
        Self::Interpreter,
        Self::Command,
        Self::License,
        Self::Size,
        Self::Test,
        Self::Context,
        Self::Allowance,
    ];

    /// Whether a recipe may allow an exception. A budget and a test are the recipe's own: it changes
    /// them instead.
    #[must_use]
    pub fn allowable(self) -> bool {
        !matches!(self, Self::Size | Self::Test | Self::Allowance)
    }

    /// The identifier.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::NonRoot => "non-root",
            Self::HealthCheck => "health-check",
            Self::HealthProbe => "health-probe",
            Self::Label => "label",
            Self::Secret => "secret",
            Self::Compiler => "compiler",
            Self::Setuid => "setuid",
            Self::Library => "library",
            Self::Interpreter => "interpreter",
            Self::Command => "command",
            Self::License => "license",
            Self::Size => "size",
            Self::Test => "test",
            Self::Context => "context",
            Self::Allowance => "allowance",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The image is refused.
    Error,
    /// Worth knowing.
    Warning,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it stops the build.
    pub weight: Weight,
    /// What was demanded.
    pub rule: Rule,
    /// What it is about: a path in the image, a label, a test. An allowance names it.
    pub subject: Option<String>,
    /// Where in the recipe.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
    /// Single things, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.place.file, self.place.line, self.rule, self.reason)
    }
}

/// Everything that an image is judged by. Equal charters judge equal images equally, so its digest
/// says whether an image has to be judged again.
#[derive(Debug, Clone, Serialize)]
pub struct Charter {
    /// The resolved recipe.
    pub settings: Recipe,
    /// How many of the lowest layers are a root filesystem. How many are those of an image that a tier
    /// starts from is known when it is built.
    pub base: usize,
    /// Licences that no image may hold: the project's, and not a tier's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Pattern>,
    /// Where everything is written. Moving a line changes no verdict.
    #[serde(skip)]
    pub tree: Node,
}

/// Raised whenever a rule changes, so that what an older imgforge found is not believed.
const EDITION: u32 = 2;

impl Charter {
    /// Says by which rules an image was judged.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&super::image::json(&(EDITION, env!("CARGO_PKG_VERSION"), self)))
    }

    /// The charter of a tier, in a project that denies some licences.
    #[must_use]
    pub fn of(plan: &Plan, denied: &[Pattern]) -> Self {
        // A root filesystem is one layer. A Dockerfile of the project's own brings an unknown number: all
        // of it is judged as the tier's own.
        let base = plan.rootfs.len();
        Self { settings: plan.settings.clone(), base, denied: denied.to_vec(), tree: plan.tree.clone() }
    }

    /// A finding that refuses the image.
    pub(crate) fn error(
        &self,
        rule: Rule,
        key: &[&str],
        subject: Option<&str>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            weight: Weight::Error,
            rule,
            subject: subject.map(str::to_owned),
            place: self.tree.place_of(key.iter().copied()),
            reason: reason.into(),
            details: Vec::new(),
            fix: fix.into(),
        }
    }

    /// A secret in a file that would be sent to the builder, at the step that would send it.
    #[must_use]
    pub fn leak(&self, plan: &Plan, path: &str, secret: &Secret) -> Finding {
        let named = plan.contexts.iter().find_map(|(folder, at)| {
            let rest = path.strip_prefix(at.as_str())?.strip_prefix('/')?;
            let reads = plan.reads.get(folder)?;
            Wanted::new(reads).ok()?.names(rest).first().map(|read| read.place.clone())
        });
        let finding = self.error(
            Rule::Context,
            &["context"],
            Some(path),
            format!("`{path}`, which would be sent to the builder, {secret}"),
            "move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`",
        );
        Finding { place: named.unwrap_or(finding.place), ..finding }
    }

    /// Takes away what the recipe allows, and complains about allowances that nothing needs. `seen` are
    /// the rules that were looked at: an allowance from another one is not yet unused.
    #[must_use]
    pub fn allow(&self, findings: Vec<Finding>, seen: &[Rule]) -> Vec<Finding> {
        let allowances: &[Allowance] = self.settings.policy.as_ref().map_or(&[], |policy| &policy.allow);
        let mut used = vec![false; allowances.len()];
        let mut left: Vec<Finding> = Vec::new();
        for finding in findings {
            let mut covered = false;
            for (index, allowance) in allowances.iter().enumerate() {
                if covers(allowance, &finding) {
                    (used[index], covered) = (true, true);
                }
            }
            if !covered {
                left.push(finding);
            }
        }
        for (index, allowance) in allowances.iter().enumerate() {
            if !used[index] && seen.contains(&allowance.rule) {
                let what = allowance.path.as_ref().map_or_else(String::new, |path| format!(" for `{path}`"));
                left.push(Finding {
                    weight: Weight::Warning,
                    ..self.error(
                        Rule::Allowance,
                        &["policy", "allow", &index.to_string()],
                        allowance.path.as_deref(),
                        format!("nothing needs the exception from `{}`{what}", allowance.rule),
                        "remove it: it would hide what comes next",
                    )
                });
            }
        }
        left.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.weight, finding.rule, finding.subject.clone());
            key(a).cmp(&key(b))
        });
        left
    }
}

/// An allowance names its subjects in the patterns of `.dockerignore`; a folder covers what is below it.
fn covers(allowance: &Allowance, finding: &Finding) -> bool {
    let named = match (&allowance.path, &finding.subject) {
        (None, _) => true,
        (Some(pattern), Some(subject)) => {
            Ignore::parse(pattern).is_ok_and(|pattern| pattern.excludes(subject.trim_start_matches('/')))
        }
        (Some(_), None) => false,
    };
    allowance.rule == finding.rule && finding.rule.allowable() && named
}

/// What an image holds.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Its configuration.
    pub settings: Settings,
    /// What a container sees.
    pub files: Listing,
    /// The same of the base alone.
    pub base: Listing,
    /// Programs and libraries, by path.
    pub elves: BTreeMap<String, Elf>,
    /// Files that would be executed and begin like programs, and are none.
    pub malformed: Vec<(String, Malformed)>,
    /// First lines of executable scripts, by path, without `#!`.
    pub scripts: BTreeMap<String, String>,
    /// Secrets, by path; a file that a later layer removes is among them.
    pub secrets: Vec<(String, Secret)>,
    /// Contents that the recipe's tests ask for, by path.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Bytes of the compressed archive.
    pub archive: Option<u64>,
    /// Packages, where some licence is denied.
    pub packages: Option<Inventory>,
}

/// An image that must not leave.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy refuses `{tag}`; {outcome}")]
pub struct Refusal {
    /// Which image.
    pub tag: ImageTag,
    /// What did not happen because of it.
    pub outcome: &'static str,
    /// Why, and what else is worth knowing. At least one of them is an error.
    pub findings: Vec<Finding>,
}

/// After what was tried out or looked into.
pub const NOT_LISTED: &str = "the image is neither listed nor loaded";

/// Before anything was built.
pub const NOT_SENT: &str = "nothing was sent to the builder";

impl Refusal {
    /// `Err` where a finding is an error; else the warnings.
    pub fn unless_fine(
        tag: &ImageTag,
        findings: Vec<Finding>,
        outcome: &'static str,
    ) -> Result<Vec<Finding>, Self> {
        if findings.iter().any(|finding| finding.weight == Weight::Error) {
            Err(Self { tag: tag.clone(), outcome, findings })
        } else {
            Ok(findings)
        }
    }
}

/// Rules that [`judge`] looks at.
pub const ON_FILES: [Rule; 9] = [
    Rule::Secret,
    Rule::Compiler,
    Rule::Setuid,
    Rule::Library,
    Rule::Interpreter,
    Rule::Command,
    Rule::License,
    Rule::Size,
    Rule::Test,
];

/// Everything that files and size of an image show.
#[must_use]
pub fn judge(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let mut findings = files::secrets(charter, evidence);
    findings.extend(files::compilers(charter, evidence));
    findings.extend(files::privileges(charter, evidence));
    findings.extend(files::size(charter, evidence));
    findings.extend(libraries::check(charter, evidence));
    findings.extend(commands::check(charter, evidence));
    findings.extend(licenses::check(charter, evidence));
    findings.extend(look::files(charter, evidence));
    charter.allow(findings, &ON_FILES)
}

#[cfg(test)]
impl Charter {
    /// The charter of a recipe in one file.
    pub(crate) fn sample(text: &str) -> Self {
        let tree = super::recipe::parse::tree("t.toml", text).unwrap();
        Self { settings: super::recipe::parse::typed(&tree).unwrap(), base: 1, denied: Vec::new(), tree }
    }
}
