//! Options of the commands that read and move channels: whose they are, and where.

use std::path::{Path, PathBuf};

use imgforge::flow::pointer::{Place, Publisher};
use imgforge::model::key::PublicKey;
use imgforge::model::name::ProjectName;
use imgforge::step::pin::{self, Pin, PinError};
use imgforge::step::store::Address;
use imgforge::step::{keyring, read};

use super::Context;
use super::report::Failure;
use super::workshop::RecipeArgs;

/// The key that operators pinned.
#[derive(clap::Args)]
pub(crate) struct PinnedArgs {
    /// The public key that operators pinned first, if keys were rotated since [default: the one pinned
    /// on this machine, else the signing key's own]
    #[arg(long, value_name = "FILE")]
    pinned: Option<PathBuf>,
}

impl PinnedArgs {
    /// The key that is named, pinned here, or at hand.
    pub(crate) fn key(
        &self,
        context: &Context<'_>,
        project: &ProjectName,
        own: &PublicKey,
    ) -> Result<PublicKey, Failure> {
        if let Some(file) = &self.pinned {
            return Ok(keyring::public_file(file)?);
        }
        Ok(here(context, project)?.map_or_else(|| own.clone(), |pin| pin.key))
    }
}

/// Whose channels, and where.
#[derive(clap::Args)]
pub(crate) struct PlaceArgs {
    /// The project [default: that of the recipes, else the only one pinned here]
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// Where releases live [default: where the project pinned here says, else as `imgforge release`]
    #[arg(long, value_name = "STORE", env = "IMGFORGE_STORE")]
    store: Option<Address>,
    #[command(flatten)]
    pinned: PinnedArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
}

/// Where `imgforge keys generate` puts the public key.
const PUBLIC_KEY: &str = "keys/cosign.pub";

impl PlaceArgs {
    /// Reads whom operators trust. `own` is the public half of the key that will sign.
    pub(crate) async fn open(
        &self,
        context: &Context<'_>,
        own: Option<&PublicKey>,
    ) -> Result<Publisher, Failure> {
        let project = self.project(context)?;
        let pin = here(context, &project)?;
        let own = match (own, &pin) {
            (Some(own), _) => own.clone(),
            (None, Some(pin)) => pin.key.clone(),
            (None, None) => keyring::public_file(Path::new(PUBLIC_KEY))?,
        };
        let pinned = self.pinned.key(context, &project, &own)?;
        let store = match (&self.store, pin) {
            (Some(store), _) => store.clone(),
            (None, Some(pin)) => pin.store,
            (None, None) => context.place(None)?,
        };
        let store = context.store(&store)?;
        let (state, now) = (context.config.state.clone(), context.config.now);
        Ok(Publisher::open(&Place { project, store, pinned, state, now }).await?)
    }

    fn project(&self, context: &Context<'_>) -> Result<ProjectName, Failure> {
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        match self.recipes.folder() {
            Ok(folder) => Ok(read::recipes(&folder)?.project()?.name),
            Err(_) => match pin::only(&context.config.pins) {
                Ok(pin) => Ok(pin.project),
                Err(PinError::Nobody) => Err(Failure::usage(
                    "there are no recipes here that name the project",
                    "name it with `--project NAME`",
                )),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn here(context: &Context<'_>, project: &ProjectName) -> Result<Option<Pin>, Failure> {
    match pin::get(&context.config.pins, project) {
        Ok(pin) => Ok(Some(pin)),
        Err(PinError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
