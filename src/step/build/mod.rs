//! Builds a plan through BuildKit, over our own small gRPC client.
//!
//! BuildKit needs one byte stream that speaks gRPC ([`transport`]); the session through which it
//! reads our files and secrets ([`session`], [`files`]) runs inside that stream. [`solve`] asks for
//! the image through the [`gateway`] and listens. [`import`] takes what comes out into the content
//! store. No `docker` command and no buildx is needed.

mod capabilities;
mod files;
mod gateway;
mod import;
mod session;
mod solve;
mod status;
pub mod transport;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use import::ImportError;
pub use solve::{Failure, build};
pub use transport::Builder;

use crate::model::builder::{Offer, Offers};
use crate::model::context::Tree;
use crate::model::image::{Image, Raw};
use crate::model::name::{Platform, StageName};
use crate::model::plan::Plan;

/// What a build gives.
#[derive(Debug)]
pub enum Built {
    /// The very image that the content store lists already, in normal form.
    Known(Image),
    /// An image that must be brought into normal form.
    New(Raw),
}

/// What a build reads besides the plan.
pub struct Inputs {
    /// Files of the context.
    pub context: Tree,
    /// Files that hold secrets, by the name under which steps ask for them.
    pub secrets: BTreeMap<StageName, PathBuf>,
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
    /// A step failed.
    #[error("{0}")]
    Step(Failure),
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
    /// Fails before anything runs when a secret is missing.
    fn check(&self, plan: &Plan) -> Result<(), BuildError> {
        match plan.secrets.iter().find(|id| !self.secrets.contains_key(id)) {
            Some(id) => Err(BuildError::NoSecret(id.clone())),
            None => Ok(()),
        }
    }
}
