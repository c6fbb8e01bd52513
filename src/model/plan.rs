//! A recipe with nothing left to decide.
//!
//! [`Plan::resolve`] is a pure function: the same family, lock and asking give the same plan,
//! whatever machine it is made on. The plan says which files the build reads ([`Plan::contexts`],
//! [`Plan::rootfs`], [`Plan::generated`]) and what is done with them ([`Plan::dockerfile`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::context::File;
use super::lock::pins::{Locking, Material, locking};
use super::name::{ImageTag, Platform, ServiceName, StageName, TierName, VariableName, Version};
use super::recipe::family::{Family, Part};
use super::recipe::parse::{Finding, Findings, nearest};
use super::recipe::tree::{Node, Place};
use super::recipe::{Base, Debian, Probe, Project, Recipe, Step, check};
use super::runtime::config::Config;
use super::time::Timestamp;
use super::words::quoted;
use super::{dockerfile, runtime};

/// Folder of the context that belongs to imgforge; a project's own files cannot stand there.
pub const OWN_FOLDER: &str = ".imgforge";

/// What is asked for beside the recipes.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The version to build; absent: the project's.
    pub version: Option<Version>,
    /// The platform to build for; absent: the project's first.
    pub platform: Option<Platform>,
    /// The environment whose values are laid over the recipes.
    pub environment: Option<StageName>,
    /// Build arguments that replace defaults.
    pub args: BTreeMap<VariableName, String>,
}

/// One image, ready to be built.
#[derive(Debug, Clone, Serialize)]
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
    /// The resolved recipe.
    pub settings: Recipe,
    /// The resolved recipe with the place of every value, for findings.
    #[serde(skip)]
    pub tree: Node,
    /// The multi-stage Dockerfile, whose target is the tier's name.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<VariableName, String>,
    /// Secrets that steps read; the build is refused when one is not given.
    pub secrets: BTreeSet<StageName>,
    /// The image that it starts from, where it does: its layers stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Root filesystems to make, by their path in the context.
    pub rootfs: BTreeMap<String, Debian>,
    /// Folders to send, beside the recipes, and their path in the context. The path comes from the
    /// folder and not from the tier, so that tiers which share a folder share its files.
    pub contexts: BTreeMap<String, String>,
    /// Files that imgforge writes, by their path in the context.
    pub generated: BTreeMap<String, File>,
    /// Empty directories, by their path in the context.
    pub directories: BTreeSet<String>,
    /// What steps read from each context folder, and where the recipe says so; nothing else is sent. A
    /// folder that is the context of a Dockerfile of the project's own is not among them: all that its
    /// `.dockerignore` leaves is sent.
    #[serde(skip)]
    pub reads: BTreeMap<String, Vec<Read>>,
    /// Lock files that package steps demand, by their path in the context, and who demands them.
    #[serde(serialize_with = "paths")]
    pub locks: BTreeMap<String, Place>,
    /// Whether what steps download is pinned.
    pub lock: Locking,
}

/// Something that a step reads from a context folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// A path or a pattern, relative to the folder.
    pub path: String,
    /// Where the recipe says so.
    pub place: Place,
}

impl Read {
    /// The path without what does not matter; empty: the folder itself.
    #[must_use]
    pub fn plain(&self) -> String {
        let parts = self.path.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.collect::<Vec<_>>().join("/")
    }
}

impl Plan {
    /// Decides everything. `own` is the text of the Dockerfile that the family starts from, where it
    /// does; `material` is the lock and what belongs to it.
    pub fn resolve(
        family: &Family,
        own: Option<&str>,
        material: &Material,
        ask: &Ask,
    ) -> Result<Self, Findings> {
        check::family(family)?;
        let project = family.project();
        let settings = family.settings().clone();
        let tier = family.tier().clone();
        let version = ask.version.clone().unwrap_or_else(|| project.version.clone());
        let platform = platform(project, ask)?;
        let mut plan = Self {
            tag: ImageTag::new(&project.name, &tier, &version),
            version: version.clone(),
            lock: locking(family, &platform, material)?,
            platform,
            epoch: Timestamp::UNIX_EPOCH,
            tree: family.tree().clone(),
            dockerfile: String::new(),
            args: args(family, ask)?,
            secrets: BTreeSet::new(),
            image: match &family.generations()[0].recipe.base {
                Some(Base::Image(image)) => Some(image.in_full()),
                _ => None,
            },
            rootfs: BTreeMap::new(),
            contexts: BTreeMap::new(),
            generated: BTreeMap::new(),
            directories: BTreeSet::new(),
            reads: BTreeMap::new(),
            locks: BTreeMap::new(),
            settings,
            tier,
        };
        plan.place_contexts(family)?;
        for generation in family.generations() {
            if let Some(Base::Debian(debian)) = &generation.recipe.base {
                plan.rootfs.insert(rootfs_path(&generation.tier), debian.clone());
            }
            generation.parts.iter().for_each(|part| plan.add(part));
        }
        if let (Some(Base::Dockerfile(dockerfile)), Some(text)) = (&family.generations()[0].recipe.base, own)
        {
            dockerfile::own::check(dockerfile, text, family)?;
        }
        plan.generated.insert(version_path(), File::generated(format!("{version}\n").into_bytes(), false));
        plan.add_runtime()?;
        for (name, volume) in &plan.settings.volumes {
            let directory = volume.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            plan.directories.insert(format!("{}/{directory}", volumes_path(name)));
        }
        if let Locking::Pinned(pins) = &plan.lock {
            plan.generated.extend(pins.generated().clone());
            plan.directories.extend(pins.folders());
        }
        plan.dockerfile = dockerfile::render(family, &plan, own);
        Ok(plan)
    }

    /// The helper and its configuration, where something of the image is run or asked by it.
    fn add_runtime(&mut self) -> Result<(), Finding> {
        let probe = self.settings.health.as_ref().map(|health| &health.probe);
        let key = match (self.settings.services.is_empty(), probe) {
            (false, _) => "services",
            (true, Some(Probe::Http(_) | Probe::Tcp(_))) => "health",
            (true, _) => return Ok(()),
        };
        let helper = runtime::helper(&self.platform)
            .map_err(|(reason, fix)| Finding::at(&self.tree.place_of([key]), reason).fix(fix))?;
        self.generated.insert(helper_path(), File::generated(helper.to_vec(), true));
        if !self.settings.services.is_empty() {
            let json = runtime::json(&Config::of(self.tier.as_str(), &self.settings));
            self.generated.insert(config_path(&self.tier), File::generated(json, false));
        }
        Ok(())
    }

    /// Whether building it runs programs, which only a builder for its platform can.
    #[must_use]
    pub fn runs(&self) -> bool {
        let instruction = |line: &str| line.split_whitespace().next().map(str::to_ascii_uppercase);
        self.dockerfile.lines().any(|line| instruction(line).as_deref() == Some("RUN"))
    }

    /// Where a file of a context folder is in the build's context.
    #[must_use]
    pub fn in_context(&self, folder: &str, path: &str) -> String {
        let path = path.trim_start_matches('/');
        match self.contexts.get(folder).map(String::as_str) {
            Some("") | None => path.to_owned(),
            Some(at) => format!("{at}/{path}"),
        }
    }

    /// Gives each context folder its path. A Dockerfile of the project's own finds its context at the
    /// root, where it expects it.
    fn place_contexts(&mut self, family: &Family) -> Result<(), Finding> {
        let root = &family.generations()[0].recipe;
        let own = matches!(root.base, Some(Base::Dockerfile(_)));
        if own {
            self.contexts.extend(root.context.clone().map(|folder| (folder, String::new())));
        }
        for part in family.generations().iter().flat_map(|generation| &generation.parts) {
            let Some(folder) =
                part.recipe.context.as_ref().filter(|folder| !self.contexts.contains_key(*folder))
            else {
                continue;
            };
            let path = if own { format!("{OWN_FOLDER}/{}", slug(folder)) } else { slug(folder) };
            if let Some((other, _)) = self.contexts.iter().find(|(_, taken)| **taken == path) {
                let reason =
                    format!("the folders `{folder}` and `{other}` cannot both be `{path}` in the build");
                return Err(Finding::at(&part.own.place_of(["context"]), reason).fix("rename one of them"));
            }
            self.contexts.insert(folder.clone(), path);
        }
        Ok(())
    }

    /// Collects what one file reads.
    fn add(&mut self, part: &Part) {
        let folder = part.recipe.context.clone().unwrap_or_default();
        let whole = self.contexts.get(&folder).is_some_and(String::is_empty);
        let own = (vec!["steps".to_owned()], &part.recipe.steps);
        let stages = part.recipe.stages.iter().map(|(name, stage)| {
            (vec!["stages".to_owned(), name.to_string(), "steps".to_owned()], &stage.steps)
        });
        for (key, steps) in stages.chain([own]) {
            for (index, step) in steps.iter().enumerate() {
                let place =
                    part.own.place_of(key.iter().map(String::as_str).chain([index.to_string().as_str()]));
                let mut reads: Vec<String> = step.lock().map(str::to_owned).into_iter().collect();
                match step {
                    Step::Copy(copy) if copy.from.is_none() => reads.extend(copy.paths.iter().cloned()),
                    Step::Run(run) => self.secrets.extend(run.secrets.iter().cloned()),
                    _ => {}
                }
                if let Some(lock) = step.lock() {
                    self.locks.insert(self.in_context(&folder, lock), place.clone());
                }
                if !whole {
                    let reads = reads.into_iter().map(|path| Read { path, place: place.clone() });
                    self.reads.entry(folder.clone()).or_default().extend(reads);
                }
            }
        }
    }
}

fn paths<S: Serializer>(locks: &BTreeMap<String, Place>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(locks.keys())
}

/// The path of a context folder in the build: readable, and the same for every tier.
fn slug(folder: &str) -> String {
    let parts = folder.split('/').filter(|part| !part.is_empty() && *part != ".");
    let words: Vec<&str> = parts.map(|part| if part == ".." { "up" } else { part }).collect();
    if words.is_empty() { "context".to_owned() } else { words.join("-") }
}

/// The platform asked for, which the project has to be built for.
pub fn platform(project: &Project, ask: &Ask) -> Result<Platform, Finding> {
    match (&ask.platform, project.platforms.first()) {
        (Some(asked), _) if project.platforms.contains(asked) => Ok(asked.clone()),
        (Some(asked), _) => {
            let reason = format!("the project is not built for `{asked}`");
            Err(Finding::file("project.toml", reason)
                .fix(format!("`platforms` has {}", quoted(&project.platforms))))
        }
        (None, Some(first)) => Ok(first.clone()),
        (None, None) => Err(Finding::file("project.toml", "`platforms` is empty")
            .fix("write `platforms = [\"linux/amd64\"]`")),
    }
}

fn args(family: &Family, ask: &Ask) -> Result<BTreeMap<VariableName, String>, Finding> {
    let settings = family.settings();
    let mut args = settings.args.clone();
    for (name, value) in &ask.args {
        let Some(slot) = args.get_mut(name) else {
            let known: Vec<&str> = settings.args.keys().map(VariableName::as_str).collect();
            let finding = Finding::at(
                &family.tree().place_of(["args"]),
                format!("build argument `{name}` is not declared under `[args]`"),
            );
            return Err(match nearest(name.as_str(), &known) {
                Some(meant) => finding.fix(format!("write `{meant}`")),
                None if known.is_empty() => finding.fix("this tier declares none"),
                None => finding.fix(format!("this tier declares {}", quoted(known))),
            });
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

/// Where the context holds the helper.
#[must_use]
pub fn helper_path() -> String {
    format!("{OWN_FOLDER}/imgforge-init")
}

/// Where the context holds the helper's configuration: by tier, because tiers are built side by side
/// from one context.
#[must_use]
pub fn config_path(tier: &TierName) -> String {
    format!("{OWN_FOLDER}/{tier}.init.json")
}

/// Where the context holds the version.
#[must_use]
pub fn version_path() -> String {
    format!("{OWN_FOLDER}/VERSION")
}

/// Where the context holds the empty directory that a volume begins as.
#[must_use]
pub fn volumes_path(name: &ServiceName) -> String {
    format!("{OWN_FOLDER}/volumes/{name}")
}
