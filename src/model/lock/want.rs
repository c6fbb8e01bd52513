//! What the steps of a tier download: the questions that a lock answers.

use std::collections::BTreeMap;

use serde_json::json;

use super::LOCK_FILE;
use crate::model::digest::Digest;
use crate::model::name::{DebianName, Platform, StageName, TierName};
use crate::model::recipe::family::{Family, Generation, Part};
use crate::model::recipe::parse::Finding;
use crate::model::recipe::tree::Place;
use crate::model::recipe::{Base, Debian, Step, check};

/// Bytes of the lock files that steps name, by `<context folder>/<path>`.
pub type Inputs = BTreeMap<String, Vec<u8>>;

/// A step that downloads.
#[derive(Debug, Clone)]
pub struct Want {
    /// Which step.
    pub at: At,
    /// Where it is written.
    pub place: Place,
    /// For people: `oracle: apt curl`.
    pub step: String,
    /// What it asks for.
    pub what: What,
    /// Digest of the question.
    pub of: Digest,
    /// The questions whose Debian packages are installed before this step, first to last.
    pub before: Vec<Digest>,
}

/// Which step: the tier whose file it is in, the stage where it is in one, and its number; the base
/// has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The file.
    pub tier: TierName,
    /// The stage.
    pub stage: Option<StageName>,
    /// Counted from 0.
    pub step: Option<usize>,
}

/// What a step asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A root filesystem.
    Debian(Debian),
    /// More Debian packages. `base` says which suite they come from.
    Apt {
        /// Their names, sorted.
        packages: Vec<DebianName>,
        /// The suite.
        suite: DebianName,
    },
    /// Node packages, by the bytes of `package-lock.json`.
    Npm(Vec<u8>),
    /// Node packages, by the bytes of `pnpm-lock.yaml`.
    Pnpm(Vec<u8>),
    /// Python packages, by the bytes of the requirements.
    Pip(Vec<u8>),
    /// Crates, by the bytes of `Cargo.lock`.
    Cargo(Vec<u8>),
    /// Modules of Go, by the bytes of `go.sum`.
    Go(Vec<u8>),
    /// Nothing that a lock can hold yet, and why.
    Never(String),
}

/// The lock files that steps of a family name, by `<context folder>/<path>`, and who names them.
#[must_use]
pub fn inputs(family: &Family) -> BTreeMap<String, Place> {
    let mut found = BTreeMap::new();
    for part in family.generations().iter().flat_map(|generation| &generation.parts) {
        let stages = part.recipe.stages.iter().flat_map(|(name, stage)| {
            stage.steps.iter().enumerate().map(move |(number, step)| (Some(name), number, step))
        });
        let own = part.recipe.steps.iter().enumerate().map(|(number, step)| (None, number, step));
        for (stage, number, step) in stages.chain(own) {
            if let Some(path) = input(part, step) {
                found.entry(path).or_insert_with(|| place(part, stage, number));
            }
        }
    }
    found
}

fn input(part: &Part, step: &Step) -> Option<String> {
    let folder = part.recipe.context.as_deref().unwrap_or_default();
    step.lock().map(|lock| format!("{}/{lock}", folder.trim_end_matches('/')))
}

fn place(part: &Part, stage: Option<&StageName>, number: usize) -> Place {
    let number = number.to_string();
    match stage {
        Some(stage) => part.own.place_of(["stages", stage.as_str(), "steps", &number]),
        None => part.own.place_of(["steps", &number]),
    }
}

/// All questions of a family, in an order in which each comes after those that it builds on.
pub fn of(family: &Family, platform: &Platform, inputs: &Inputs) -> Result<Vec<Want>, Finding> {
    let mut walk = Walk { platform, inputs, found: Vec::new(), suite: None, after: BTreeMap::new() };
    let mut parent = Vec::new();
    for generation in family.generations() {
        parent = walk.generation(generation, parent)?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    platform: &'a Platform,
    inputs: &'a Inputs,
    found: Vec<Want>,
    suite: Option<DebianName>,
    /// What is installed in a finished tier.
    after: BTreeMap<String, Vec<Digest>>,
}

impl Walk<'_> {
    /// Returns what is installed in the generation's image.
    fn generation(
        &mut self,
        generation: &Generation,
        mut state: Vec<Digest>,
    ) -> Result<Vec<Digest>, Finding> {
        for part in &generation.parts {
            let base = part.own.place_of(["base"]);
            match part.own.get("base").and(part.recipe.base.as_ref()) {
                Some(Base::Debian(debian)) => {
                    self.suite = Some(debian.suite.clone());
                    let at = At { tier: part.tier.clone(), stage: None, step: None };
                    state.push(self.add(at, base, What::Debian(debian.clone()), Vec::new()));
                }
                Some(Base::Dockerfile(own)) => {
                    let at = At { tier: part.tier.clone(), stage: None, step: None };
                    let reason = format!("what `{}` downloads is not known to imgforge", own.path);
                    self.add(at, base, What::Never(reason), Vec::new());
                }
                _ => {}
            }
        }
        // What several members of a union do alike is done once, and so asked once.
        let mut done: Vec<(Option<&str>, &Step, Digest)> = Vec::new();
        for part in &generation.parts {
            self.stages(part)?;
            for (number, step) in part.recipe.steps.iter().enumerate() {
                let at = At { tier: part.tier.clone(), stage: None, step: Some(number) };
                let context = part.recipe.context.as_deref();
                let known = done.iter().find(|(folder, other, _)| *folder == context && *other == step);
                if let Some((.., of)) = known {
                    let same = self.found.iter().find(|want| want.of == *of).cloned();
                    self.found.extend(same.map(|want| Want { at, ..want }));
                } else if let Some(of) = self.step(part, at, place(part, None, number), step, &state)? {
                    done.push((context, step, of));
                    if let Step::Apt(_) = step {
                        state.push(of);
                    }
                }
            }
        }
        self.after.insert(generation.tier.to_string(), state.clone());
        Ok(state)
    }

    fn stages(&mut self, part: &Part) -> Result<(), Finding> {
        let mut after: BTreeMap<&str, Vec<Digest>> = BTreeMap::new();
        for (name, stage) in check::stages(&part.recipe).unwrap_or_default() {
            let from = stage.from.as_str();
            let mut state = after.get(from).or_else(|| self.after.get(from)).cloned().unwrap_or_default();
            for (number, step) in stage.steps.iter().enumerate() {
                let at = At { tier: part.tier.clone(), stage: Some(name.clone()), step: Some(number) };
                let of = self.step(part, at, place(part, Some(name), number), step, &state)?;
                if let (Step::Apt(_), Some(of)) = (step, of) {
                    state.push(of);
                }
            }
            after.insert(name.as_str(), state);
        }
        Ok(())
    }

    fn step(
        &mut self,
        part: &Part,
        at: At,
        place: Place,
        step: &Step,
        state: &[Digest],
    ) -> Result<Option<Digest>, Finding> {
        let bytes = || {
            let path = input(part, step).unwrap_or_default();
            self.inputs.get(&path).cloned().ok_or_else(|| {
                Finding::at(&place, format!("the lock file `{path}` is not there"))
                    .fix("make it, and commit it")
            })
        };
        let never = |reason: &str| What::Never(reason.to_owned());
        let what = match step {
            Step::Copy(_) | Step::Run(_) => return Ok(None),
            Step::Apt(apt) => {
                let mut packages = apt.packages.clone();
                packages.sort();
                packages.dedup();
                match &self.suite {
                    Some(suite) if !state.is_empty() => What::Apt { packages, suite: suite.clone() },
                    _ => never("Debian packages are only pinned above `base.debian`"),
                }
            }
            Step::Npm(_) => What::Npm(bytes()?),
            Step::Pip(_) => What::Pip(bytes()?),
            Step::Cargo(_) => What::Cargo(bytes()?),
            Step::Pnpm(_) => What::Pnpm(bytes()?),
            Step::Go(_) => What::Go(bytes()?),
        };
        Ok(Some(self.add(at, place, what, state.to_vec())))
    }

    fn add(&mut self, at: At, place: Place, what: What, before: Vec<Digest>) -> Digest {
        let of = question(&what, self.platform, &before);
        let step = format!("{}: {}", at.tier, title(&what));
        self.found.push(Want { at, place, step, what, of, before });
        of
    }
}

/// The digest of a question. Only what the answer depends on is in it: the wheel that fits depends
/// on the Python that is installed, a crate on nothing.
fn question(what: &What, platform: &Platform, before: &[Digest]) -> Digest {
    let bytes = |bytes: &[u8]| json!(Digest::of(bytes));
    let asked = match what {
        What::Debian(Debian { suite, packages }) => {
            let mut packages = packages.clone();
            packages.sort();
            json!(["debian", platform, suite, packages])
        }
        What::Apt { packages, suite } => json!(["apt", platform, suite, packages, before]),
        What::Npm(lock) => json!(["npm", platform, bytes(lock)]),
        What::Pnpm(lock) => json!(["pnpm", platform, bytes(lock)]),
        What::Pip(lock) => json!(["pip", platform, bytes(lock), before]),
        What::Cargo(lock) => json!(["cargo", platform, bytes(lock)]),
        What::Go(lock) => json!(["go", platform, bytes(lock)]),
        What::Never(reason) => json!(["never", reason]),
    };
    Digest::of(asked.to_string().as_bytes())
}

fn title(what: &What) -> String {
    let names = |packages: &[DebianName]| {
        let names: Vec<&str> = packages.iter().map(DebianName::as_str).collect();
        match &names[..] {
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{first} {second} {third} and {} more", rest.len())
            }
            _ => names.join(" "),
        }
    };
    match what {
        What::Debian(debian) => format!("Debian {}", debian.suite),
        What::Apt { packages, .. } => format!("apt {}", names(packages)),
        What::Npm(_) => "npm".to_owned(),
        What::Pnpm(_) => "pnpm".to_owned(),
        What::Pip(_) => "pip".to_owned(),
        What::Cargo(_) => "cargo".to_owned(),
        What::Go(_) => "go".to_owned(),
        What::Never(reason) => reason.clone(),
    }
}

/// The finding for a question to which the lock has no answer.
#[must_use]
pub fn drift(want: &Want) -> Finding {
    Finding::at(&want.place, format!("`{LOCK_FILE}` has nothing for `{}` as it is written now", want.step))
        .fix("run `imgforge recipe lock`, look at what changes, and commit the file")
}
