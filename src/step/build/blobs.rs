//! containerd's content service, the serving side: BuildKit puts blobs into our content store, one
//! by one, and reads its cache from a folder of ours.
//!
//! Only what BuildKit calls is served. The messages are those of containerd's `content.proto`; the
//! fields that nobody reads here are left out, as protocol buffers allow.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::stock::Stock;
use crate::model::digest::Digest;
use crate::step::content::{ContentError, Incoming};

/// The header by which BuildKit says which of our stores it means.
const STORE: &str = "buildkit-attachable-store-id";

/// The store that an exporter writes into.
pub(super) const EXPORT: &str = "export";

/// Methods that BuildKit may call.
pub(super) const METHODS: [&str; 4] = [
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Update",
    "/containerd.services.content.v1.Content/Write",
];

/// Largest piece of a blob that is sent at once.
const PIECE: usize = 1 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InfoRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// Also the answer of `Update`, whose request has the same shape.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    offset: i64,
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadResponse {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(enumeration = "Action", tag = "1")]
    action: i32,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteResponse {
    #[prost(enumeration = "Action", tag = "1")]
    action: i32,
    #[prost(int64, tag = "4")]
    offset: i64,
    #[prost(int64, tag = "5")]
    total: i64,
    #[prost(string, tag = "6")]
    digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Action {
    Stat = 0,
    Write = 1,
    Commit = 2,
}

/// The stores that BuildKit may use, by the names under which it asks for them.
#[derive(Clone)]
pub(super) struct Blobs(Arc<BTreeMap<String, Stock>>);

impl Blobs {
    pub(super) fn of(stores: BTreeMap<String, Stock>) -> Self {
        Self(Arc::new(stores))
    }

    fn store<T>(&self, request: &Request<T>) -> Result<Stock, Status> {
        let name = request.metadata().get(STORE).and_then(|name| name.to_str().ok()).unwrap_or_default();
        self.0.get(name).cloned().ok_or_else(|| Status::not_found(format!("there is no store `{name}`")))
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("`{text}` is no digest")))
}

fn failed(error: &ContentError) -> Status {
    Status::internal(chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

struct InfoCall(Blobs);

impl UnaryService<InfoRequest> for InfoCall {
    type Response = InfoResponse;
    type Future = Answer<InfoResponse>;

    fn call(&mut self, request: Request<InfoRequest>) -> Self::Future {
        let store = self.0.store(&request);
        Box::pin(async move {
            let text = request.into_inner().digest;
            let (store, digest) = (store?, digest(&text)?);
            let size = tokio::task::block_in_place(|| store.size(&digest)).map_err(|error| failed(&error))?;
            let size = size.ok_or_else(|| Status::not_found(format!("content {text}: not found")))?;
            Ok(Response::new(InfoResponse { info: Some(Info { digest: text, size: number(size) }) }))
        })
    }
}

/// Labels are containerd's own bookkeeping, for which we have no use: they are taken and forgotten.
struct UpdateCall;

impl UnaryService<InfoResponse> for UpdateCall {
    type Response = InfoResponse;
    type Future = Answer<InfoResponse>;

    fn call(&mut self, request: Request<InfoResponse>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

struct ReadCall(Blobs);

impl ServerStreamingService<ReadRequest> for ReadCall {
    type Response = ReadResponse;
    type ResponseStream = ReceiverStream<Result<ReadResponse, Status>>;
    type Future = Answer<Self::ResponseStream>;

    fn call(&mut self, request: Request<ReadRequest>) -> Self::Future {
        let store = self.0.store(&request);
        Box::pin(async move {
            let wanted = request.into_inner();
            let (store, digest) = (store?, digest(&wanted.digest)?);
            let mut blob =
                store.store.open_blob(&digest).map_err(|error| Status::not_found(chain(&error)))?;
            let (send, pieces) = mpsc::channel(4);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = read(&mut blob, &wanted, &send) {
                    let _ = send.blocking_send(Err(error.into()));
                }
            });
            Ok(Response::new(ReceiverStream::new(pieces)))
        })
    }
}

fn read(
    blob: &mut std::fs::File,
    wanted: &ReadRequest,
    send: &mpsc::Sender<Result<ReadResponse, Status>>,
) -> std::io::Result<()> {
    let mut offset = u64::try_from(wanted.offset).unwrap_or(0);
    blob.seek(SeekFrom::Start(offset))?;
    let most = u64::try_from(wanted.size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
    let mut rest = blob.take(most);
    loop {
        let mut data = Vec::new();
        rest.by_ref().take(PIECE as u64).read_to_end(&mut data)?;
        let length = data.len() as u64;
        let piece = ReadResponse { offset: number(offset), data };
        if length == 0 || send.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
        offset += length;
    }
}

struct WriteCall(Blobs);

impl StreamingService<WriteRequest> for WriteCall {
    type Response = WriteResponse;
    type ResponseStream = ReceiverStream<Result<WriteResponse, Status>>;
    type Future = Answer<Self::ResponseStream>;

    fn call(&mut self, request: Request<Streaming<WriteRequest>>) -> Self::Future {
        let store = self.0.store(&request);
        Box::pin(async move {
            let store = store?;
            let (send, answers) = mpsc::channel(4);
            tokio::spawn(async move {
                if let Err(status) = write(&store, request.into_inner(), &send).await {
                    let _ = send.send(Err(status)).await;
                }
            });
            Ok(Response::new(ReceiverStream::new(answers)))
        })
    }
}

/// One blob: every request is answered once, and the blob gets its name only when all of it is here
/// and has the digest that was announced.
async fn write(
    stock: &Stock,
    mut requests: Streaming<WriteRequest>,
    send: &mpsc::Sender<Result<WriteResponse, Status>>,
) -> Result<(), Status> {
    let mut draft: Option<Incoming> = None;
    let (mut expected, mut total) = (String::new(), 0);
    while let Some(request) = requests.message().await? {
        if !request.expected.is_empty() {
            expected.clone_from(&request.expected);
        }
        if request.total > 0 {
            total = request.total;
        }
        let mut answer = WriteResponse { action: request.action, total, ..WriteResponse::default() };
        let commit = request.action() == Action::Commit;
        let here = tokio::task::block_in_place(|| {
            if draft.is_none() {
                let known = if expected.is_empty() { None } else { Some(digest(&expected)?) };
                let known = known.map(|digest| stock.size(&digest)).transpose();
                if known.map_err(|error| failed(&error))?.flatten().is_some() {
                    return Err(Status::already_exists(format!("content {expected}: already exists")));
                }
                draft = Some(stock.store.incoming().map_err(|error| failed(&error))?);
            }
            let mut blob = draft.take().ok_or_else(|| Status::internal("there is no draft"))?;
            if !request.data.is_empty() && number(blob.size()) != request.offset {
                return Err(Status::out_of_range(format!("{} bytes are here", blob.size())));
            }
            blob.write(&request.data).map_err(|error| failed(&error))?;
            let size = number(blob.size());
            if !commit {
                draft = Some(blob);
                return Ok((size, String::new()));
            }
            if total > 0 && size != total {
                return Err(Status::failed_precondition(format!("{size} bytes came, and not {total}")));
            }
            let wanted = if expected.is_empty() { None } else { Some(digest(&expected)?) };
            let kept =
                blob.keep(wanted.as_ref()).map_err(|error| Status::failed_precondition(chain(&error)))?;
            Ok((size, kept.digest.to_string()))
        });
        (answer.offset, answer.digest) = here?;
        let gone = send.send(Ok(answer)).await.is_err();
        if commit || gone {
            return Ok(());
        }
    }
    Ok(())
}

impl NamedService for Blobs {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

impl tower::Service<http::Request<Body>> for Blobs {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // BuildKit announces methods in lower case and calls them as they are written.
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let blobs = self.clone();
        Box::pin(async move {
            Ok(match method.as_str() {
                "Info" => grpc().unary(InfoCall(blobs), request).await,
                "Update" => grpc().unary(UpdateCall, request).await,
                "Read" => grpc().server_streaming(ReadCall(blobs), request).await,
                "Write" => grpc().streaming(WriteCall(blobs), request).await,
                _ => Status::unimplemented(format!("`{method}` is not served")).into_http(),
            })
        })
    }
}

fn grpc<T, U>() -> Grpc<ProstCodec<T, U>>
where
    T: prost::Message + Default + 'static,
    U: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(super::transport::MAX_MESSAGE)
}
