//! The session: gRPC services of ours that BuildKit calls while it builds.
//!
//! They run inside the `Control.Session` call, whose messages carry the bytes of a second HTTP/2
//! connection in which BuildKit is the client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage as Frame;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::{FileSync, FileSyncServer};
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::blobs::{self, Blobs};
use super::transport::Control;
use super::{BuildError, files};
use crate::model::context::Tree;

/// Names of the methods that BuildKit may call; it calls no other.
const METHODS: [&str; 3] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
];

/// Headers of the `Control.Session` call.
const UUID: &str = "x-docker-expose-session-uuid";
const NAME: &str = "x-docker-expose-session-name";
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
const METHOD: &str = "x-docker-expose-session-grpc-method";

/// Buffer between the two HTTP/2 connections.
const PIPE: usize = 1 << 20;

/// BuildKit refuses larger secrets itself (`MaxSecretSize`, 500 kB); so do we, with a better message.
const MAX_SECRET: usize = 500 * 1024;

/// What BuildKit may read, and where its exports go.
pub(super) struct Shared {
    /// Folders by name.
    pub(super) folders: BTreeMap<String, Arc<Tree>>,
    /// Secrets by name.
    pub(super) secrets: BTreeMap<String, PathBuf>,
    /// Content stores: where an image goes, where a cache is.
    pub(super) blobs: Blobs,
}

/// A session that lives as long as this value.
pub(super) struct Session {
    /// Its identifier, which the solve request names.
    pub(super) id: String,
    _tasks: JoinSet<()>,
}

/// Opens a session.
pub(super) async fn open(
    control: &mut Control,
    shared: Arc<Shared>,
    key: &str,
) -> Result<Session, BuildError> {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (mut read, mut write) = tokio::io::split(theirs);
    let (send, frames) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(ours));
        let services = Server::builder()
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .add_service(HealthServer::new(Service(Arc::clone(&shared))))
            .add_service(FileSyncServer::new(Service(Arc::clone(&shared))))
            .add_service(shared.blobs.clone())
            .add_service(SecretsServer::new(Service(shared)));
        // An end of the session ends the build; the solve call reports why.
        let _ = services.serve_with_incoming(incoming.chain(tokio_stream::pending())).await;
    });
    tasks.spawn(async move {
        loop {
            let mut data = Vec::with_capacity(1 << 16);
            match read.read_buf(&mut data).await {
                Ok(1..) if send.send(Frame { data }).await.is_ok() => {}
                _ => return,
            }
        }
    });
    let id = identifier();
    let mut request = Request::new(ReceiverStream::new(frames));
    let headers = request.metadata_mut();
    for (name, value) in [(UUID, id.as_str()), (NAME, "imgforge"), (SHARED_KEY, key)] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    for method in METHODS.into_iter().chain(blobs::METHODS) {
        headers.append(METHOD, tonic::metadata::MetadataValue::from_static(method));
    }
    let answers = control.session(request).await.map_err(|status| BuildError::Unreachable {
        address: "its session service".to_owned(),
        source: status.into(),
    })?;
    let mut answers = answers.into_inner();
    tasks.spawn(async move {
        while let Ok(Some(frame)) = answers.message().await {
            if write.write_all(&frame.data).await.is_err() {
                return;
            }
        }
    });
    Ok(Session { id, _tasks: tasks })
}

/// 128 random bits in hex.
pub(super) fn identifier() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// The only paths that BuildKit wants; empty where it wants all, or says so in a form that we do not
/// read: sending more than asked for is allowed, sending less is not.
fn follow(headers: &tonic::metadata::MetadataMap) -> Vec<String> {
    let values = headers.get_all("followpaths").iter().map(|value| value.to_str().ok());
    let plain: Vec<&str> = values.collect::<Option<_>>().unwrap_or_default();
    if headers.contains_key("followpaths-encoded") || plain.iter().any(|path| path.contains('%')) {
        return Vec::new();
    }
    plain.into_iter().map(str::to_owned).collect()
}

struct Service(Arc<Shared>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Service {
    type DiffCopyStream = Answers<Packet>;
    type TarStreamStream = Answers<Packet>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let headers = request.metadata();
        let folder = headers.get("dir-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let tree = self.0.folders.get(folder).cloned();
        let tree = tree.ok_or_else(|| Status::not_found(format!("there is no folder `{folder}`")))?;
        let follow = follow(headers);
        let (out, answers) = mpsc::channel(16);
        tokio::spawn(async move {
            if let Err(status) = files::send(tree, follow, request.into_inner(), out.clone()).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("use DiffCopy"))
    }
}

#[tonic::async_trait]
impl Secrets for Service {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let missing = || Status::not_found(format!("secret {id} not found"));
        let path = self.0.secrets.get(&id).ok_or_else(missing)?;
        let unreadable = |error| Status::not_found(format!("secret {id}, `{}`: {error}", path.display()));
        let data = crate::step::atomic::read_bounded(path, MAX_SECRET).map_err(unreadable)?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("use Check"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("use Check"))
    }
}
