//! Options of the commands that work with recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imgforge::flow::build::{Demand, Tools, Workshop};
use imgforge::model::dockerfile::CA_SECRET;
use imgforge::model::name::{Platform, StageName, VariableName, Version};
use imgforge::model::plan::Ask;
use imgforge::step::bootstrap::Reuse;
use imgforge::step::build::{CacheFrom, CacheTo};

use super::Context;
use super::report::Failure;

/// Where recipes are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RecipeArgs {
    /// Folder with `project.toml` and a file for each tier [default: the only one in `recipes/`]
    #[arg(long, value_name = "DIR", env = "IMGFORGE_RECIPES", global = true)]
    pub(crate) recipes: Option<PathBuf>,
}

/// What is built.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlanArgs {
    /// Version of the image [default: the project's]
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<Version>,
    /// Platform of the image [default: the first of the project's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Lay the values of one of the project's environments over the recipe
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<StageName>,
    /// Replace the default of a build argument
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = pair::<VariableName>)]
    pub(crate) args: Vec<(VariableName, String)>,
}

/// What a build may use.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BuildArgs {
    /// Build there: a name from `imgforge.toml`, or an address such as `tcp://host:1234`,
    /// `ssh://host`, `docker-container://NAME` or `buildx://NAME`
    #[arg(long, value_name = "NAME-OR-URL")]
    builder: Option<String>,
    /// Give a file to the steps that ask for this secret
    #[arg(long = "secret", value_name = "id=ID,src=FILE", value_parser = secret)]
    secrets: Vec<(StageName, PathBuf)>,
    /// Take results of steps from a cache: an image REF, or `type=local,src=DIR`
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<CacheFrom>,
    /// Keep results of steps: `type=local,dest=DIR`, `type=registry,ref=REF` or `type=inline,ref=REF`;
    /// `{tier}` in REF stands for the tier
    #[arg(long, value_name = "CACHE")]
    cache_to: Option<CacheTo>,
    /// Make the Debian base again, with today's updates
    #[arg(long)]
    fresh_base: bool,
}

impl RecipeArgs {
    /// The folder asked for, `recipes/`, or the only project below it.
    pub(crate) fn folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.recipes {
            return Ok(folder.clone());
        }
        let root = Path::new("recipes");
        if root.join("project.toml").is_file() {
            return Ok(root.to_owned());
        }
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.join("project.toml").is_file()).collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Failure::usage(
                "there is no `recipes/project.toml` here",
                "name the folder with `--recipes DIR`",
            )),
            _ => Err(Failure::usage(
                "`recipes/` holds several projects",
                "name one with `--recipes recipes/NAME`",
            )),
        }
    }

    /// A workshop that only reads recipes and the content store.
    pub(crate) fn workshop(&self, context: &Context<'_>) -> Result<Workshop, Failure> {
        Ok(Workshop { recipes: self.folder()?, content: context.config.cache.join("content") })
    }
}

impl BuildArgs {
    /// What a build works with.
    pub(crate) fn tools(&self, context: &Context<'_>) -> Result<Tools, Failure> {
        let mut secrets: BTreeMap<StageName, PathBuf> = self.secrets.iter().cloned().collect();
        if let (Some(bundle), Ok(id)) = (&context.config.downloads.ca_bundle, CA_SECRET.parse()) {
            secrets.entry(id).or_insert_with(|| bundle.clone());
        }
        Ok(Tools {
            builders: context.config.endpoints.builders(self.builder.as_deref())?,
            bases: context.config.cache.join("bases"),
            reuse: if self.fresh_base { Reuse::Never } else { Reuse::Kept },
            secrets,
            cache_from: self.cache_from.clone(),
            cache_to: self.cache_to.clone(),
            threads: super::export::threads(),
            load: None,
            demand: Demand::Any,
            downloads: context.config.downloads.clone(),
            denied: context.config.endpoints.configuration()?.licenses.deny,
        })
    }
}

impl PlanArgs {
    /// What is asked for beside the recipe.
    pub(crate) fn ask(&self) -> Ask {
        Ask {
            version: self.version.clone(),
            platform: self.platform.clone(),
            environment: self.environment.clone(),
            args: self.args.iter().cloned().collect(),
        }
    }
}

pub(crate) fn pair<N: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(N, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.parse().map_err(|error: N::Err| error.to_string())?, value.to_owned()))
}

fn secret(text: &str) -> Result<(StageName, PathBuf), String> {
    let mut id = None;
    let mut source = None;
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("id", value)) => id = Some(value.parse::<StageName>().map_err(|error| error.to_string())?),
            Some(("src" | "source", value)) => source = Some(PathBuf::from(value)),
            _ => return Err("write id=ID,src=FILE".to_owned()),
        }
    }
    let (Some(id), Some(source)) = (id, source) else {
        return Err("write id=ID,src=FILE".to_owned());
    };
    if source.is_file() { Ok((id, source)) } else { Err(format!("there is no file `{}`", source.display())) }
}
