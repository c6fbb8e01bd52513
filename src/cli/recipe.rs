//! `imgforge recipe`

use imgforge::flow::build::plan;
use imgforge::model::name::TierName;
use imgforge::model::plan::Ask;
use imgforge::step::read;
use serde_json::json;

use super::Context;
use super::report::Failure;
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
                let tiers: Vec<_> = recipes.tiers().collect();
                let words = tiers.iter().map(|(tier, recipe)| {
                    format!("{tier:<16} {}\n", recipe.description.as_deref().unwrap_or_default())
                });
                let object = tiers.iter().map(|(tier, recipe)| json!({"tier": tier, "description": recipe.description, "extends": recipe.extends}));
                context.screen.result(&words.collect::<String>(), &json!({"project": recipes.project().name, "tiers": object.collect::<Vec<_>>()}));
            }
            Command::Check => {
                let mut words = String::new();
                for (tier, _) in recipes.tiers() {
                    imgforge::model::plan::Plan::resolve(&recipes.family(tier)?, &Ask::default())?;
                    words += &format!("{tier:<16} ok\n");
                }
                let tiers: Vec<_> = recipes.tiers().map(|(tier, _)| tier).collect();
                context.screen.result(&words, &json!({"folder": folder, "checked": tiers}));
            }
            Command::Render { tier, plan: args } => {
                let workshop = self.recipes.workshop(context)?;
                context.screen.text(&plan(&workshop, &tier, &args.ask())?.dockerfile);
            }
        }
        Ok(())
    }
}
