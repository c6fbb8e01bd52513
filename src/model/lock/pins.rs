//! A plan's questions with the lock's answers, and where a build finds the files.

use std::collections::BTreeMap;

use serde::Serialize;

use super::want::{self, At, Inputs, Want, What};
use super::{Item, LOCK_FILE, Lock, Pin, npm, pip, pnpm};
use crate::model::context::File;
use crate::model::digest::Digest;
use crate::model::name::Platform;
use crate::model::plan::OWN_FOLDER;
use crate::model::recipe::family::Family;
use crate::model::recipe::parse::{Finding, Findings};

/// Whether a plan's downloads are pinned.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locking {
    /// No, for this reason: steps download what is newest on the day.
    Free(String),
    /// Yes: no step has a network.
    Pinned(Pins),
}

/// The answers to all questions of a plan.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pins {
    /// Each answer once.
    answers: BTreeMap<Digest, Pin>,
    #[serde(skip)]
    steps: BTreeMap<At, Digest>,
    /// Files that imgforge writes for steps, by their path in the context.
    #[serde(skip)]
    generated: BTreeMap<String, File>,
}

/// What is read beside the recipes.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The lock, where there is one.
    pub lock: Option<Lock>,
    /// The lock files that steps name.
    pub inputs: Inputs,
}

/// Folder of a pin's files in the context: the same for tiers that ask the same.
#[must_use]
pub fn folder(of: &Digest) -> String {
    format!("{OWN_FOLDER}/pins/{}", of.short())
}

/// Where the context holds the lock of an npm step, completed.
#[must_use]
pub fn completed_lock(of: &Digest) -> String {
    format!("{}.lock.json", folder(of))
}

/// Name of the requirements beside their wheels.
pub const REQUIREMENTS: &str = "requirements.txt";

/// Brings questions and answers together. A lock that lacks an answer is drift, and an error.
pub fn locking(family: &Family, platform: &Platform, material: &Material) -> Result<Locking, Findings> {
    let Some(lock) = &material.lock else {
        return Ok(Locking::Free(format!("there is no `{LOCK_FILE}`; `imgforge recipe lock` writes it")));
    };
    let wants = want::of(family, platform, &material.inputs)?;
    let never = wants.iter().find_map(|want| match &want.what {
        What::Never(reason) => Some(format!("{}: {reason}", want.place)),
        _ => None,
    });
    if let Some(reason) = never {
        return Ok(Locking::Free(reason));
    }
    let mut pins = Pins::default();
    let mut findings = Vec::new();
    for want in &wants {
        match lock.pins.get(&want.of) {
            Some(pin) => pins.add(want, pin).map_err(|reason| Finding::at(&want.place, reason))?,
            None => findings.push(want::drift(want)),
        }
    }
    // What builds on a question without an answer has none either: the first is what changed.
    findings.truncate(1);
    Findings::none(findings)?;
    Ok(Locking::Pinned(pins))
}

impl Pins {
    fn add(&mut self, want: &Want, pin: &Pin) -> Result<(), String> {
        self.steps.insert(want.at.clone(), want.of);
        self.answers.insert(want.of, pin.clone());
        match &want.what {
            What::Npm(lock) => {
                self.generated
                    .insert(completed_lock(&want.of), File::generated(npm::completed(lock)?, false));
            }
            What::Pnpm(_) => {
                let path = format!("{}/{}", folder(&want.of), pnpm::SERVER);
                self.generated.insert(path, File::generated(pnpm::server(&pin.files), false));
            }
            What::Pip(lock) => {
                let plain = pip::requirements(lock)?.plain();
                let path = format!("{}/{REQUIREMENTS}", folder(&want.of));
                self.generated.insert(path, File::generated(plain, false));
            }
            _ => {}
        }
        Ok(())
    }

    /// What imgforge writes for steps, by path in the context.
    #[must_use]
    pub fn generated(&self) -> &BTreeMap<String, File> {
        &self.generated
    }

    /// Folders of the context that steps read, even where nothing is in them.
    pub fn folders(&self) -> impl Iterator<Item = String> {
        self.answers.keys().map(folder)
    }

    /// The answers.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.answers.values()
    }

    /// Files that steps read, by their path in the context. Those of a base are not among them: the
    /// base is made outside of the build.
    pub fn files(&self) -> impl Iterator<Item = (String, &Item)> {
        let steps = self.steps.iter().filter(|(at, _)| at.step.is_some());
        let pins = steps.filter_map(|(_, of)| self.answers.get(of));
        pins.flat_map(|pin| {
            let folder = folder(&pin.of);
            let place = |item: &Item| item.path().unwrap_or_else(|| item.file_name());
            pin.files.iter().map(move |item| (format!("{folder}/{}", place(item)), item))
        })
    }
}

impl Locking {
    /// The answer for a step.
    #[must_use]
    pub fn pin(&self, at: &At) -> Option<&Pin> {
        let Self::Pinned(pins) = self else { return None };
        pins.steps.get(at).and_then(|of| pins.answers.get(of))
    }

    /// The Debian packages of the base.
    #[must_use]
    pub fn base(&self) -> Option<&Pin> {
        let Self::Pinned(pins) = self else { return None };
        let base = pins.steps.iter().find(|(at, _)| at.step.is_none());
        base.and_then(|(_, of)| pins.answers.get(of))
    }

    /// Why the downloads are not pinned.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Free(reason) => Some(reason),
            Self::Pinned(_) => None,
        }
    }
}
