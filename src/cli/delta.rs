//! `imgforge delta`

use std::path::PathBuf;

use imgforge::flow::inspect::{self, Opened};
use imgforge::model::archive::delta::Plan;
use indicatif::DecimalBytes;
use serde_json::{Value, json};

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Show which bytes of an archive a machine lacks that has others: older versions, other tiers
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Archives that are here, then the one that would be fetched
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Rebuild the last archive here from the others and the missing bytes
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(mut self, context: &Context<'_>) -> Result<(), Failure> {
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let new = inspect::open(&self.files.pop().unwrap_or_default())?;
        let old: Vec<Opened> = self.files.iter().map(|file| inspect::open(file)).collect::<Result<_, _>>()?;
        let plan = inspect::delta(&old, &new);
        let mut words = Words::default();
        for fetch in &plan.fetches {
            let (from, size) = (fetch.bytes.start, fetch.bytes.end - fetch.bytes.start);
            words.row("range", format!("{} at {from}", DecimalBytes(size)));
        }
        words.row("tail", format!("{} with index and seal", DecimalBytes(new.tail_size())));
        for (number, file) in self.files.iter().enumerate() {
            let from = plan.found.iter().filter(|found| found.source == number);
            let bytes: u64 = from.map(|found| u64::from(new.index.members()[found.member].packed)).sum();
            words.row("copy", format!("{} from {}", DecimalBytes(bytes), file.display()));
        }
        words.row("fetch", cost(&plan, &new));
        if let Some(output) = &self.output {
            inspect::rebuild(&old, &new, &plan, output, &hear)?;
            words.row("rebuilt", output.display());
        }
        let ranges: Vec<Value> = plan
            .fetches
            .iter()
            .map(|fetch| json!({"start": fetch.bytes.start, "end": fetch.bytes.end}))
            .collect();
        context.screen.result(
            words.text(),
            &json!({
                "ranges": ranges, "tail": new.tail_size(), "fetched": plan.fetched() + new.tail_size(),
                "kept": plan.kept(&new.index), "size": new.size, "rebuilt": self.output,
            }),
        );
        Ok(())
    }
}

/// Bytes to fetch, of how many, in how many requests.
pub(super) fn cost(plan: &Plan, new: &Opened) -> String {
    let bytes = plan.fetched() + new.tail_size();
    let percent = percent(bytes, new.size);
    let requests = plan.fetches.len() + 1;
    let plural = if requests == 1 { "" } else { "s" };
    format!("{} of {} ({percent}) in {requests} request{plural}", DecimalBytes(bytes), DecimalBytes(new.size))
}

fn percent(part: u64, whole: u64) -> String {
    let hundredths = part.saturating_mul(10_000) / whole.max(1);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}
