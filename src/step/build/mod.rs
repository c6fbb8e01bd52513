//! Builds a plan through BuildKit, over our own small gRPC client.
//!
//! BuildKit needs one byte stream that speaks gRPC ([`transport`]); the session through which it
//! reads our files and secrets ([`session`], [`files`], [`folders`]) and writes blobs ([`blobs`]) runs inside that
//! stream. A [`site`] is one such connection, on which all tiers of a command are built. [`solve`] asks
//! for an image through the [`gateway`] and listens. [`import`] takes what comes out into the content
//! store. No `docker` command and no buildx is needed.

mod ahead;
mod aside;
mod asking;
mod blobs;
mod cache;
mod capabilities;
mod chain;
mod container;
mod differ;
mod files;
mod folders;
mod gateway;
mod import;
mod names;
mod reader;
mod running;
mod session;
mod site;
mod solve;
mod status;
mod stock;
mod survey;
pub mod transport;
mod trial;
mod wanted;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use aside::Aside;
pub use cache::{CacheFrom, CacheTo};
pub use import::ImportError;
pub use site::build;
pub use solve::Failure;
pub use survey::survey;
pub use transport::Builder;

use crate::model::builder::{Offer, Offers};
use crate::model::context::Tree;
use crate::model::digest::Digest;
use crate::model::image::{Image, Raw};
use crate::model::layer;
use crate::model::name::{Platform, StageName};
use crate::model::plan::Plan;
use crate::model::policy::{Finding, Refusal};
use crate::step::content::Pending;

/// What a build gives.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: Given,
    /// For when it is good.
    pub mark: Pending,
    /// What was noticed while it was tried out.
    pub warnings: Vec<Finding>,
}

/// How far an image is.
#[derive(Debug)]
pub enum Given {
    /// The very image that the content store lists already, and that was judged by the same charter.
    Known(Image),
    /// In normal form, and nobody judged its files yet.
    Read(Image),
    /// It must be brought into normal form first.
    New(Raw),
}

/// What a build reads besides the plan.
pub struct Inputs {
    /// Files of the context, for each plan.
    pub contexts: Vec<Tree>,
    /// Files that hold secrets, by the name under which steps ask for them.
    pub secrets: BTreeMap<StageName, PathBuf>,
    /// Whether steps that ran before run again.
    pub steps: Steps,
    /// Where results of steps come from.
    pub cache_from: Vec<CacheFrom>,
    /// Where results of steps go.
    pub cache_to: Option<CacheTo>,
}

/// Whether steps that ran before run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// Only where something changed that they read.
    Cached,
    /// All of them.
    Again,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nobody answers, or not in gRPC.
    #[error("no BuildKit answers at `{address}`")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Builders answer, but not for this platform.
    #[error("no builder builds for {platform}: {}", Offers(.offers))]
    NoBuilder {
        /// What was asked for.
        platform: Platform,
        /// Who can do what instead.
        offers: Vec<Offer>,
    },
    /// A builder that would ignore a request, or answer it with something else.
    #[error("BuildKit ({version}) at `{builder}` {what}")]
    Lacks {
        /// Which builder.
        builder: String,
        /// Its version.
        version: String,
        /// What it does not do.
        what: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A secret that a step demands was not given.
    #[error("the build needs the secret `{0}`")]
    NoSecret(StageName),
    /// Several tiers, and one image for their caches.
    #[error("the tiers would overwrite each other's cache")]
    OneCache,
    /// Several platforms, whose caches would have one name.
    #[error("the platforms would overwrite each other's cache")]
    OnePlatform,
    /// A step failed.
    #[error("{0}")]
    Step(Failure),
    /// A demand of the policy that the image does not meet.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// BuildKit refused, outside of any step.
    #[error("BuildKit could not build `{tag}`: {message}")]
    Refused {
        /// Which image.
        tag: String,
        /// Its answer.
        message: String,
        /// The line of the rendered Dockerfile that it means, where it says which.
        line: Option<u32>,
    },
    /// The result cannot be taken over.
    #[error("the image that was built cannot be taken into the content store")]
    Import(#[from] ImportError),
    /// The Docker Engine that built it.
    #[error(transparent)]
    Engine(#[from] super::engine::EngineError),
}

impl Inputs {
    /// Fails before anything runs when a secret is missing, or tiers would overwrite each other.
    fn check(&self, plans: &[Plan]) -> Result<(), BuildError> {
        let mut secrets = plans.iter().flat_map(|plan| &plan.secrets);
        if let Some(id) = secrets.find(|id| !self.secrets.contains_key(*id)) {
            return Err(BuildError::NoSecret(id.clone()));
        }
        match &self.cache_to {
            Some(_) if plans.iter().any(|plan| plan.platform != plans[0].platform) => {
                Err(BuildError::OnePlatform)
            }
            Some(to) if plans.len() > 1 && to.collides() => Err(BuildError::OneCache),
            _ => Ok(()),
        }
    }
}

/// What decides whether the same image is to be expected of a plan: the plan, every file, the builder, of which
/// each has its own results of steps, and the form of layers. Secrets do not count, for the builder either.
fn digest(plan: &Plan, context: &Tree, builder: &str) -> Digest {
    let args: Vec<String> = plan.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parts = [
        context.digest().to_string(),
        plan.platform.to_string(),
        args.join("\0"),
        plan.dockerfile.clone(),
        builder.to_owned(),
        layer::FORM.to_string(),
    ];
    Digest::of(parts.join("\0").as_bytes())
}
