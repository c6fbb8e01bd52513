//! Who is ready, told to whoever connects: the question behind `imgforge-init probe services`.
//!
//! An abstract socket needs no writable folder, so it works below a read-only root, and it is gone with
//! the process. Abstract names belong to the network namespace, which containers may share; the number of
//! the mount namespace, which they never share and a health check always does, makes the name their own.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longer than a status of hundreds of services.
const MOST: u64 = 256 * 1024;

/// What connecting gives.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// All services are ready or done.
    pub ready: bool,
    /// What each of them does.
    pub services: BTreeMap<String, Activity>,
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Waits for services that it needs.
    Waiting,
    /// Runs, and is not ready.
    Starting,
    /// Runs and is ready.
    Ready,
    /// Failed, and starts again after a pause.
    Restarting,
    /// Was told to end.
    Stopping,
    /// Finished its work.
    Done,
    /// Ended.
    Ended,
}

impl Activity {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waits for what it needs",
            Self::Starting => "is not ready yet",
            Self::Ready => "is ready",
            Self::Restarting => "failed and restarts",
            Self::Stopping => "is stopping",
            Self::Done => "is done",
            Self::Ended => "ended",
        }
    }
}

impl Status {
    /// The status of services.
    #[must_use]
    pub fn new(services: BTreeMap<String, Activity>) -> Self {
        let ready = services.values().all(|activity| matches!(activity, Activity::Ready | Activity::Done));
        Self { ready, services }
    }

    /// Those that are not ready, in words.
    #[must_use]
    pub fn complaint(&self) -> String {
        let lacking =
            self.services.iter().filter(|(_, now)| !matches!(now, Activity::Ready | Activity::Done));
        lacking.map(|(name, now)| format!("{name} {}", now.word())).collect::<Vec<_>>().join(", ")
    }
}

fn address(config: &Path) -> io::Result<SocketAddr> {
    let namespace = std::fs::read_link("/proc/self/ns/mnt")?;
    SocketAddr::from_abstract_name(format!("imgforge-init {} {}", namespace.display(), config.display()))
}

/// Opens the socket of the helper that runs by this configuration.
pub fn open(config: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&address(config)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers everybody who asked. The answer fits into an empty socket's buffer, or is cut off; nobody
/// who connects can make the helper wait.
pub fn answer(listener: &UnixListener, status: impl Fn() -> Status) {
    // Bounded, so that a flood of questions cannot keep the helper from its services.
    for _ in 0..64 {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let text = serde_json::to_vec(&status()).unwrap_or_default();
        let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&text));
    }
}

/// Asks the helper that runs by this configuration.
pub fn ask(config: &Path, limit: Duration) -> Result<Status, String> {
    let read = || -> io::Result<Vec<u8>> {
        let stream = UnixStream::connect_addr(&address(config)?)?;
        stream.set_read_timeout(Some(limit))?;
        let mut bytes = Vec::new();
        stream.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("imgforge-init does not answer: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("imgforge-init answers nonsense: {error}"))
}
