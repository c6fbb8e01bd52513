//! `imgforge build`

use imgforge::flow;
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
/// `unix:///var/run/docker.sock`, or where the `docker` command's context leads). The image lands in the local content store; `imgforge
/// export` makes a file of it.
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
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        let mut tools = self.build.tools(context)?;
        if self.load {
            tools.load = Some(context.config.endpoints.engine()?);
        }
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let mut words = Words::default();
        let mut images = Vec::new();
        for tier in &self.tiers {
            let image = flow::build::build(&workshop, &tools, tier, &self.plan.ask(), &hear).await?;
            let size = indicatif::DecimalBytes(image.layers.iter().map(|layer| layer.size).sum());
            let (tag, id, layers) = (&image.tag, image.config.digest, image.layers.len());
            words.row("image", format!("{tag}  {id}  {layers} layers, {size}"));
            images.push(json!({"tier": tier, "image": image}));
        }
        context.screen.result(words.text(), &json!({"images": images}));
        Ok(())
    }
}
