//! `imgforge recipe`

use imgforge::flow::build::plan;
use imgforge::model::name::TierName;
use imgforge::model::plan::Ask;
use imgforge::step::read;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::{PlanArgs, RecipeArgs};

/// List, check and render recipes
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the tiers of the project
    List,
    /// Check every recipe, without building
    Check,
    /// Print the Dockerfile that a tier is built with
    Render {
        /// Which image
        tier: TierName,
        #[command(flatten)]
        plan: PlanArgs,
    },
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let folder = self.recipes.folder()?;
        let recipes = read::recipes(&folder)?;
        match self.command {
            Command::List => {
                let mut words = Words::default();
                let mut tiers = Vec::new();
                for (tier, recipe) in recipes.tiers() {
                    words.row(tier.as_str(), recipe.description.as_deref().unwrap_or_default());
                    let (description, extends) = (&recipe.description, &recipe.extends);
                    tiers.push(json!({"tier": tier, "description": description, "extends": extends}));
                }
                let object = json!({"project": recipes.project().name, "tiers": tiers});
                context.screen.result(words.text(), &object);
            }
            Command::Check => {
                let mut words = Words::default();
                for (tier, _) in recipes.tiers() {
                    recipes.plan(tier, &Ask::default())?;
                    words.row(tier.as_str(), "ok");
                }
                let tiers: Vec<_> = recipes.tiers().map(|(tier, _)| tier).collect();
                context.screen.result(words.text(), &json!({"folder": folder, "checked": tiers}));
            }
            Command::Render { tier, plan: args } => {
                let workshop = self.recipes.workshop(context)?;
                context.screen.text(&plan(&workshop, &tier, &args.ask())?.dockerfile);
            }
        }
        Ok(())
    }
}
