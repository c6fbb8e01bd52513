//! `imgforge release`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use imgforge::flow;
use imgforge::flow::build::Demand;
use imgforge::flow::release::{Intended, Keys, Publication};
use imgforge::flow::scan::Gate;
use imgforge::model::name::{ChannelName, Platform, TierName, VariableName, Version};
use imgforge::model::size::Size;
use imgforge::step::progress::{Event, Work};
use imgforge::step::store::{Address, Key};
use serde_json::json;

use super::Context;
use super::export::threads;
use super::publisher::PinnedArgs;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;
use super::workshop::{BuildArgs, RecipeArgs, pair};

/// Build, pack, sign and publish a version, then move the channel to it
///
/// The channel moves last, after everything was read back from the store and verified. Running it
/// again is harmless: what was published stays, and a version never changes its content.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    /// Publish for this platform only. May be repeated [default: all that the project has]
    #[arg(long = "platform", value_name = "OS/ARCH")]
    platforms: Vec<Platform>,
    /// The version, such as 1.4.0
    #[arg(long, value_name = "V")]
    version: Version,
    /// The channel that will point to this version
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: ChannelName,
    /// Where releases live: `s3://BUCKET/PREFIX`, or a folder, such as a mounted disk or a web server's
    /// root [default: `address` below `[store]` in imgforge.toml, else dist/store]
    #[arg(long, value_name = "STORE", env = "IMGFORGE_STORE")]
    store: Option<Address>,
    /// Build and pack, and show what would be published; nothing is written to the store
    #[arg(long)]
    dry_run: bool,
    /// Also publish patches from this version: operators who have it fetch less. May be repeated
    #[arg(long, value_name = "V")]
    patch_from: Vec<Version>,
    /// Folder for the packed archives
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// The private key that seals the channel [default: the same key]
    #[arg(long, value_name = "FILE")]
    channel_key: Option<PathBuf>,
    #[command(flatten)]
    pinned: PinnedArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    /// Replace the default of a build argument
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = pair::<VariableName>)]
    variables: Vec<(VariableName, String)>,
    #[command(flatten)]
    build: BuildArgs,
    /// Publish what `imgforge.lock` does not pin, and nobody can build again
    #[arg(long)]
    allow_unlocked: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let release = self.key.open(context)?;
        let channel = match &self.channel_key {
            Some(file) => self.key.open_at(context, file)?,
            None => self.key.open(context)?,
        };
        let keys = Keys { release, channel };
        let workshop = self.recipes.workshop(context)?;
        let place = context.place(self.store.as_ref())?;
        let public = context.public()?;
        let project = imgforge::step::read::recipes(&workshop.recipes)?.project()?.name;
        let mut tools = self.build.tools(context)?;
        if !self.allow_unlocked {
            tools.demand = Demand::Locked;
        }
        let tiers: BTreeSet<TierName> = self.tiers.into_iter().collect();
        let platforms: BTreeSet<Platform> = self.platforms.into_iter().collect();
        let publication = Publication {
            tiers: tiers.into_iter().collect(),
            platforms: platforms.into_iter().collect(),
            gate: gate(context)?,
            args: self.variables.into_iter().collect(),
            state: context.config.state.clone(),
            pinned: self.pinned.key(context, &project, keys.release.public())?,
            version: self.version,
            channel: self.channel,
            store: context.store(&place)?,
            public: public.as_ref().map(|address| context.store(address)).transpose()?,
            patch_from: self.patch_from,
            cache: context.config.cache.join("archives"),
            folder: self.output,
            threads: threads(),
            now: context.config.now,
        };
        let times = Times::default();
        let hear = |event: Event<'_>| {
            times.note(event);
            context.screen.hear(event);
        };
        if self.dry_run {
            let intended = flow::release::rehearsal(&workshop, &tools, &publication, &keys, &hear).await?;
            show_intended(context, &intended, &place, &publication.channel);
            return Ok(());
        }
        let begun = Instant::now();
        let published = flow::release::release(&workshop, &tools, &publication, &keys, &hear).await?;
        let (release, channel) = (&published.release, &published.channel);
        let mut words = Words::default();
        for archive in &release.archives {
            words.archive(&archive.file, archive);
        }
        if !published.statements.is_empty() {
            words
                .row("stated", "what is in them and what they were built of, each signed beside its archive");
        }
        for patch in &release.patches {
            words.row("patch", format!("{}  {}", patch.file, Size(patch.size)));
        }
        words.release(release).channel(channel).row("store", &place);
        if published.new == 0 {
            words.row("done", "nothing to do: all of this was published before");
        }
        let urls: Vec<_> = release
            .archives
            .iter()
            .map(|archive| {
                let key = Key::file(&release.project, &release.version, &archive.file);
                let url = format!("{}/{key}", public.as_ref().unwrap_or(&place));
                let stated = published.statements.iter().filter(|one| one.archive == archive.file);
                let stated: Vec<_> = stated
                    .map(|one| json!({"file": one.file, "type": one.attestation.predicate_type()}))
                    .collect();
                json!({
                    "file": archive.file, "tier": archive.tier, "platform": archive.image.platform,
                    "digest": archive.digest, "size": archive.size, "url": url, "statements": stated,
                    "seconds": times.of(&archive.file),
                })
            })
            .collect();
        context.screen.result(
            words.text(),
            &json!({
                "release": **release, "channel": **channel, "signer": release.signer(),
                "channel_signer": channel.signer(), "store": place.to_string(), "archives": urls,
                "new": published.new, "seconds": begun.elapsed().as_secs_f64(),
            }),
        );
        Ok(())
    }
}

/// What imgforge.toml says about vulnerabilities, where it names data about them.
fn gate(context: &Context<'_>) -> Result<Option<Gate>, Failure> {
    let settings = context.config.endpoints.configuration()?.scan;
    let gate = Gate {
        threshold: settings.threshold(),
        data: settings.db,
        downloads: context.config.downloads.clone(),
        exceptions: settings.except,
    };
    Ok(Some(gate).filter(|gate| !gate.data.is_empty()))
}

/// How long each piece of work took, by archive.
#[derive(Default)]
struct Times(Mutex<BTreeMap<String, BTreeMap<Work, f64>>>);

impl Times {
    fn note(&self, event: Event<'_>) {
        if let Event::Took { work, file, seconds } = event {
            let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Archives are uploaded twice when another publisher was faster.
            *times.entry(file.to_owned()).or_default().entry(work).or_default() += seconds;
        }
    }

    fn of(&self, file: &str) -> BTreeMap<&'static str, f64> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.get(file).into_iter().flatten();
        times.map(|(work, seconds)| (work.name(), *seconds)).collect()
    }
}

fn show_intended(context: &Context<'_>, intended: &Intended, place: &Address, channel: &ChannelName) {
    let mut words = Words::default();
    for object in &intended.objects {
        let size = indicatif::DecimalBytes(object.size);
        let there = if object.there { "is there" } else { "new" };
        words.row("object", format!("{}  {size}  {there}", object.key));
    }
    let version = &intended.release.version;
    match &intended.before {
        Some(before) => words.row("channel", format!("{channel}  {} -> {version}", before.version)),
        None => words.row("channel", format!("{channel}  new -> {version}")),
    };
    words.row("store", place).row("", "nothing was published: this was a rehearsal");
    let objects: Vec<_> = intended
        .objects
        .iter()
        .map(|object| json!({"key": object.key.as_str(), "size": object.size, "there": object.there}))
        .collect();
    context.screen.result(
        words.text(),
        &json!({
            "dry_run": true, "release": *intended.release, "objects": objects, "store": place.to_string(),
            "channel": {"name": channel, "before": intended.before.as_ref().map(|before| &before.version)},
        }),
    );
}
