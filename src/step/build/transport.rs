//! One byte stream to BuildKit that speaks gRPC.
//!
//! | endpoint | how |
//! |---|---|
//! | buildkitd, `BUILDKIT_HOST` | HTTP/2 from the first byte |
//! | Docker Engine 29 and later | the same, on the API socket |
//! | older Docker Engines | `POST /grpc` with `Upgrade: h2c`, HTTP/2 after the `101` answer |
//!
//! An old engine answers HTTP/2 with HTTP/1.1 text. A probe of a few bytes asks which it is, rather
//! than letting the gRPC stack fail on that text: one build in some hundred hung while connecting so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::ListWorkersRequest;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

use super::BuildError;
use crate::step::engine::Address;

/// What builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builder {
    /// The BuildKit inside a Docker Engine.
    Engine(Address),
    /// A BuildKit daemon of its own.
    BuildKit(Address),
}

/// BuildKit's control service.
pub(super) type Control = ControlClient<Channel>;

/// A connection that answered.
pub(super) struct Line {
    /// The control service.
    pub(super) control: Control,
    /// The same connection, for other services.
    pub(super) channel: Channel,
}

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

/// Connects, in the newest way that the other side understands.
pub(super) async fn connect(builder: &Builder) -> Result<Line, BuildError> {
    let (Builder::BuildKit(address) | Builder::Engine(address)) = builder;
    let attempt = async {
        let opening = match builder {
            Builder::Engine(address) if !speaks_http2(address).await? => Opening::Upgrade,
            _ => Opening::Direct,
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
    let mut stream = open(address, Opening::Direct).await?;
    let mut answer = [0; 9];
    let asked = async {
        stream.write_all(PREFACE).await?;
        stream.read_exact(&mut answer).await
    };
    // One that hangs up instead of answering does not speak it either.
    Ok(asked.await.is_ok() && !answer.starts_with(b"HTTP/") && answer[3] == SETTINGS)
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn try_connect(address: Address, opening: Opening) -> Result<Line, AnyError> {
    let channel = Endpoint::from_static("http://buildkit")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(tower::service_fn(move |_| {
            let address = address.clone();
            async move { open(&address, opening).await.map(TokioIo::new) }
        }))
        .await?;
    let mut control = ControlClient::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    // A call that every BuildKit has: only its answer proves that gRPC is spoken.
    control.list_workers(ListWorkersRequest::default()).await?;
    Ok(Line { control, channel })
}

async fn open(address: &Address, opening: Opening) -> io::Result<Stream> {
    let mut stream = match address {
        Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        Address::Tcp(host) => {
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            Stream::Tcp(stream)
        }
    };
    if let Opening::Upgrade = opening {
        upgrade(&mut stream).await?;
    }
    Ok(stream)
}

async fn upgrade(stream: &mut Stream) -> io::Result<()> {
    let request = "POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
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

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
