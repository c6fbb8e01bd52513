//! The rules of R2 that the server below does not have.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode};
use s3s::Body;
use s3s::service::{S3Service, S3ServiceBuilder};

use super::breaks::{Break, Frost, State, Wants};
use super::half::half;
use super::{BUCKET, KEY};

/// What a server does with conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditions {
    Keep,
    /// Overwrites whatever it is asked, as Garage and some others do.
    Ignore,
}

/// A server below, and what it is told.
pub(super) struct Rules {
    folder: PathBuf,
    conditions: Conditions,
    /// Where to write down that it froze, for a test in another process.
    pub(super) note: Option<PathBuf>,
    service: S3Service,
    pub(super) state: Mutex<State>,
    /// The server below looks, then renames; R2's conditions are atomic.
    turn: tokio::sync::Mutex<()>,
}

impl Rules {
    /// Over the objects in a folder.
    pub(super) fn over(folder: &Path, conditions: Conditions) -> Self {
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

/// Answers a request, or does not.
pub(super) async fn answer(rules: &Rules, request: Request<Incoming>) -> Answer {
    let Some(wants) = Wants::of(&request) else {
        return refuse(403, "AccessDenied", "this key is for objects, not for buckets");
    };
    let how = rules.state.lock().unwrap().plan(wants);
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
