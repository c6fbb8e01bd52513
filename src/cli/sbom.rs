//! `imgforge sbom`

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::build::plan;
use imgforge::flow::sbom::{Papers, Vouched};
use imgforge::model::attestation::Topic;
use imgforge::model::name::{TierName, Version};
use imgforge::model::plan::Ask;
use imgforge::model::sbom::denied::{self, Pattern};
use imgforge::model::sbom::{Inventory, changes, cyclonedx, spdx};
use imgforge::step::progress::Event;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::verify::TrustArgs;
use super::words::Words;
use super::workshop::RecipeArgs;

/// List the packages in images: those that were built here, and those in archives
///
/// An archive says itself what is in it. Who vouches for that is said too: a pinned project, or the key of --key.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print what is in an image
    Show {
        /// Which image
        #[arg(value_name = "TIER[@V]|FILE")]
        image: Place,
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
        #[arg(value_name = "TIER[@V]|FILE")]
        image: Place,
        /// A licence as SPDX names it, such as AGPL-3.0-only; `AGPL-*` is all that begin so
        #[arg(long, value_name = "LICENSE")]
        deny: Vec<Pattern>,
    },
    /// Print what changed from one image to another
    Diff {
        /// The image before
        #[arg(value_name = "TIER[@V]|FILE")]
        before: Place,
        /// The image now
        #[arg(value_name = "TIER[@V]|FILE")]
        now: Place,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A line for each package
    Words,
    /// SPDX 2.3
    Spdx,
    // Backticks would be printed.
    #[value(help = "CycloneDX 1.6")]
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

/// An image that was built, or one in an archive.
#[derive(Debug, Clone)]
enum Place {
    Built(Wanted),
    Archive(PathBuf),
}

impl std::str::FromStr for Place {
    type Err = imgforge::model::name::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_file = text.contains('/') || text.ends_with(".tar.gz");
        if is_file { Ok(Self::Archive(text.into())) } else { text.parse().map(Self::Built) }
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let Self { recipes, trust, command } = self;
        let find = |image: Place| Source::open(image, &recipes, &trust, context);
        match command {
            Command::Show { image, format } => show(&find(image)?, format, context)?,
            Command::Licenses { image, mut deny } => {
                deny.extend(context.config.endpoints.configuration()?.licenses.deny);
                licenses(&find(image)?.inventory()?, &deny, context)?;
            }
            Command::Diff { before, now } => {
                diff(&find(before)?.inventory()?, &find(now)?.inventory()?, context);
            }
        }
        Ok(())
    }
}

/// Where a list of packages comes from.
enum Source {
    Built(Inventory),
    Archive(Papers),
}

impl Source {
    fn open(
        image: Place,
        recipes: &RecipeArgs,
        trust: &TrustArgs,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        match image {
            Place::Built(Wanted { tier, version }) => {
                let workshop = recipes.workshop(context)?;
                let plan = plan(&workshop, &tier, &Ask { version, ..Ask::default() })?;
                Ok(Self::Built(flow::sbom::of(&workshop, &plan.tag, &plan.platform)?))
            }
            Place::Archive(file) => {
                let trust = trust.any(context)?;
                let papers = flow::sbom::open(&file, trust.as_ref(), &context.config.state)?;
                if let Vouched::Nobody(why) = &papers.vouched {
                    context
                        .screen
                        .hear(Event::Warning(&format!("nobody vouches for `{}`: {why}", file.display())));
                }
                Ok(Self::Archive(papers))
            }
        }
    }

    fn inventory(&self) -> Result<Inventory, Failure> {
        match self {
            Self::Built(inventory) => Ok(inventory.clone()),
            Self::Archive(papers) => Ok(papers.inventory()?),
        }
    }

    /// A document: an archive's own, byte for byte.
    fn document(&self, topic: Topic) -> Result<String, Failure> {
        match self {
            Self::Built(inventory) if topic == Topic::Spdx => {
                Ok(format!("{:#}\n", spdx::document(inventory)))
            }
            Self::Built(inventory) => Ok(format!("{:#}\n", cyclonedx::document(inventory))),
            Self::Archive(papers) => Ok(String::from_utf8_lossy(&papers.read(topic)?).into_owned()),
        }
    }
}

fn show(source: &Source, format: Format, context: &Context<'_>) -> Result<(), Failure> {
    match format {
        Format::Spdx => context.screen.text(&source.document(Topic::Spdx)?),
        Format::Cyclonedx => context.screen.text(&source.document(Topic::Cyclonedx)?),
        Format::Words => {
            let inventory = source.inventory()?;
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
            let mut object = json!(inventory);
            if let Source::Archive(papers) = source {
                object["signer"] = match &papers.vouched {
                    Vouched::By { project, version, signer } => {
                        words.row("signed", format!("release {version} of `{project}`, by {signer}"));
                        json!(signer)
                    }
                    Vouched::Nobody(_) => {
                        words.row("unsigned", "by nobody that this machine trusts");
                        json!(null)
                    }
                };
            }
            context.screen.result(words.text(), &object);
        }
    }
    Ok(())
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
