//! `imgforge fetch`

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use imgforge::flow;
use imgforge::flow::fetch::{Bond, Fate, Fetched, Order, Tier, Want, Which};
use imgforge::model::channel::Patience;
use imgforge::model::name::{ChannelName, Platform, ProjectName, TierName, Version};
use imgforge::step::load::{Goal, Proof, Retag};
use imgforge::step::pin::Pin;
use imgforge::step::receive::Line;
use imgforge::step::registry::Target;
use imgforge::step::store::Address;
use imgforge::step::{keyring, pin};

use super::report::Failure;
use super::verify::{PatienceArgs, TrustArgs};
use super::{Context, fetched};

/// Download an image, verify every byte, and load it into Docker
///
/// Signatures and bytes are always verified: Docker gets nothing else, and no image before all of it was
/// right. Only what is missing is downloaded: what older versions, other tiers or an interrupted fetch left
/// here is used. With --verify the engine is asked afterwards what it has: image ID, layers and platform
/// must be the signed ones, and a container is created from the image and removed. Nothing is started.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which image: TIER, TIER@VERSION or PROJECT/TIER; or a link to an archive, or a file; or
    /// `oci://HOST/PATH:TAG`, an image of a registry that the project's key signed
    #[arg(value_name = "[PROJECT/]TIER[@VERSION]|URL|FILE")]
    image: Wanted,
    /// Also prove that what Docker has is what was signed
    #[arg(long)]
    verify: bool,
    /// The channel to follow; with @VERSION, the one that is asked whether it was withdrawn [default: stable]
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
    /// Where releases live: `https://..`, a folder or `s3://BUCKET/PREFIX`; several are asked in turn [default:
    /// where the pinned project says]
    #[arg(long, value_name = "STORE")]
    from: Vec<Address>,
    /// A link to the very archive, for a store that cannot be read otherwise
    #[arg(long, value_name = "LINK")]
    url: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    patience: PatienceArgs,
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    #[command(flatten)]
    fate: FateArgs,
    #[command(flatten)]
    line: LineArgs,
}

/// What becomes of the verified archive.
#[derive(clap::Args)]
struct FateArgs {
    /// Let the image take its tag from another one
    #[arg(long, alias = "replace-tag")]
    replace: bool,
    /// Keep the archive in the cache, and do not load it
    #[arg(long, conflicts_with = "verify")]
    no_load: bool,
    /// Write the verified archive to a file, and do not load it
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["verify", "no_load"])]
    output: Option<PathBuf>,
    /// Write the verified image to standard output, for `docker load`, and do not load it
    #[arg(long, conflicts_with_all = ["verify", "no_load", "output", "json"])]
    pipe: bool,
}

/// How the line is used.
#[derive(clap::Args)]
struct LineArgs {
    /// An archive, or a folder of them, that may have parts of this one: nothing of it is trusted
    #[arg(long, value_name = "FILE|DIR")]
    seed: Vec<PathBuf>,
    /// Connections to the store [default: 4, and up to 16 if that is faster]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=16))]
    connections: Option<u8>,
    /// Bytes a second at most, such as 500k or 2M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_rate: Option<NonZeroU64>,
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1_000),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |number| (number, 1_000_000)),
    };
    let rate = number.parse().ok().and_then(|number: u64| NonZeroU64::new(number.checked_mul(unit)?));
    rate.ok_or_else(|| "use bytes a second, such as 500k or 2M".to_owned())
}

/// What a person names.
#[derive(Debug, Clone)]
enum Wanted {
    Image(Image),
    Registry(Target),
    Link(String),
    File(PathBuf),
}

impl FromStr for Wanted {
    type Err = Box<dyn std::error::Error + Send + Sync>;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(reference) = text.strip_prefix("oci://") {
            return Ok(Self::Registry(Target::fetched(reference)?));
        }
        let is_link = text.starts_with("https://") || text.starts_with("http://");
        if is_link {
            return Ok(Self::Link(text.to_owned()));
        }
        let path = Path::new(text);
        // A tier has neither an ending nor a folder with a dot.
        let is_path = path.extension().is_some_and(|ending| ending == "gz") || text.starts_with(['.', '/']);
        if is_path { Ok(Self::File(text.into())) } else { Ok(Self::Image(text.parse()?)) }
    }
}

/// A tier, as far as it is named.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) project: Option<ProjectName>,
    pub(crate) tier: TierName,
    pub(crate) version: Option<Version>,
}

impl FromStr for Image {
    type Err = imgforge::model::name::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (image, version) =
            text.split_once('@').map_or((text, None), |(image, version)| (image, Some(version)));
        let (project, tier) =
            image.split_once('/').map_or((None, image), |(project, tier)| (Some(project), tier));
        Ok(Self {
            project: project.map(str::parse).transpose()?,
            tier: tier.parse()?,
            version: version.map(str::parse).transpose()?,
        })
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        if let Wanted::Registry(target) = &self.image {
            let order = self.pull(target.clone(), context)?;
            return super::pull::run(&order, self.trust.key.as_deref(), context).await;
        }
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let mut link = None;
        let fetched = loop {
            match Box::pin(flow::fetch::fetch(self.order(link.as_deref(), context)?, &hear)).await {
                Err(error) if error.is_denied_link() => match another_link(context) {
                    Some(next) => link = Some(next),
                    None => return Err(error.into()),
                },
                outcome => break outcome?,
            }
        };
        if !self.fate.pipe {
            fetched::show(context, &fetched, &self.again(&fetched));
        }
        Ok(())
    }

    /// An image of a registry. It is whole layers under a tag: nothing says where else it is, what is
    /// current, or what an archive of it would be.
    fn pull(&self, target: Target, context: &Context<'_>) -> Result<flow::pull::Order, Failure> {
        let without = [
            ("--channel", self.channel.is_some()),
            ("--from", !self.from.is_empty()),
            ("--url", self.url.is_some()),
            ("--max-age", self.patience.patience() != Patience::UntilItExpires),
            ("--no-load", self.fate.no_load),
            ("--output", self.fate.output.is_some()),
            ("--pipe", self.fate.pipe),
            ("--seed", !self.line.seed.is_empty()),
            ("--connections", self.line.connections.is_some()),
            ("--limit-rate", self.line.limit_rate.is_some()),
        ];
        if let Some((option, _)) = without.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(
                format!("`{option}` means nothing for an image of a registry"),
                "leave it out; or fetch the archive from the project's store, `imgforge fetch TIER --from STORE`",
            ));
        }
        Ok(flow::pull::Order {
            target,
            access: context.config.registries()?,
            platform: self.platform.clone().map_or_else(this_platform, Ok)?,
            trust: self.trust.trust(context)?,
            cache: context.config.cache.join("registry"),
            built: context.config.cache.join("content"),
            state: context.config.state.clone(),
            engine: context.config.endpoints.engine()?,
            retag: self.fate.retag(),
            proof: self.proof(),
            now: context.config.now,
        })
    }

    fn proof(&self) -> Proof {
        if self.verify { Proof::Proven } else { Proof::Loaded }
    }

    /// What is asked for; `link` takes the place of one that has expired.
    fn order(&self, link: Option<&str>, context: &Context<'_>) -> Result<Order, Failure> {
        Ok(Order {
            want: self.want(link, context)?,
            patience: self.patience.patience(),
            cache: context.config.cache.join("archives"),
            seeds: self.line.seed.clone(),
            line: self.line.line(),
            state: context.config.state.clone(),
            fate: self.fate.fate(self.proof(), context)?,
            now: context.config.now,
        })
    }

    /// The command that proves what was fetched, without what lets people in.
    fn again(&self, fetched: &Fetched) -> String {
        let key = self.trust.key.as_ref().map_or_else(String::new, |key| format!(" --key {}", quoted(key)));
        match &self.image {
            Wanted::Image(image) if key.is_empty() => {
                let (project, tier) = (&fetched.release.project, &image.tier);
                let version =
                    image.version.as_ref().map_or_else(String::new, |version| format!("@{version}"));
                let channel =
                    self.channel.as_ref().map_or_else(String::new, |channel| format!(" --channel {channel}"));
                format!("imgforge fetch --verify {project}/{tier}{version}{channel}")
            }
            _ => format!("imgforge fetch --verify {}{key}", quoted(&fetched.path)),
        }
    }

    fn want(&self, link: Option<&str>, context: &Context<'_>) -> Result<Want, Failure> {
        let image = match &self.image {
            Wanted::Image(image) => image,
            Wanted::Link(url) => {
                let store = context.link(link.unwrap_or(url))?;
                return Ok(Want::Link { store, trust: self.trust.trust(context)? });
            }
            Wanted::File(path) => {
                return Ok(Want::File { path: path.clone(), trust: self.trust.trust(context)? });
            }
            // `run` sends these elsewhere.
            Wanted::Registry(target) => return Err(Failure::usage(target.text(), "fetch it by itself")),
        };
        let (pin, addresses) = self.trust.whose(image, self.from.clone(), context)?;
        let stores = addresses.iter().map(|address| context.store(address)).collect::<Result<_, _>>()?;
        Ok(Want::Tier(Tier {
            project: pin.project,
            tier: image.tier.clone(),
            platform: self.platform.clone().map_or_else(this_platform, Ok)?,
            which: which(image.version.clone(), self.channel.clone()),
            stores,
            link: link.or(self.url.as_deref()).map(|url| context.link(url)).transpose()?,
            pinned: pin.key,
            bond: if self.trust.key.is_some() { Bond::Once } else { Bond::Pinned },
        }))
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A new link, as somebody types it in; none where nobody is there.
fn another_link(context: &Context<'_>) -> Option<String> {
    loop {
        let link = context.screen.ask(
            "The link has expired, or lets nobody in. Paste a new one, and the download goes on; nothing ends it:\n",
        )?;
        match context.link(&link) {
            Ok(_) => return Some(link),
            Err(_) => context.screen.warn("this is no link: copy all of it, from `https://` on"),
        }
    }
}

impl TrustArgs {
    /// The pinned project, or the one that `--key` and `--from` describe for this one fetch; and its stores.
    fn whose(
        &self,
        image: &Image,
        mut from: Vec<Address>,
        context: &Context<'_>,
    ) -> Result<(Pin, Vec<Address>), Failure> {
        let pin = match (&self.key, &image.project) {
            (Some(key), named) => {
                // Without its name, the address has to be the project's own folder.
                let project = match named {
                    Some(project) => Some(project.clone()),
                    None => from.iter().map(Address::split).collect::<Option<Vec<_>>>().and_then(|folders| {
                        let project = folders.first()?.1.clone();
                        from = folders.into_iter().map(|(store, _)| store).collect();
                        Some(project)
                    }),
                };
                let (Some(project), Some(store)) = (project, from.first().cloned()) else {
                    return Err(Failure::usage(
                        "`--key` needs to know the project and the store",
                        "write `imgforge fetch --verify PROJECT/TIER --key cosign.pub --from STORE`, or the project's own folder, `--from STORE/PROJECT`",
                    ));
                };
                Pin { project, key: keyring::public_file(key)?, store }
            }
            (None, Some(project)) => pin::get(&context.config.pins, project)?,
            (None, None) => pin::only(&context.config.pins)?,
        };
        let from = if from.is_empty() { vec![pin.store.clone()] } else { from };
        Ok((pin, from))
    }
}

impl FateArgs {
    fn retag(&self) -> Retag {
        if self.replace { Retag::Allow } else { Retag::Refuse }
    }

    fn fate(&self, proof: Proof, context: &Context<'_>) -> Result<Fate, Failure> {
        if self.pipe {
            return Ok(Fate::Pipe(Box::new(context.screen.bytes_out())));
        }
        if self.no_load || self.output.is_some() {
            return Ok(Fate::Keep(self.output.clone()));
        }
        Ok(Fate::Load(Goal { engine: context.config.endpoints.engine()?, retag: self.retag(), proof }))
    }
}

impl LineArgs {
    fn line(&self) -> Line {
        Line { connections: self.connections.map(usize::from), rate: self.limit_rate }
    }
}

fn which(version: Option<Version>, channel: Option<ChannelName>) -> Which {
    let channel = channel.unwrap_or_else(ChannelName::stable);
    match version {
        Some(version) => Which::Pinned(version, channel),
        None => Which::Channel(channel),
    }
}

pub(crate) fn this_platform() -> Result<Platform, Failure> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
        .parse()
        .map_err(|error| Failure::usage(error, "name a platform with `--platform linux/amd64`"))
}
