//! A recipe with nothing left to decide.
//!
//! [`Plan::resolve`] is a pure function: the same family and the same asking give the same plan,
//! whatever machine it is made on. The plan says which files the build reads ([`Plan::contexts`],
//! [`Plan::rootfs`], [`Plan::generated`]) and what is done with them ([`Plan::dockerfile`]).

use std::collections::{BTreeMap, BTreeSet};

use super::context::File;
use super::name::{ImageTag, Platform, StageName, TierName, VariableName, Version};
use super::recipe::family::Family;
use super::recipe::parse::Finding;
use super::recipe::{Base, Debian, Recipe, Step, check};
use super::time::Timestamp;
use super::{dockerfile, entrypoint};

/// Folder of the context that belongs to imgforge; a project's own files cannot stand there.
pub const OWN_FOLDER: &str = ".imgforge";

/// What is asked for beside the recipes.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The version to build; absent: the project's.
    pub version: Option<Version>,
    /// Build arguments that replace defaults.
    pub args: BTreeMap<VariableName, String>,
}

/// One image, ready to be built.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of the image.
    pub tag: ImageTag,
    /// Which image.
    pub tier: TierName,
    /// Its version.
    pub version: Version,
    /// The platform it is built for.
    pub platform: Platform,
    /// The latest time that anything in the image carries.
    pub epoch: Timestamp,
    /// The multi-stage Dockerfile, whose target is the tier's name.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<VariableName, String>,
    /// Secrets that steps read; the build is refused when one is not given.
    pub secrets: BTreeSet<StageName>,
    /// Root filesystems to make, by their path in the context.
    pub rootfs: BTreeMap<String, Debian>,
    /// Folders to send, by the tier that reads them; the path in the context is the tier's name.
    pub contexts: BTreeMap<TierName, String>,
    /// Files that imgforge writes, by their path in the context.
    pub generated: BTreeMap<String, File>,
    /// Lock files that package steps demand, by their path in the context.
    pub locks: BTreeSet<String>,
}

impl Plan {
    /// Decides everything.
    pub fn resolve(family: &Family, ask: &Ask) -> Result<Self, Finding> {
        let project = family.project();
        let tier = family.tier().clone();
        let version = ask.version.clone().unwrap_or_else(|| project.version.clone());
        let settings = family.settings();
        check::project(project).map_err(|reason| Finding::file("project.toml", reason))?;
        let mut plan = Self {
            tag: ImageTag::new(&project.name, &tier, &version),
            version: version.clone(),
            platform: project.platform.clone(),
            epoch: Timestamp::UNIX_EPOCH,
            dockerfile: String::new(),
            args: args(&tier, &settings, ask)?,
            secrets: BTreeSet::new(),
            rootfs: BTreeMap::new(),
            contexts: BTreeMap::new(),
            generated: BTreeMap::new(),
            locks: BTreeSet::new(),
            tier,
        };
        let mut above = BTreeSet::new();
        for (tier, recipe) in family.generations() {
            plan.add(tier, recipe, &above)?;
            above.insert(tier);
        }
        plan.generated.insert(version_path(), File::generated(format!("{version}\n").into_bytes(), false));
        if let Some(script) = entrypoint::render(&plan.tier, &settings) {
            plan.generated.insert(entrypoint_path(), File::generated(script.into_bytes(), true));
        }
        plan.dockerfile = dockerfile::render(family, &settings, &plan);
        Ok(plan)
    }

    /// Collects what one generation reads, and refuses what cannot work.
    fn add(&mut self, tier: &TierName, recipe: &Recipe, above: &BTreeSet<&TierName>) -> Result<(), Finding> {
        let finding = |reason: String| Finding::file(&format!("{tier}.toml"), reason);
        check::recipe(recipe).map_err(finding)?;
        if let Some(Base::Debian(debian)) = &recipe.base {
            self.rootfs.insert(rootfs_path(tier), debian.clone());
        }
        if let Some(folder) = &recipe.context {
            self.contexts.insert(tier.clone(), folder.clone());
        }
        for (name, stage) in &recipe.stages {
            if !above.contains(&stage.from) {
                let reason =
                    format!("stage `{name}` starts from `{}`, which `{tier}` does not extend", stage.from);
                return Err(finding(reason));
            }
        }
        for step in recipe.stages.values().flat_map(|stage| &stage.steps).chain(&recipe.steps) {
            match step {
                Step::Npm(npm) => {
                    let lock = npm.lock.trim_start_matches("./");
                    self.locks.insert(format!("{tier}/{lock}"));
                }
                Step::Run(run) => self.secrets.extend(run.secrets.iter().cloned()),
                Step::Copy(_) | Step::Apt(_) => {}
            }
        }
        Ok(())
    }
}

fn args(tier: &TierName, settings: &Recipe, ask: &Ask) -> Result<BTreeMap<VariableName, String>, Finding> {
    let mut args = settings.args.clone();
    for (name, value) in &ask.args {
        let Some(slot) = args.get_mut(name) else {
            let known = settings.args.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            let reason = format!("build argument `{name}` is not declared under `[args]`; declared: {known}");
            return Err(Finding::file(&format!("{tier}.toml"), reason));
        };
        slot.clone_from(value);
    }
    Ok(args)
}

/// Where the context holds a tier's root filesystem.
#[must_use]
pub fn rootfs_path(tier: &TierName) -> String {
    format!("{OWN_FOLDER}/{tier}.rootfs.tar")
}

/// Where the context holds the generated entrypoint.
#[must_use]
pub fn entrypoint_path() -> String {
    format!("{OWN_FOLDER}/entrypoint")
}

/// Where the context holds the version.
#[must_use]
pub fn version_path() -> String {
    format!("{OWN_FOLDER}/VERSION")
}
