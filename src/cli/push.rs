//! `imgforge push`

use imgforge::flow;
use imgforge::model::name::{TierName, Version};
use imgforge::model::plan::Ask;
use imgforge::step::registry::Sent;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;
use super::workshop::RecipeArgs;

/// Push built images to an OCI registry, signed so that `cosign verify --key` accepts them
///
/// The image in the registry has the digest that the archive's has. Beside it go the signature, as bundle
/// and in the older form, and SBOMs as signed attestations. What is there already is not sent again.
/// Credentials are those of `docker login`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images; build them first
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    /// Where to: `HOST/PATH[:TAG]`, in which `{tier}` and `{version}` stand for the image's; without a
    /// tag, it is the version
    #[arg(required = true, value_name = "REF")]
    place: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Push without a signature
    #[arg(long)]
    unsigned: bool,
    #[command(flatten)]
    recipes: RecipeArgs,
    /// Version of the image [default: the project's]
    #[arg(long, value_name = "V")]
    version: Option<Version>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        let key = if self.unsigned { None } else { Some(self.key.open(context)?) };
        let access = context.config.registries()?;
        let ask = Ask { version: self.version, ..Ask::default() };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let pushed =
            flow::push::push(&workshop, &self.tiers, &ask, &self.place, &access, key.as_ref(), &hear).await?;
        let mut words = Words::default();
        let mut objects = Vec::new();
        for one in &pushed {
            let digest = one.image.manifest.digest;
            words.row("pushed", format!("{}  {digest}{}", one.target.text(), said(one.sent)));
            for (kind, sent) in &one.statements {
                words.row("signed", format!("{kind}{}", said(*sent)));
            }
            let statements: Vec<_> = one
                .statements
                .iter()
                .map(|(kind, sent)| json!({"type": kind, "new": *sent == Sent::New}))
                .collect();
            objects.push(json!({
                "reference": one.target.text(), "digest": digest, "pinned": one.target.at(&digest.to_string()),
                "new": one.sent == Sent::New, "statements": statements,
            }));
        }
        if let (Some(_), Some(one)) = (&key, pushed.first()) {
            let reference = one.target.at(&one.image.manifest.digest.to_string());
            words.row("check", format!("cosign verify --key cosign.pub --insecure-ignore-tlog {reference}"));
        }
        let signer = key.map(|key| key.public().fingerprint());
        context.screen.result(words.text(), &json!({"images": objects, "signer": signer}));
        Ok(())
    }
}

fn said(sent: Sent) -> &'static str {
    match sent {
        Sent::New => "",
        Sent::Same => "  was there",
    }
}
