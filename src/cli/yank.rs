//! `imgforge yank`

use imgforge::flow;
use imgforge::model::channel::Yank;
use imgforge::model::name::Version;

use super::Context;
use super::channel::show;
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::sign::KeyArgs;

/// Withdraw a published version: operators refuse it from then on, with exit code 15
///
/// Every channel says so, signed, with the reason. The files stay where they are: what was published
/// never changes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The version to withdraw
    #[arg(value_name = "V")]
    version: Version,
    /// The version to run instead; channels that point to the withdrawn one point there afterwards
    #[arg(long = "to", value_name = "W")]
    instead: Option<Version>,
    /// Why, in one line: operators read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let key = self.key.open(context)?;
        let publisher = self.place.open(context, Some(key.public())).await?;
        let yank = Yank { version: self.version, instead: self.instead, reason: self.reason };
        show(context, &flow::channel::yank(&publisher, &yank, &key).await?);
        Ok(())
    }
}
