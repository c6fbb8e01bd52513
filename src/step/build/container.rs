//! Processes inside an image that is not exported yet: the gateway's containers, without a network.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ExecMessage, FdMessage, InitMessage, NewContainerRequest, ReleaseContainerRequest,
};
use bollard_buildkit_proto::pb::{Meta, Mount, NetMode, Platform as Wanted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::gateway::{Gateway, Made};
use super::session;
use crate::model::name::Platform;
use crate::model::policy::trial::{Ended, Process};

/// A container; it is released when its trial is over.
pub(super) struct Container {
    gateway: Gateway,
    id: String,
}

/// What a process prints, its last bytes.
#[derive(Clone, Default)]
pub(super) struct Output(Arc<Mutex<[Vec<u8>; 2]>>);

/// Bytes of each stream that are kept.
const MOST: usize = 1 << 20;

pub(super) const STDIN: u32 = 0;
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// BuildKit's exit code for a process of which it knows none.
const UNKNOWN: u32 = 255;

/// After a kill, the end of a process is not waited for longer.
const RELEASE: Duration = Duration::from_secs(10);

impl Output {
    fn take_in(&self, fd: u32, data: &[u8]) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = &mut streams[usize::from(fd == STDERR)];
        stream.extend_from_slice(data);
        let surplus = stream.len().saturating_sub(MOST);
        stream.drain(..surplus);
    }

    /// What was printed so far: stdout and stderr.
    pub(super) fn so_far(&self) -> [Vec<u8>; 2] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What runc says, in the place of the program, when it cannot start it.
fn not_started(stderr: &[u8]) -> Option<String> {
    const BEGINNINGS: [&str; 3] = ["runc run failed: ", "exec failed: ", "container_linux.go:"];
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().next()?;
    BEGINNINGS
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| line.rsplit_once("container process: ").map_or(line, |(_, reason)| reason).to_owned())
}

impl Container {
    /// A container of an image; what it writes is gone with it.
    pub(super) async fn new(gateway: &Gateway, made: &Made, platform: &Platform) -> Result<Self, Status> {
        Self::mounting(gateway, &[("/".to_owned(), made)], platform).await
    }

    /// A container that sees several file systems, each at its path; what it writes there is gone with it.
    pub(super) async fn mounting(
        gateway: &Gateway,
        mounts: &[(String, &Made)],
        platform: &Platform,
    ) -> Result<Self, Status> {
        let mut container = Self { gateway: gateway.clone(), id: session::identifier() };
        let mount = |(dest, made): &(String, &Made)| {
            Ok(Mount { dest: dest.clone(), result_id: made.reference()?.to_owned(), ..Mount::default() })
        };
        let request = NewContainerRequest {
            container_id: container.id.clone(),
            mounts: mounts.iter().map(mount).collect::<Result<_, Status>>()?,
            network: NetMode::None.into(),
            platform: Some(Wanted {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                ..Wanted::default()
            }),
            ..NewContainerRequest::default()
        };
        let request = container.gateway.ask(request);
        container.gateway.bridge.new_container(request).await?;
        Ok(container)
    }

    /// Runs a process to its end.
    pub(super) async fn run(&self, process: &Process, output: &Output) -> Ended {
        match self.try_run(process, output).await {
            Ok(ended) => ended,
            Err(status) => Ended::Unable(status.message().to_owned()),
        }
    }

    async fn try_run(&self, process: &Process, output: &Output) -> Result<Ended, Status> {
        let mut talk = self.start(process, &[STDOUT, STDERR]).await?;
        let mut ended = None;
        while let Some(heard) = talk.listen().await? {
            match heard {
                Heard::Piece(fd, data) => output.take_in(fd, &data),
                Heard::Exit(code, why) => {
                    let [_, stderr] = output.so_far();
                    ended = Some(match (code, not_started(&stderr)) {
                        (_, Some(why)) => Ended::Unable(why),
                        (UNKNOWN, None) if !why.is_empty() => Ended::Unable(why),
                        (code, None) => Ended::Exit(code),
                    });
                }
            }
        }
        ended.ok_or_else(|| Status::new(Code::Unknown, "the process ended without an exit code"))
    }

    /// Starts a process that is spoken to, and listened to, through these descriptors.
    pub(super) async fn start(&self, process: &Process, fds: &[u32]) -> Result<Talk, Status> {
        let mut gateway = self.gateway.clone();
        let process_id = session::identifier();
        let init = InitMessage {
            container_id: self.id.clone(),
            meta: Some(Meta {
                args: process.args.clone(),
                env: process.env.clone(),
                cwd: process.directory.clone(),
                user: process.user.clone(),
                ..Meta::default()
            }),
            fds: fds.to_vec(),
            ..InitMessage::default()
        };
        let (says, messages) = mpsc::channel(1);
        let speaker = Speaker { process_id, says };
        speaker.send(Input::Init(init)).await?;
        let request = gateway.ask(ReceiverStream::new(messages));
        let answers = gateway.bridge.exec_process(request).await?.into_inner();
        Ok(Talk { speaker, answers })
    }

    /// Ends everything in it. BuildKit answers with the last process's own failure, which is not news.
    pub(super) async fn release(mut self) {
        let request = self.gateway.ask(ReleaseContainerRequest { container_id: self.id.clone() });
        let _ = tokio::time::timeout(RELEASE, self.gateway.bridge.release_container(request)).await;
    }
}

/// A conversation with a process, which ends when this is dropped.
pub(super) struct Talk {
    speaker: Speaker,
    answers: Streaming<ExecMessage>,
}

/// Our side of it. BuildKit ends the process when this is dropped.
struct Speaker {
    process_id: String,
    says: mpsc::Sender<ExecMessage>,
}

/// What comes of a process.
pub(super) enum Heard {
    /// Bytes from one of its descriptors.
    Piece(u32, Vec<u8>),
    /// It ended, with this code, and BuildKit may say why.
    Exit(u32, String),
}

impl Speaker {
    async fn send(&self, input: Input) -> Result<(), Status> {
        let message = ExecMessage { process_id: self.process_id.clone(), input: Some(input) };
        self.says.send(message).await.map_err(|_| Status::cancelled("the call ended"))
    }
}

impl Talk {
    /// Gives bytes to its standard input, and nothing more: BuildKit waits for the end of it even after that of the
    /// process.
    pub(super) async fn say(&self, data: Vec<u8>) -> Result<(), Status> {
        self.speaker.send(Input::File(FdMessage { fd: STDIN, eof: false, data })).await?;
        self.speaker.send(Input::File(FdMessage { fd: STDIN, eof: true, data: Vec::new() })).await
    }

    /// What comes next; nothing after the end.
    pub(super) async fn listen(&mut self) -> Result<Option<Heard>, Status> {
        while let Some(message) = self.answers.message().await? {
            match message.input {
                Some(Input::File(piece)) => return Ok(Some(Heard::Piece(piece.fd, piece.data))),
                Some(Input::Exit(exit)) => {
                    let why = exit.error.map(|error| error.message).unwrap_or_default();
                    return Ok(Some(Heard::Exit(exit.code, why)));
                }
                Some(Input::Done(_)) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }
}
