//! Asks BuildKit for one image and listens while it works.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptionsEntry, SolveRequest, StatusRequest};
use bollard_buildkit_proto::pb;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use tonic::Status;
use tonic::transport::Channel;

use super::gateway::{self, Gateway, Making};
use super::status::{Board, Told};
use super::transport::Line;
use super::{BuildError, trial};
use crate::model::digest::Digest;
use crate::model::name::{ImageTag, Platform, TierName};
use crate::model::policy::{Charter, Finding, NOT_LISTED, Refusal, Weight};
use crate::step::progress::{Event, Hear};

/// A step that failed, and the last lines that it printed.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub step: String,
    /// How it ended.
    pub message: String,
    /// Its last lines.
    pub log: Vec<String>,
    /// The image that it was for.
    pub tier: Option<TierName>,
    /// Its line in the rendered Dockerfile, where the engine says which.
    pub line: Option<u32>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tier {
            Some(tier) => write!(f, "the build of `{tier}` failed at `{}`", self.step),
            None => write!(f, "the build failed at `{}`", self.step),
        }
    }
}

/// BuildKit sends the last status messages after its answer; it gets this long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// One image to be made.
pub(super) struct Solve<'a> {
    /// The solve that exports.
    pub(super) request: SolveRequest,
    /// What the Dockerfile frontend is asked for.
    pub(super) options: HashMap<String, String>,
    /// What it reads instead of its own inputs.
    pub(super) inputs: HashMap<String, pb::Definition>,
    /// Caches.
    pub(super) imports: Vec<CacheOptionsEntry>,
    /// Which image.
    pub(super) tier: &'a TierName,
    /// Its name.
    pub(super) tag: &'a ImageTag,
    /// What it is built for.
    pub(super) platform: &'a Platform,
    /// The image that it starts from, where it does.
    pub(super) base: Option<&'a str>,
    /// By what it is tried out; absent: an image that is only taken if it is known and was judged.
    pub(super) charter: Option<&'a Charter>,
}

/// What comes of it.
#[derive(Default)]
pub(super) struct Solved {
    /// What the exporter answers.
    pub(super) answer: HashMap<String, String>,
    /// What was noticed while the image was tried out.
    pub(super) findings: Vec<Finding>,
    /// The layers of the image that it starts from.
    pub(super) base: Vec<Digest>,
}

/// Has the image made, tried out and exported.
pub(super) async fn solve(
    line: &Line,
    solve: Solve<'_>,
    told: &Told,
    hear: Hear<'_>,
) -> Result<Solved, BuildError> {
    let Solve { request, options, inputs, imports, tier, tag, platform, base, charter } = solve;
    let making = Making { options, inputs, imports };
    let mut solved = Solved::default();
    let mut board = Board::new(told);
    let (mut control, mut watcher) = (line.control.clone(), line.control.clone());
    let build = request.r#ref.clone();
    let mut refusal = None;
    let answer = {
        let watching = async {
            let watch = StatusRequest { r#ref: build.clone() };
            if let Ok(messages) = watcher.status(watch).await {
                let mut messages = messages.into_inner();
                while let Ok(Some(message)) = messages.message().await {
                    board.hear(message, hear);
                }
            }
        };
        let mut watching = std::pin::pin!(watching.fuse());
        let trying = charter.map(|charter| Trying { charter, base, platform, tag, solved: &mut solved });
        let mut making = std::pin::pin!(make(&line.channel, &build, making, trying, hear).fuse());
        let mut solving = std::pin::pin!(control.solve(request));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut solving => break answer.map(|answer| answer.into_inner().exporter_response),
                Err(status) = &mut making, if !making.is_terminated() => {
                    // The solve was told to end; an engine that does not is left alone.
                    let _ = tokio::time::timeout(LAST_WORDS, &mut solving).await;
                    refusal = Some(status.clone());
                    break Err(status);
                }
                () = &mut watching, if !watching.is_terminated() => {}
            }
        };
        if !watching.is_terminated() {
            let _ = tokio::time::timeout(LAST_WORDS, watching).await;
        }
        answer
    };
    // A refusal says what is wrong; the status that ended the solve only says that something is.
    solved.findings = Refusal::unless_fine(tag, solved.findings, NOT_LISTED)?;
    solved.answer = answer.map_err(|status| {
        // The frontend's own words: the solve only repeats them, on some engines without details.
        let status = refusal.unwrap_or(status);
        match board.failure() {
            Some(failure) => BuildError::Step(Failure {
                tier: Some(tier.clone()),
                line: gateway::line(&status),
                ..failure
            }),
            None => BuildError::Refused {
                tag: tag.to_string(),
                message: status.message().to_owned(),
                line: gateway::line(&status),
            },
        }
    })?;
    Ok(solved)
}

/// How an image is tried out before it is exported.
struct Trying<'a> {
    charter: &'a Charter,
    base: Option<&'a str>,
    platform: &'a Platform,
    tag: &'a ImageTag,
    solved: &'a mut Solved,
}

/// What we do inside the solve: only an image that is returned is exported.
async fn make(
    channel: &Channel,
    build: &str,
    making: Making,
    trying: Option<Trying<'_>>,
    hear: Hear<'_>,
) -> Result<(), Status> {
    let mut gateway = Gateway::meet(channel, build).await?;
    let made = match gateway.dockerfile(making).await {
        Ok(made) => made,
        Err(status) => return gateway.refuse(status).await,
    };
    if let Some(Trying { charter, base, platform, tag, solved }) = trying {
        if let Some(base) = base {
            solved.base = match gateway.layers_of(base, platform).await {
                Ok(layers) => layers,
                Err(status) => return gateway.refuse(status).await,
            };
        }
        hear(Event::Doing(&format!("trying `{tag}` out")));
        solved.findings = match trial::findings(&gateway, &made, charter, platform).await {
            Ok(findings) => findings,
            Err(status) => return gateway.refuse(status).await,
        };
        if solved.findings.iter().any(|finding| finding.weight == Weight::Error) {
            return gateway.refuse(Status::failed_precondition("the policy refuses the image")).await;
        }
    }
    gateway.give(made).await
}
