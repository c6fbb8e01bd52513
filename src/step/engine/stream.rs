//! One stream of bytes to wherever an [`Address`] leads.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::address::{Address, Program};
use super::tls;

/// Both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream of any kind.
pub type Stream = Box<dyn Duplex>;

/// What will be spoken; a TLS server may have to know before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// HTTP/1.1
    Http1,
    /// HTTP/2, or whatever the other side can.
    Http2,
}

/// Opens a stream.
pub async fn open(address: &Address, language: Language) -> io::Result<Stream> {
    match address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp { host, tls } => {
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            match tls {
                Some(credentials) => tls::secure(stream, host, credentials, language).await,
                None => Ok(Box::new(stream)),
            }
        }
        Address::Program(program) => Ok(Box::new(Piped::start(program)?)),
    }
}

/// A program that passes bytes; it ends with this value.
struct Piped {
    name: String,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What it complained about, once it is done.
    complaints: Option<JoinHandle<String>>,
    _child: Child,
}

/// What a program prints before it fails is worth reading only so far.
const MAX_COMPLAINT: u64 = 4096;

impl Piped {
    fn start(program: &Program) -> io::Result<Self> {
        let name = program.words.first().cloned().unwrap_or_default();
        let mut child = Command::new(&name)
            .args(program.words.iter().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot run `{name}`: {error}")))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other(format!("`{name}` has no pipes")));
        };
        let complaints = Some(tokio::spawn(read(stderr)));
        Ok(Self { name: program.words.join(" "), stdin, stdout, complaints, _child: child })
    }

    /// The end of the program is the end of the connection, and it knows why better than we.
    fn poll_reason(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Some(complaints) = &mut self.complaints else { return Poll::Ready(None) };
        let said = ready!(Pin::new(complaints).poll(cx)).unwrap_or_default();
        self.complaints = None;
        let error = || io::Error::other(format!("`{}` ended: {said}", self.name));
        Poll::Ready((!said.is_empty()).then(error))
    }
}

/// Reads to the end, so that the program never waits for a reader, and keeps the beginning.
async fn read(mut stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    let _ = (&mut stderr).take(MAX_COMPLAINT).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}

impl AsyncRead for Piped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stdout).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.capacity() == before {
            return Poll::Ready(Ok(()));
        }
        match ready!(this.poll_reason(cx)) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Piped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.stdin).poll_write(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Poll::Ready(Err(ready!(this.poll_reason(cx)).unwrap_or(error)))
            }
            other => Poll::Ready(other),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdin).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdin).poll_shutdown(cx)
    }
}
