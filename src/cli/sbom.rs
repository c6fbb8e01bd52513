//! `imgforge sbom`

use std::collections::BTreeMap;

use imgforge::flow;
use imgforge::flow::build::{Workshop, plan};
use imgforge::model::name::{TierName, Version};
use imgforge::model::plan::Ask;
use imgforge::model::sbom::denied::{self, Pattern};
use imgforge::model::sbom::{Inventory, changes, cyclonedx, spdx};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::RecipeArgs;

/// List the packages in images that were built
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print what is in an image
    Show {
        /// Which image
        #[arg(value_name = "TIER[@V]")]
        image: Wanted,
        /// In which form
        #[arg(long, value_enum, default_value_t = Format::Words)]
        format: Format,
    },
    /// Print the licences in an image, and refuse those that are denied
    ///
    /// Denied are those of `--deny` and of `deny` below `[licenses]` in imgforge.toml. Ends with code 3 when
    /// a package has one.
    Licenses {
        /// Which image
        #[arg(value_name = "TIER[@V]")]
        image: Wanted,
        /// A licence as SPDX names it, such as AGPL-3.0-only; `AGPL-*` is all that begin so
        #[arg(long, value_name = "LICENSE")]
        deny: Vec<Pattern>,
    },
    /// Print what changed from one image to another
    Diff {
        /// The image before
        #[arg(value_name = "TIER[@V]")]
        before: Wanted,
        /// The image now
        #[arg(value_name = "TIER[@V]")]
        now: Wanted,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A line for each package
    Words,
    /// SPDX 2.3
    Spdx,
    /// `CycloneDX` 1.6
    Cyclonedx,
}

/// A tier, and a version unless it is the project's.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tier: TierName,
    pub(crate) version: Option<Version>,
}

impl std::str::FromStr for Wanted {
    type Err = imgforge::model::name::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tier, version) =
            text.split_once('@').map_or((text, None), |(tier, version)| (tier, Some(version)));
        Ok(Self { tier: tier.parse()?, version: version.map(str::parse).transpose()? })
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        match self.command {
            Command::Show { image, format } => show(&inventory(&workshop, image)?, format, context),
            Command::Licenses { image, mut deny } => {
                deny.extend(context.config.endpoints.configuration()?.licenses.deny);
                licenses(&inventory(&workshop, image)?, &deny, context)?;
            }
            Command::Diff { before, now } => {
                diff(&inventory(&workshop, before)?, &inventory(&workshop, now)?, context);
            }
        }
        Ok(())
    }
}

fn inventory(workshop: &Workshop, wanted: Wanted) -> Result<Inventory, Failure> {
    let plan = plan(workshop, &wanted.tier, &Ask { version: wanted.version, ..Ask::default() })?;
    Ok(flow::sbom::of(workshop, &plan.tag, &plan.platform)?)
}

fn show(inventory: &Inventory, format: Format, context: &Context<'_>) {
    match format {
        Format::Spdx => context.screen.text(&format!("{:#}\n", spdx::document(inventory))),
        Format::Cyclonedx => context.screen.text(&format!("{:#}\n", cyclonedx::document(inventory))),
        Format::Words => {
            let mut words = Words::default();
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for package in &inventory.packages {
                let ecosystem = json!(package.ecosystem).as_str().unwrap_or_default().to_owned();
                let licenses: Vec<&str> = package.licenses.iter().map(String::as_str).collect();
                let line = format!("{} {}  {}", package.name, package.version, licenses.join(", "));
                words.row(&ecosystem, line.trim_end());
                *counts.entry(ecosystem).or_default() += 1;
            }
            let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            words.row("total", counts.join(", "));
            for unread in &inventory.unread {
                words.row("unread", format!("/{}: {}", unread.path, unread.reason));
            }
            context.screen.result(words.text(), &json!(inventory));
        }
    }
}

fn licenses(inventory: &Inventory, deny: &[Pattern], context: &Context<'_>) -> Result<(), Failure> {
    let mut words = Words::default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in inventory.packages.iter().flat_map(|package| &package.licenses) {
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in &counts {
        words.row(&count.to_string(), name);
    }
    let silent = inventory.packages.iter().filter(|package| package.licenses.is_empty()).count();
    words.row(&silent.to_string(), "(names none that a program can read)");
    let found = denied::denied(inventory, deny);
    for (package, names) in &found {
        words.row("DENIED", format!("{} {}  {}", package.name, package.version, names.join(", ")));
    }
    let denied: Vec<_> = found
        .iter()
        .map(|(package, names)| json!({"name": package.name, "version": package.version, "licenses": names}))
        .collect();
    if denied.is_empty() {
        context.screen.result(words.text(), &json!({"licenses": counts, "silent": silent, "denied": denied}));
        return Ok(());
    }
    context.screen.words(words.text());
    Err(Failure::denied(denied.len()).with_checks(json!(denied)))
}

fn diff(before: &Inventory, now: &Inventory, context: &Context<'_>) {
    let changes = changes::between(before, now);
    let mut words = Words::default();
    for change in &changes {
        let list = |versions: &std::collections::BTreeSet<String>| {
            versions.iter().cloned().collect::<Vec<_>>().join(", ")
        };
        let (old, new) = (list(&change.before), list(&change.now));
        match (old.is_empty(), new.is_empty()) {
            (true, _) => words.row("added", format!("{} {new}", change.name)),
            (_, true) => words.row("removed", format!("{} {old}", change.name)),
            _ => words.row("changed", format!("{} {old} -> {new}", change.name)),
        };
    }
    if changes.is_empty() {
        words.row("equal", "the same packages in the same versions");
    }
    context.screen.result(words.text(), &json!({"changes": changes}));
}
