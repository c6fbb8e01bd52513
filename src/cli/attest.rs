//! `imgforge attest`

use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::build::Demand;
use imgforge::model::name::TierName;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;
use super::workshop::{BuildArgs, PlanArgs, RecipeArgs};

/// State what images are, signed: SBOMs, and where they come from (SLSA provenance)
///
/// Writes three Sigstore bundles for each image, which `cosign verify-blob-attestation` accepts. They name
/// the image, and its archive when that lies in the same folder. A small tar beside them, unpacked over the
/// unpacked archive, is what `cosign verify --local-image` looks for. The image is built first, which does
/// nothing when it is there. The same image, recipe and files always give the same statements.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    /// Folder to write to, and where the archives are
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    build: BuildArgs,
    /// Fail unless everything that is downloaded is pinned in `imgforge.lock`
    #[arg(long)]
    locked: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let key = self.key.open(context)?;
        let workshop = self.recipes.workshop(context)?;
        let mut tools = self.build.tools(context)?;
        if self.locked {
            tools.demand = Demand::Locked;
        }
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let ask = self.plan.ask();
        let attested =
            flow::attest::attest(&workshop, &tools, &self.tiers, &ask, &self.output, &key, &hear).await?;
        let mut words = Words::default();
        let mut objects = Vec::new();
        for one in &attested {
            words.row("image", format!("{}  {}", one.image.tag, one.image.manifest.digest));
            match &one.archive {
                Some(archive) => words.row("archive", format!("{archive}  named too")),
                None => words.row("archive", "not here, so the statements name only the image"),
            };
            for (path, kind) in &one.files {
                words.row("wrote", format!("{}  {kind}", path.display()));
            }
            let files: Vec<_> =
                one.files.iter().map(|(path, kind)| json!({"path": path, "type": kind})).collect();
            objects.push(json!({"image": one.image, "archive": one.archive, "files": files}));
        }
        context
            .screen
            .result(words.text(), &json!({"images": objects, "signer": key.public().fingerprint()}));
        Ok(())
    }
}
