//! `imgforge recipe`

use imgforge::flow::build::Workshop;
use imgforge::flow::check;
use imgforge::model::name::TierName;
use imgforge::model::plan::Ask;
use imgforge::model::recipe::reference;
use imgforge::model::recipe::schema::{self, Subject};
use imgforge::step::read::{self, Recipes};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::{PlanArgs, RecipeArgs};

/// List, check, resolve and render recipes
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
    /// Check every recipe and the files that its steps would send, without building
    Check,
    /// Print a resolved recipe: every value, and the file and line that it comes from
    Show {
        /// Which image
        tier: TierName,
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Print the Dockerfile that a tier is built with
    Render {
        /// Which image
        tier: TierName,
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Pin every file that recipes download, in `imgforge.lock` beside them
    ///
    /// Debian packages, npm packages, wheels and crates are resolved, checked and kept in the content
    /// store. A locked tier is built from these files, and no step has a network.
    Lock(super::lock::Args),
    /// Print the reference of recipes, in Markdown
    Reference,
    /// Print the JSON Schema of recipes, for editors
    Schema {
        /// Of which file
        #[arg(value_enum, default_value_t = File::Recipe)]
        file: File,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum File {
    /// `<tier>.toml`
    Recipe,
    /// `project.toml`
    Project,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let recipes = || -> Result<Recipes, Failure> { Ok(read::recipes(&self.recipes.folder()?)?) };
        match self.command {
            Command::List => list(&recipes()?, context),
            Command::Check => check(&self.recipes.workshop(context)?, context),
            Command::Show { tier, plan } => show(&recipes()?, &tier, &plan.ask(), context),
            Command::Render { tier, plan } => {
                context.screen.text(&recipes()?.plan(&tier, &plan.ask())?.dockerfile);
                Ok(())
            }
            Command::Lock(args) => args.run(&self.recipes.workshop(context)?, context).await,
            Command::Schema { file } => {
                let subject = match file {
                    File::Recipe => Subject::Recipe,
                    File::Project => Subject::Project,
                };
                context.screen.text(&format!("{:#}\n", schema::of(subject)));
                Ok(())
            }
            Command::Reference => {
                context.screen.text(&reference::page());
                Ok(())
            }
        }
    }
}

fn list(recipes: &Recipes, context: &Context<'_>) -> Result<(), Failure> {
    let mut words = Words::default();
    let mut tiers = Vec::new();
    let files = recipes.files();
    for tier in recipes.tiers() {
        let description: Option<String> = files.own(tier, "description");
        words.row(tier.as_str(), description.as_deref().unwrap_or_default());
        let extends: Option<TierName> = files.own(tier, "extends");
        let union: Option<Vec<TierName>> = files.own(tier, "union");
        tiers.push(json!({"tier": tier, "description": description, "extends": extends, "union": union}));
    }
    let object = json!({"project": recipes.project()?.name, "tiers": tiers});
    context.screen.result(words.text(), &object);
    Ok(())
}

fn check(workshop: &Workshop, context: &Context<'_>) -> Result<(), Failure> {
    let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
    let tiers = check::recipes(workshop, &hear)?;
    let mut words = Words::default();
    for tier in &tiers {
        words.row(tier.as_str(), "ok");
    }
    context.screen.result(words.text(), &json!({"checked": tiers}));
    Ok(())
}

fn show(recipes: &Recipes, tier: &TierName, ask: &Ask, context: &Context<'_>) -> Result<(), Failure> {
    let family = recipes.family(tier, ask)?;
    let values = family.tree().leaves();
    let width = values.iter().map(|leaf| leaf.line().chars().count()).filter(|width| *width <= 72).max();
    let lines: Vec<String> = values
        .iter()
        .map(|leaf| format!("{:<width$}  # {}", leaf.line(), leaf.origin(), width = width.unwrap_or(0)))
        .collect();
    context
        .screen
        .result(&lines.join("\n"), &json!({"tier": tier, "values": values, "recipe": family.settings()}));
    Ok(())
}
