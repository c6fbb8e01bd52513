//! `imgforge build`

use imgforge::flow;
use imgforge::flow::build::Demand;
use imgforge::model::name::TierName;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::{BuildArgs, PlanArgs, RecipeArgs};

/// Build images from recipes, through BuildKit
///
/// Uses the builder of `--builder`, else the BuildKit at `BUILDKIT_HOST`, else the builders that
/// `imgforge.toml` names, else the BuildKit inside the Docker Engine at `DOCKER_HOST` (by default
/// `unix:///var/run/docker.sock`, or where the `docker` command's context leads). Several tiers are
/// built side by side. Images land in the local content store; `imgforge export` makes files of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    build: BuildArgs,
    /// Also load the image into the Docker Engine, to try it out
    #[arg(long)]
    load: bool,
    /// Build twice, running every step, and fail where the two images differ
    #[arg(long, conflicts_with = "load")]
    check: bool,
    /// Fail unless everything that is downloaded is pinned in `imgforge.lock`
    #[arg(long)]
    locked: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        let mut tools = self.build.tools(context)?;
        if self.locked {
            tools.demand = Demand::Locked;
        }
        if self.load {
            tools.load = Some(context.config.endpoints.engine()?);
        }
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let ask = self.plan.ask();
        let images = if self.check {
            flow::build::check(&workshop, &tools, &self.tiers, &ask, &hear).await?
        } else {
            flow::build::build(&workshop, &tools, &self.tiers, &ask, &hear).await?
        };
        let mut words = Words::default();
        let mut objects = Vec::new();
        for (tier, image) in self.tiers.iter().zip(images) {
            let size = indicatif::DecimalBytes(image.layers.iter().map(|layer| layer.size).sum());
            let (tag, id, layers) = (&image.tag, image.config.digest, image.layers.len());
            words.row("image", format!("{tag}  {id}  {layers} layers, {size}"));
            objects.push(json!({"tier": tier, "image": image}));
        }
        if self.check {
            words.row("check", "built twice, every step anew: the same bytes");
        }
        context.screen.result(words.text(), &json!({"images": objects}));
        Ok(())
    }
}
