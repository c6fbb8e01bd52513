//! Asks BuildKit for one image and listens while it works.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptionsEntry, SolveRequest, StatusRequest};
use bollard_buildkit_proto::pb;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;

use super::BuildError;
use super::gateway::{self, Making};
use super::status::{Board, Told};
use super::transport::Line;
use super::wanted::{Found, Wanted};
use crate::model::name::TierName;
use crate::model::policy::{NOT_LISTED, Refusal};
use crate::step::progress::Hear;

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
    /// What is wanted of it before it is exported.
    pub(super) wanted: Wanted<'a>,
}

/// What comes of it.
#[derive(Default)]
pub(super) struct Solved {
    /// What the exporter answers.
    pub(super) answer: HashMap<String, String>,
    /// What came to light before the export.
    pub(super) found: Found,
    /// Whether the results of all its steps were there already.
    pub(super) idle: bool,
}

/// Has the image made, tried out and exported.
pub(super) async fn solve(
    line: &Line,
    solve: Solve<'_>,
    told: &Told,
    hear: Hear<'_>,
) -> Result<Solved, BuildError> {
    let Solve { request, options, inputs, imports, tier, wanted } = solve;
    let tag = wanted.tag;
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
        let making = wanted.make(&line.channel, &build, making, &mut solved.found, hear);
        let mut making = std::pin::pin!(making.fuse());
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
    // That layers cannot be read ends the solve, and is no failure of the build.
    if let Some(Err(_)) = solved.found.read {
        return Ok(solved);
    }
    // A refusal says what is wrong; the status that ended the solve only says that something is.
    solved.found.findings = Refusal::unless_fine(tag, solved.found.findings, NOT_LISTED)?;
    solved.idle = solved.found.steps.as_ref().is_some_and(|steps| board.were_cached(steps));
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
