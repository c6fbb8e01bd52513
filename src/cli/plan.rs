//! `imgforge plan`

use std::collections::BTreeMap;

use imgforge::flow::build::plan;
use imgforge::model::lock::pins::Locking;
use imgforge::model::name::TierName;
use imgforge::model::plan::Plan;
use imgforge::model::run::Requirements;
use imgforge::model::runtime::config::Config;
use imgforge::model::runtime::longest_stop;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::{PlanArgs, RecipeArgs};

/// Show what a build would do, with nothing left to decide; touches nothing
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        let plans = self
            .tiers
            .iter()
            .map(|tier| plan(&workshop, tier, &self.plan.ask()))
            .collect::<Result<Vec<_>, _>>()?;
        let words: Vec<String> = plans.iter().map(describe).collect();
        context.screen.result(&words.join("\n"), &json!({"plans": plans}));
        Ok(())
    }
}

fn describe(plan: &Plan) -> String {
    let mut words = Words::default();
    words.row("image", format!("{} for {}", plan.tag, plan.platform));
    for debian in plan.rootfs.values() {
        let packages: Vec<&str> =
            debian.packages.iter().map(imgforge::model::name::DebianName::as_str).collect();
        words.row("base", format!("Debian {} with {}", debian.suite, packages.join(", ")));
    }
    for (folder, at) in &plan.contexts {
        words.row("context", format!("{folder}, as `{at}/`"));
    }
    let steps = plan
        .dockerfile
        .lines()
        .filter(|line| ["RUN", "COPY", "ADD"].iter().any(|word| line.starts_with(word)));
    words.row("steps", format!("{}; `imgforge recipe render {}` prints them", steps.count(), plan.tier));
    match &plan.lock {
        Locking::Free(reason) => {
            words.row("lock", format!("none: {reason}"));
        }
        Locking::Pinned(pins) => {
            for pin in pins.iter() {
                let size = indicatif::DecimalBytes(pin.files.iter().map(|item| item.size).sum());
                words.row("lock", format!("{}, {} files, {size}", pin.step, pin.files.len()));
            }
            words.row("network", "none, in every step");
        }
    }
    let joined = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
    let settings = &plan.settings;
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    rows.insert("locks", joined(&mut plan.locks.keys().map(String::as_str)));
    rows.insert("secrets", joined(&mut plan.secrets.iter().map(imgforge::model::name::StageName::as_str)));
    rows.insert(
        "services",
        joined(&mut settings.services.keys().map(imgforge::model::name::ServiceName::as_str)),
    );
    rows.insert("tests", joined(&mut settings.tests.keys().map(imgforge::model::name::StageName::as_str)));
    let ports: Vec<String> =
        settings.ports.iter().map(|(name, port)| format!("{} ({name})", port.number)).collect();
    rows.insert("ports", joined(&mut ports.iter().map(String::as_str)));
    for (name, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        words.row(name, text);
    }
    if !settings.services.is_empty() {
        // Docker kills after 10 seconds where nobody says otherwise.
        let config = Config::of(plan.tier.as_str(), settings);
        let longest = longest_stop(&config.services).div_ceil(1000);
        words.row("stop", format!("within {longest} s: `docker stop --time {longest}`"));
    }
    if let Some(memory) = Requirements::of(settings).and_then(|run| run.memory) {
        words.row("memory", indicatif::BinaryBytes(memory));
    }
    words.text().to_owned()
}
