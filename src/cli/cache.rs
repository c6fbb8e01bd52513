//! `imgforge cache`

use imgforge::flow;
use imgforge::model::recipe::value::Size as Limit;
use imgforge::model::size::Size;
use imgforge::step::cache::{Cached, State};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Archives that were fetched before
///
/// They are kept because the next version has most of them in it: a fetch takes from here what it can.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what is kept, and how much of the disk it takes
    List,
    /// Remove what nobody needs any more
    ///
    /// The two newest versions of each tier stay, since one rolls back to the older, and so does every version
    /// that a container uses. What interrupted fetches from registries left always goes.
    Clean {
        /// Only as much as brings the cache below this size, such as "10 GB"
        #[arg(long, value_name = "SIZE")]
        max_size: Option<Limit>,
        /// Show what would go
        #[arg(long)]
        dry_run: bool,
    },
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let folder = context.config.cache.join("archives");
        let registry = context.config.cache.join("registry");
        let mut words = Words::default();
        match self.command {
            Command::List => {
                let all = flow::cache::list(&folder)?;
                for cached in &all {
                    words.row(name(cached), line(cached));
                }
                let remains = flow::cache::remains(&registry)?;
                if remains > 0 {
                    words.row("layers", format!("{}{}", Size(remains), REMAINS));
                }
                words.row("total", Size(remains + all.iter().map(|cached| cached.size).sum::<u64>()));
                let said = json!({"archives": objects(&all), "layers": remains});
                context.screen.result(words.text(), &said);
            }
            Command::Clean { max_size, dry_run } => {
                let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
                let engine = context.config.endpoints.engine()?;
                let limit = max_size.map(|size| size.0);
                let goes = flow::cache::needless(&folder, &engine, limit, &hear).await?;
                let remains = if dry_run {
                    flow::cache::remains(&registry)?
                } else {
                    flow::cache::clean(&goes)?;
                    flow::cache::clean_remains(&registry)?
                };
                let done = if dry_run { "would go" } else { "removed" };
                for cached in &goes {
                    words.row(done, line(cached));
                }
                if remains > 0 {
                    words.row(done, format!("{}{}", Size(remains), REMAINS));
                }
                let freed = remains + goes.iter().map(|cached| cached.size).sum::<u64>();
                if goes.is_empty() && remains == 0 {
                    words.row("nothing", "all of it may be needed")
                } else {
                    words.row("total", Size(freed))
                };
                context.screen.result(
                    words.text(),
                    &json!({"removed": !dry_run, "archives": objects(&goes), "layers": remains, "bytes": freed}),
                );
            }
        }
        Ok(())
    }
}

/// What the layers are that lie in the registries' store.
const REMAINS: &str = " of layers, left by an interrupted fetch from a registry";

fn name(cached: &Cached) -> &'static str {
    match cached.state {
        State::Whole => "archive",
        State::Unfinished => "part",
    }
}

fn line(cached: &Cached) -> String {
    format!("{}  {}  {}", cached.held.tag(), cached.held.platform, Size(cached.size))
}

fn objects(all: &[Cached]) -> Vec<serde_json::Value> {
    let object = |cached: &Cached| {
        json!({
            "image": cached.held.tag(), "platform": cached.held.platform, "path": cached.path,
            "bytes": cached.size, "whole": cached.state == State::Whole,
        })
    };
    all.iter().map(object).collect()
}
