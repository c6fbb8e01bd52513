//! Asks BuildKit for the image, listens while it works, and takes the result over.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest, StatusRequest};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use super::capabilities::Gives;
use super::gateway::{self, Gateway};
use super::session::{self, Shared};
use super::status::Board;
use super::transport::{self, Builder, Line};
use super::{BuildError, Built, Inputs, import};
use crate::model::context::{Entry, File, Tree};
use crate::model::plan::Plan;
use crate::step::content::ContentStore;
use crate::step::engine::Engine;
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
    /// Its line in the rendered Dockerfile, where the engine says which.
    pub line: Option<u32>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the build failed at `{}`", self.step)
    }
}

/// BuildKit sends the last status messages after its answer; it gets this long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Builds the image and takes its layers into the content store. Dropping the future cancels the build.
pub async fn build(
    plan: &Plan,
    inputs: Inputs,
    builders: &[Builder],
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Built, BuildError> {
    inputs.check(plan)?;
    let mut line = transport::choose(builders, &plan.platform, hear).await?;
    let export = store.draft().map_err(import::ImportError::Content)?;
    line.capabilities.check(&line.address)?;
    let gives = line.capabilities.gives;
    let shared = Arc::new(Shared {
        context: Arc::new(inputs.context),
        dockerfile: Arc::new(dockerfile(plan)),
        secrets: inputs.secrets.into_iter().map(|(id, path)| (id.to_string(), path)).collect(),
        export: Mutex::new(if gives == Gives::Blobs {
            Some(tokio::fs::File::from_std(export.try_clone().map_err(import::ImportError::Io)?))
        } else {
            None
        }),
    });
    let key = format!("imgforge/{}", plan.tag);
    let session = session::open(&mut line.control, shared, &key).await?;
    let name = import::build_name(&session.id);
    let exporting = request(&session.id, &name, gives);
    let answer = solve(&line, exporting, options(plan), hear, &plan.tag.to_string()).await?;
    drop(session);
    hear(Event::Doing("taking the image into the content store"));
    match gives {
        Gives::Blobs => Ok(Built::New(import::tar(export, plan, store)?)),
        Gives::Engine => {
            let id = answer.get("containerimage.config.digest").or(answer.get("containerimage.digest"));
            let engine = Engine::connect(&line.address).await?;
            let image = match id.and_then(|id| store.made_from(id, &plan.tag, &plan.platform)) {
                Some(image) => Ok(Built::Known(image)),
                None => import::engine(&engine, &name, plan, store).map(Built::New),
            };
            import::forget(&engine, &name, hear).await;
            import::sweep(&engine, hear).await;
            image
        }
    }
}

async fn solve(
    line: &Line,
    request: SolveRequest,
    options: HashMap<String, String>,
    hear: Hear<'_>,
    tag: &str,
) -> Result<HashMap<String, String>, BuildError> {
    let mut board = Board::default();
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
        let mut making = std::pin::pin!(make(&line.channel, &build, options).fuse());
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
    answer.map_err(|status| {
        // The frontend's own words: the solve only repeats them, on some engines without details.
        let status = refusal.unwrap_or(status);
        match board.failure() {
            Some(failure) => BuildError::Step(Failure { line: gateway::line(&status), ..failure }),
            None => BuildError::Refused {
                tag: tag.to_owned(),
                message: status.message().to_owned(),
                line: gateway::line(&status),
            },
        }
    })
}

/// What we do inside the solve.
async fn make(channel: &Channel, build: &str, options: HashMap<String, String>) -> Result<(), Status> {
    let mut gateway = Gateway::meet(channel, build).await?;
    match gateway.dockerfile(options).await {
        Ok(made) => gateway.give(made).await,
        Err(status) => {
            let _ = gateway.refuse(&status).await;
            Err(status)
        }
    }
}

/// What the Dockerfile frontend is asked for.
fn options(plan: &Plan) -> HashMap<String, String> {
    let mut options = HashMap::from([
        ("target".to_owned(), plan.tier.to_string()),
        ("platform".to_owned(), plan.platform.to_string()),
    ]);
    options.extend(plan.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    options
}

/// The solve that exports what the gateway gives it.
fn request(session: &str, name: &str, gives: Gives) -> SolveRequest {
    let name = ("name".to_owned(), name.to_owned());
    let exporter = match gives {
        Gives::Engine => Exporter { r#type: "moby".to_owned(), attrs: HashMap::from([name]) },
        // Plain layers: imgforge compresses for the archive itself, in parallel.
        Gives::Blobs => Exporter {
            r#type: "docker".to_owned(),
            attrs: HashMap::from([
                name,
                ("compression".to_owned(), "uncompressed".to_owned()),
                ("force-compression".to_owned(), "true".to_owned()),
            ]),
        },
    };
    SolveRequest {
        r#ref: session::identifier(),
        session: session.to_owned(),
        // BuildKit before 0.13 knows only the older fields and ignores the newer one.
        exporter_deprecated: exporter.r#type.clone(),
        exporter_attrs_deprecated: exporter.attrs.clone(),
        exporters: vec![exporter],
        ..SolveRequest::default()
    }
}

fn dockerfile(plan: &Plan) -> Tree {
    let mut tree = Tree::default();
    tree.insert("Dockerfile", Entry::File(File::generated(plan.dockerfile.clone().into_bytes(), false)));
    tree
}
