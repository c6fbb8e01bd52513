//! An S3 server in process (`s3s` checks signatures for real) with the rules of R2 in front of it, that
//! counts requests and breaks them when told to.

mod breaks;
mod half;
mod rules;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgforge::model::storage::Settings;
use imgforge::step::store::{Access, Address, Credentials, Store};

use breaks::{Frost, State};
use rules::{Rules, answer};

pub(crate) use breaks::{Break, Wants};
pub(crate) use rules::Conditions;

pub(crate) const BUCKET: &str = "images";
pub(crate) const KEY: (&str, &str) = ("AKIAIMGFORGE", "a-secret-of-forty-characters-for-testing");

/// A running server; it ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    rules: Arc<Rules>,
    _runtime: tokio::runtime::Runtime,
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
