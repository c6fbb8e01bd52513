//! `imgforge prune`

use imgforge::flow;
use imgforge::flow::releases::Why;
use serde_json::json;

use super::Context;
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::words::Words;

/// Remove releases that nobody needs any more, and what killed publications left
///
/// A release stays when a channel points to it, when it is newer than that, when it is not below the
/// channel's floor, and when it is one of the newest that one could roll back to. Without --delete
/// nothing is removed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Releases to keep below each channel, for rolling back
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// Remove what is listed
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let publisher = self.place.open(context, None).await?;
        let prunable = flow::releases::prunable(&publisher, usize::from(self.keep)).await?;
        if self.delete {
            let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
            flow::releases::prune(&publisher, &prunable, &hear).await?;
        }
        let mut words = Words::default();
        for one in &prunable {
            let why = match one.why {
                Why::Old => "no channel needs it",
                Why::Unfinished => "left by a publication that was interrupted",
            };
            let files = if one.keys.len() == 1 { "file" } else { "files" };
            let name = if self.delete { "removed" } else { "would go" };
            words.row(name, format!("{}  {} {files}, {why}", one.version, one.keys.len()));
        }
        if prunable.is_empty() {
            words.row("nothing", "every release is needed");
        } else if !self.delete {
            words.row("", "nothing was removed; `--delete` does");
        }
        let object: Vec<_> = prunable
            .iter()
            .map(|one| {
                let keys: Vec<_> = one.keys.iter().map(ToString::to_string).collect();
                let why = if one.why == Why::Old { "old" } else { "unfinished" };
                json!({"version": one.version, "why": why, "objects": keys})
            })
            .collect();
        context.screen.result(words.text(), &json!({"deleted": self.delete, "prunable": object}));
        Ok(())
    }
}
