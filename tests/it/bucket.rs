//! An S3 server in process (`s3s` checks signatures for real) with the rules of R2 in front of it, that
//! counts requests and breaks them when told to.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Response, StatusCode};
use imgforge::model::storage::Settings;
use imgforge::step::store::{Access, Address, Credentials, Store};
use s3s::Body;
use s3s::service::{S3Service, S3ServiceBuilder};

pub(crate) const KEY: (&str, &str) = ("AKIAIMGFORGE", "a-secret-of-forty-characters-for-testing");

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wants {
    Put,
    Begin,
    Part,
    Complete,
    Parts,
    Get,
    Head,
    List,
    Delete,
    Abort,
}

impl Wants {
    fn of<T>(request: &Request<T>) -> Option<Self> {
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let key = request.uri().path().trim_matches('/').contains('/');
        Some(match *request.method() {
            Method::GET if has("list-type") => Self::List,
            // Keys for objects may not ask for buckets.
            _ if !key => return None,
            Method::PUT if has("partNumber") => Self::Part,
            Method::PUT => Self::Put,
            Method::POST if has("uploads") => Self::Begin,
            Method::POST if has("uploadId") => Self::Complete,
            Method::GET if has("uploadId") => Self::Parts,
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::DELETE if has("uploadId") => Self::Abort,
            Method::DELETE => Self::Delete,
            _ => return None,
        })
    }

    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Parts | Self::Get | Self::Head | Self::List)
    }
}

/// How a request is broken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Break {
    /// The server is in trouble.
    Status(u16),
    /// Half an answer.
    Half,
    /// Nothing is done and nothing answered, ever.
    FreezeBefore,
    /// It is done, and nothing answered, ever.
    FreezeAfter,
}

#[derive(Default)]
struct State {
    log: Vec<Wants>,
    /// Requests to break: which, from the how-manieth on (1 is the next), how often.
    breaks: Vec<(Option<Wants>, usize, usize, Break)>,
    frost: Frost,
    written: HashMap<String, Instant>,
    parts: HashMap<String, BTreeMap<u32, u64>>,
}

/// Whether a server freezes; for the fault matrix.
#[derive(Default)]
enum Frost {
    #[default]
    Never,
    /// After so many more writes.
    After(usize, Break),
    Now,
}

/// What a server does with conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditions {
    Keep,
    /// Overwrites whatever it is asked, as Garage and some others do.
    Ignore,
}

struct Rules {
    folder: PathBuf,
    conditions: Conditions,
    /// Where to write down that it froze, for a test in another process.
    note: Option<PathBuf>,
    service: S3Service,
    state: Mutex<State>,
    /// The server below looks, then renames; R2's conditions are atomic.
    turn: tokio::sync::Mutex<()>,
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    rules: Arc<Rules>,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) const BUCKET: &str = "images";

impl Rules {
    /// Over the objects in a folder.
    fn over(folder: &Path, conditions: Conditions) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
        builder.set_auth(s3s::auth::SimpleAuth::from_single(KEY.0, KEY.1));
        Self {
            folder: folder.to_owned(),
            conditions,
            note: None,
            service: builder.build(),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, rules: Arc<Rules>) {
    while let Ok((stream, _)) = listener.accept().await {
        let rules = Arc::clone(&rules);
        let service = hyper::service::service_fn(move |request| {
            let rules = Arc::clone(&rules);
            async move { Ok::<_, Infallible>(answer(&rules, request).await) }
        });
        let stream = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
    }
}

/// Serves a folder as a process of its own, until it is killed; for [`crate::processes`].
pub(crate) fn serve_alone(folder: &Path, port: u16, freeze: Option<(usize, Break)>) {
    let mut rules = Rules::over(&folder.join("objects"), Conditions::Keep);
    rules.note = Some(folder.to_owned());
    rules.state.lock().unwrap().frost =
        freeze.map_or(Frost::Never, |(writes, how)| Frost::After(writes, how));
    crate::workbench::wait(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        std::fs::write(folder.join("port.new"), port).unwrap();
        std::fs::rename(folder.join("port.new"), folder.join("port")).unwrap();
        serve(listener, Arc::new(rules)).await;
    });
}

/// How a server is reached; `uploads` is where uploads in progress are written down.
pub(crate) fn access(endpoint: String, uploads: PathBuf) -> Access {
    let (id, secret) = KEY;
    Access {
        settings: Settings { endpoint: Some(endpoint), ..Settings::default() },
        credentials: Some(Credentials { id: id.to_owned(), secret: secret.to_owned().into(), token: None }),
        ca_bundle: None,
        uploads,
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Conditions::Keep)
    }

    pub(crate) fn with(conditions: Conditions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = Arc::new(Rules::over(folder.path(), conditions));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&rules)));
        Self { address, folder, rules, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where an object is on disk.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    pub(crate) fn access(&self, uploads: PathBuf) -> Access {
        access(self.endpoint(), uploads)
    }

    pub(crate) fn store(&self, uploads: PathBuf) -> Store {
        let address: Address = format!("s3://{BUCKET}/a").parse().unwrap();
        Store::open(&address, &self.access(uploads)).unwrap()
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.rules.state.lock().unwrap())
    }

    /// Requests of a kind since the last [`Server::forget`].
    pub(crate) fn count(&self, wants: Wants) -> usize {
        self.state(|state| state.log.iter().filter(|seen| **seen == wants).count())
    }

    pub(crate) fn writes(&self) -> usize {
        self.state(|state| state.log.iter().filter(|seen| seen.writes()).count())
    }

    /// Forgets what was counted and what was to be broken.
    pub(crate) fn forget(&self) {
        self.state(|state| *state = State { parts: std::mem::take(&mut state.parts), ..State::default() });
    }

    /// Breaks requests of a kind: `skip` of them pass, the next `times` do not.
    pub(crate) fn break_next(&self, wants: Wants, skip: usize, times: usize, how: Break) {
        self.state(|state| state.breaks.push((Some(wants), skip, times, how)));
    }

    /// Freezes for good at the write after `writes` of them.
    pub(crate) fn freeze(&self, writes: usize, how: Break) {
        self.state(|state| state.frost = Frost::After(writes, how));
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state(|state| matches!(state.frost, Frost::Now))
    }
}

type Answer = Response<Body>;

fn refuse(status: u16, code: &str, message: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder()
        .status(status)
        .header("content-type", "application/xml")
        .body(Body::from(text))
        .unwrap()
}

async fn answer(rules: &Rules, request: Request<Incoming>) -> Answer {
    let Some(wants) = Wants::of(&request) else {
        return refuse(403, "AccessDenied", "this key is for objects, not for buckets");
    };
    let how = plan(&mut rules.state.lock().unwrap(), wants);
    if matches!(how, Some(Break::FreezeBefore)) {
        freeze(rules).await;
    }
    if let Some(Break::Status(status)) = how {
        // Clients try again for some codes, whatever the status.
        let code = match status {
            403 => "AccessDenied",
            400 => "InvalidRequest",
            _ => "InternalError",
        };
        return refuse(status, code, "the test says so");
    }
    if let Some(refusal) = check(&mut rules.state.lock().unwrap(), wants, &request) {
        return refusal;
    }
    let turn = if wants.writes() { Some(rules.turn.lock().await) } else { None };
    let request = request.map(Body::from);
    if rules.conditions == Conditions::Ignore && wants == Wants::Put {
        return overwrite(rules, request).await;
    }
    let answer = rules
        .service
        .call(request)
        .await
        .unwrap_or_else(|error| refuse(500, "InternalError", &format!("{error:?}")));
    drop(turn);
    if matches!(how, Some(Break::FreezeAfter)) {
        freeze(rules).await;
    }
    if matches!(how, Some(Break::Half)) { half(answer) } else { answer }
}

/// Decides whether this request is broken.
fn plan(state: &mut State, wants: Wants) -> Option<Break> {
    state.log.push(wants);
    match &mut state.frost {
        Frost::Now => return Some(Break::FreezeBefore),
        Frost::After(0, how) if wants.writes() => return Some(*how),
        Frost::After(left, _) if wants.writes() => *left -= 1,
        _ => {}
    }
    for (which, skip, times, how) in &mut state.breaks {
        if which.is_none_or(|which| which == wants) {
            if *skip > 0 {
                *skip -= 1;
            } else if *times > 0 {
                *times -= 1;
                return Some(*how);
            }
        }
    }
    None
}

/// The signature is over the conditions too, so they cannot just be taken away for the server below.
async fn overwrite(rules: &Rules, request: Request<Body>) -> Answer {
    let path = rules.folder.join(request.uri().path().trim_matches('/'));
    let bytes = request.into_body().store_all_limited(16 << 20).await.unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    Response::builder().status(200).body(Body::empty()).unwrap()
}

/// Never answers, and nothing else is answered either. A request of a client that was killed meanwhile may
/// come here after [`Server::forget`]: that one is only never answered.
async fn freeze(rules: &Rules) {
    {
        let state = &mut *rules.state.lock().unwrap();
        if matches!(state.frost, Frost::After(..)) {
            state.frost = Frost::Now;
        }
    }
    if let Some(folder) = &rules.note {
        std::fs::write(folder.join("frozen"), "").unwrap();
    }
    std::future::pending::<()>().await;
}

/// The rules of R2 that the server below does not have.
fn check(state: &mut State, wants: Wants, request: &Request<Incoming>) -> Option<Answer> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header("x-amz-content-sha256").is_some_and(|value| value.starts_with("STREAMING-"))
        || header("x-amz-trailer").is_some()
    {
        return Some(refuse(
            501,
            "NotImplemented",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER not implemented",
        ));
    }
    if matches!(wants, Wants::Put | Wants::Part) && header("content-md5").is_none() {
        // Not R2's rule but ours: nothing travels without something to compare it with.
        return Some(refuse(400, "InvalidDigest", "no Content-MD5"));
    }
    let path = request.uri().path().to_owned();
    if wants == Wants::Put {
        let now = Instant::now();
        if state.written.get(&path).is_some_and(|last| now - *last < Duration::from_secs(1)) {
            return Some(refuse(
                429,
                "SlowDown",
                "Reduce your concurrent request rate for the same object. (10058)",
            ));
        }
        state.written.insert(path, now);
        return None;
    }
    let query = |name: &str| {
        let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let upload = query("uploadId")?;
    if wants == Wants::Part {
        let size = request.body().size_hint().exact()?;
        state.parts.entry(upload).or_default().insert(query("partNumber")?.parse().ok()?, size);
        return None;
    }
    if wants == Wants::Complete {
        let sizes: Vec<u64> = state.parts.get(&upload)?.values().copied().collect();
        let (last, others) = sizes.split_last()?;
        if others.iter().any(|size| *size != others[0]) || others.first().is_some_and(|size| last > size) {
            return Some(refuse(
                400,
                "InvalidPart",
                "All non-trailing parts must have the same length. (10048)",
            ));
        }
    }
    None
}

/// Half of the body, and then the connection breaks.
fn half(answer: Answer) -> Answer {
    let (parts, body) = answer.into_parts();
    let size = body.size_hint().exact().unwrap_or(2);
    Response::from_parts(parts, Body::http_body(Half { body: Mutex::new(body), left: size / 2, size }))
}

struct Half {
    body: Mutex<Body>,
    left: u64,
    size: u64,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let broken = || Poll::Ready(Some(Err(std::io::Error::other("cut"))));
        if self.left == 0 {
            return broken();
        }
        let frame = Pin::new(&mut *self.body.lock().unwrap()).poll_frame(context);
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                let mut data = frame.into_data().unwrap_or_default();
                data.truncate(usize::try_from(self.left).unwrap());
                self.left -= data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(_) => broken(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size)
    }
}
