//! Finds a builder that answers, and opens one byte stream to it that speaks gRPC.
//!
//! | endpoint | how |
//! |---|---|
//! | buildkitd, programs that lead to one | HTTP/2 from the first byte |
//! | Docker Engine 29 and later | the same, on the API socket |
//! | older Docker Engines | `POST /grpc` with `Upgrade: h2c`, HTTP/2 after the `101` answer |
//!
//! An old engine answers HTTP/2 with HTTP/1.1 text. A probe of a few bytes asks which it is, rather
//! than letting the gRPC stack fail on that text: one build in some hundred hung while connecting so.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::ListWorkersRequest;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Channel, Endpoint};

use super::BuildError;
use super::capabilities::Capabilities;
use crate::model::builder::Offer;
use crate::model::name::Platform;
use crate::step::engine::Address;
use crate::step::engine::address::LeadsTo;
use crate::step::engine::stream::{self, Language, Stream};
use crate::step::progress::{Event, Hear};

/// What may build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Where it listens.
    pub address: Address,
    /// What its configuration calls it.
    pub name: Option<String>,
    /// What it is reserved for; empty: whatever it can.
    pub platforms: Vec<Platform>,
}

/// A connection to a builder that answered.
#[derive(Clone)]
pub(super) struct Line {
    /// The control service.
    pub(super) control: Control,
    /// The same connection, for other services.
    pub(super) channel: Channel,
    /// Where it leads.
    pub(super) address: Address,
    /// What is there.
    pub(super) capabilities: Capabilities,
}

/// BuildKit's control service.
pub(super) type Control = ControlClient<Channel>;

/// Status messages of large builds exceed tonic's 4 MiB.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// HTTP/2's 64 KiB windows would make the context transfer wait for the round trip.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Longest answer to an upgrade request that is read.
const MAX_ANSWER: usize = 16 << 10;

#[derive(Debug, Clone, Copy)]
enum Opening {
    Direct,
    Upgrade,
}

/// How long a daemon may take to answer its first call.
const PATIENCE: Duration = Duration::from_secs(30);

impl Builder {
    /// A builder without a name, for whatever it can.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self { address, name: None, platforms: Vec::new() }
    }

    /// Its name, or else where it listens.
    #[must_use]
    pub fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address.to_string())
    }
}

/// What a build needs of a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// That it runs programs of the platform.
    Programs,
    /// That it puts files together, which any can for any platform.
    Files,
}

/// Connects to the first builder for which the platform is native, else to the first that emulates it, else,
/// where files are all that is needed, to the first at all. One that does not answer is passed over while
/// there are others.
pub(super) async fn choose(
    builders: &[Builder],
    platform: &Platform,
    needs: Needs,
    hear: Hear<'_>,
) -> Result<Line, BuildError> {
    let (mut emulating, mut foreign) = (None, None);
    let mut offers = Vec::new();
    let mut silent = Vec::new();
    let found = 'found: {
        for builder in builders {
            if !builder.platforms.is_empty() && !builder.platforms.contains(platform) {
                offers.push(Offer { builder: builder.shown(), platforms: builder.platforms.clone() });
                continue;
            }
            let line = match connect(&builder.address).await {
                Ok(line) => line,
                Err(error) => {
                    silent.push((builder.shown(), error));
                    continue;
                }
            };
            let can = line.capabilities.platforms.clone();
            // The first that a builder names is its own; it emulates the others.
            if can.first() == Some(platform) {
                break 'found Some(line);
            }
            if can.contains(platform) {
                emulating.get_or_insert(line);
            } else if needs == Needs::Files {
                foreign.get_or_insert(line);
            } else {
                offers.push(Offer { builder: builder.shown(), platforms: can });
            }
        }
        emulating.or(foreign)
    };
    if found.is_some() || !offers.is_empty() {
        for (builder, error) in &silent {
            hear(Event::Warning(&format!("builder `{builder}` is passed over: {error}")));
        }
    }
    match found {
        Some(line) => Ok(line),
        None if offers.is_empty() && !silent.is_empty() => Err(silent.swap_remove(0).1),
        None => Err(BuildError::NoBuilder { platform: platform.clone(), offers }),
    }
}

/// Connects, in the newest way that the other side understands.
pub(super) async fn connect(address: &Address) -> Result<Line, BuildError> {
    let attempt = async {
        let opening = match address {
            Address::Program(program) if program.leads_to == LeadsTo::BuildKit => Opening::Direct,
            _ if speaks_http2(address).await? => Opening::Direct,
            _ => Opening::Upgrade,
        };
        try_connect(address.clone(), opening).await
    };
    let answer = match tokio::time::timeout(PATIENCE, attempt).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it did not answer within {} seconds", PATIENCE.as_secs()).into()),
    };
    answer.map_err(|source| BuildError::Unreachable { address: address.to_string(), source })
}

/// HTTP/2's connection preface and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5). A server
/// that speaks it begins with a SETTINGS frame of its own, whose type is the fourth byte.
async fn speaks_http2(address: &Address) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const SETTINGS: u8 = 4;
    let mut stream = stream::open(address, Language::Http2).await?;
    let mut answer = [0; 9];
    let asked = async {
        stream.write_all(PREFACE).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    match asked.await {
        Ok(_) => Ok(!answer.starts_with(b"HTTP/") && answer[3] == SETTINGS),
        // A program says why it ended; a server that hangs up does not speak it.
        Err(error) if error.kind() == io::ErrorKind::Other => Err(error),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
        Err(_) => Ok(false),
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn try_connect(address: Address, opening: Opening) -> Result<Line, AnyError> {
    let to = address.clone();
    let channel = Endpoint::from_static("http://buildkit")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(tower::service_fn(move |_| {
            let to = to.clone();
            async move { open(&to, opening).await.map(TokioIo::new) }
        }))
        .await?;
    let mut control = ControlClient::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    // A call that every BuildKit has: only its answer proves that gRPC is spoken.
    let workers = control
        .list_workers(ListWorkersRequest::default())
        .await
        .map_err(|status| plain(&status))?
        .into_inner();
    let capabilities = Capabilities::ask(&mut control, workers).await;
    Ok(Line { control, channel, address, capabilities })
}

/// A failed call by its cause: the layers of libraries above it only say that something failed.
fn plain(status: &tonic::Status) -> AnyError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = status.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.to_string().into();
        }
        cause = error.source();
    }
    status.message().to_owned().into()
}

async fn open(address: &Address, opening: Opening) -> io::Result<Stream> {
    match opening {
        Opening::Direct => stream::open(address, Language::Http2).await,
        Opening::Upgrade => {
            let mut stream = stream::open(address, Language::Http1).await?;
            upgrade(&mut stream).await?;
            Ok(stream)
        }
    }
}

async fn upgrade(stream: &mut Stream) -> io::Result<()> {
    let request = "POST /grpc HTTP/1.1\r\nHost: docker\r\nLine: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    // Byte by byte: the first HTTP/2 frame may follow the headers in the same packet.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_ANSWER {
            return Err(io::Error::other("the answer to `POST /grpc` has no end"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) == Some("101") {
        Ok(())
    } else {
        Err(io::Error::other(format!("`POST /grpc` was answered with `{line}`")))
    }
}
