//! `imgforge releases`

use std::collections::BTreeSet;

use imgforge::flow;
use imgforge::model::release::{Archive, Release};
use serde_json::json;

use super::Context;
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::words::Words;

/// List what a store has, and which channels lead there
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
}

/// What the archives of a release have, each once.
fn each(release: &Release, what: impl Fn(&Archive) -> String) -> String {
    let found: BTreeSet<String> = release.archives.iter().map(what).collect();
    found.into_iter().collect::<Vec<_>>().join(" ")
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let publisher = self.place.open(context, None).await?;
        let listed = flow::releases::list(&publisher).await?;
        let mut words = Words::default();
        for one in &listed {
            let mut text = match &one.release {
                Some(release) => {
                    let size = release.archives.iter().map(|archive| archive.size).sum();
                    let size = indicatif::DecimalBytes(size);
                    let tiers = each(release, |archive| archive.tier.to_string());
                    let platforms = each(release, |archive| archive.image.platform.to_string());
                    format!("{}  {}  {size}  {tiers}  {platforms}", one.version, release.created)
                }
                None => format!("{}  unfinished: a publication was interrupted; run it again", one.version),
            };
            for channel in &one.channels {
                text = format!("{text}  <- {channel}");
            }
            words.row("release", text);
        }
        if listed.is_empty() {
            words.row("nothing", "the store has no release of this project");
        }
        let object: Vec<_> = listed
            .iter()
            .map(|one| {
                let archives = one.release.as_ref().map(|release| &release.archives);
                json!({
                    "version": one.version, "created": one.release.as_ref().map(|release| release.created),
                    "signer": one.release.as_ref().map(imgforge::model::seal::Verified::signer), "archives": archives,
                    "statements": one.statements, "channels": one.channels, "strays": one.strays,
                })
            })
            .collect();
        context.screen.result(words.text(), &json!({"releases": object}));
        Ok(())
    }
}
