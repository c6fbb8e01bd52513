//! `imgforge diff`

use std::path::PathBuf;

use imgforge::flow::inspect;
use imgforge::model::archive::tree::Change;
use imgforge::model::layer::show;
use serde_json::{Value, json};

use super::Context;
use super::delta::cost;
use super::report::Failure;
use super::words::Words;

/// Compare the files of two archives' images, and say what a fetch of the newer one would cost
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The archive that is here
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The archive that would be fetched
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let (old, new) = (inspect::open(&self.old)?, inspect::open(&self.new)?);
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let changes = inspect::changes(&old, &new, &hear)?;
        let plan = inspect::delta(&[old], &new);
        let mut words = Words::default();
        for (path, change) in &changes {
            words.row(in_words(*change), format!("/{}", show(path)));
        }
        words.row("files", format!("{} differ", changes.len()));
        words.row("fetch", cost(&plan, &new));
        let changes: Vec<Value> = changes
            .iter()
            .map(|(path, change)| json!({"path": format!("/{}", show(path)), "change": in_words(*change)}))
            .collect();
        context.screen.result(
            words.text(),
            &json!({
                "changes": changes, "requests": plan.fetches.len(),
                "fetched": plan.fetched() + new.tail_size(), "size": new.size,
            }),
        );
        Ok(())
    }
}

fn in_words(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
}
