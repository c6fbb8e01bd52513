//! `imgforge recipe lock`

use imgforge::flow::build::Workshop;
use imgforge::flow::lock::{self, Keep, Locking, Write};
use imgforge::model::lock::LOCK_FILE;
use imgforge::model::lock::change::Change;
use imgforge::model::name::TierName;
use serde_json::json;

use super::Context;
use super::report::Failure;

/// Options of `imgforge recipe lock`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images [default: all of the project]
    #[arg(value_name = "TIER")]
    tiers: Vec<TierName>,
    /// Resolve everything again, to what is newest now, and say what changes
    #[arg(long, conflicts_with = "tiers")]
    upgrade: bool,
    /// Write nothing; exit with 4 if the lock would change
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(crate) async fn run(self, workshop: &Workshop, context: &Context<'_>) -> Result<(), Failure> {
        let ask = Locking {
            tiers: self.tiers,
            keep: if self.upgrade { Keep::Nothing } else { Keep::Locked },
            write: if self.check { Write::Nothing } else { Write::Lock },
            downloads: context.config.downloads.clone(),
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let locked = lock::lock(workshop, &ask, &hear).await?;
        let mut lines = describe(&locked.changes);
        let files = locked.lock.files();
        let size = indicatif::DecimalBytes(files.values().map(|item| item.size).sum());
        let state = match (locked.differs, self.check) {
            (false, _) => "is up to date",
            (true, true) => "would change",
            (true, false) => "written",
        };
        lines.push(format!(
            "{LOCK_FILE} {state}: {} steps, {} files, {size}",
            locked.lock.pins.len(),
            files.len()
        ));
        let object = json!({"changes": locked.changes, "differs": locked.differs, "files": files.len()});
        context.screen.result(&lines.join("\n"), &object);
        if self.check && locked.differs { Err(Failure::would_change(LOCK_FILE)) } else { Ok(()) }
    }
}

/// More packages than this that only come or only go are counted, not listed; `--json` has them.
const LISTED: usize = 12;

fn describe(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    for step in changes.chunk_by(|one, next| (&one.step, &one.platform) == (&next.step, &next.platform)) {
        lines.extend(step.first().map(|first| format!("{} ({})", first.step, first.platform)));
        let count = step.len();
        if count > LISTED && step.iter().all(|change| change.old.is_empty()) {
            lines.push(format!("  + {count} packages"));
        } else if count > LISTED && step.iter().all(|change| change.new.is_empty()) {
            lines.push(format!("  - {count} packages"));
        } else {
            lines.extend(step.iter().map(|change| format!("  {change}")));
        }
    }
    lines
}
