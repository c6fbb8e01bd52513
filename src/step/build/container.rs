//! Processes inside an image that is not exported yet: the gateway's containers, without a network.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ExecMessage, InitMessage, NewContainerRequest, ReleaseContainerRequest,
};
use bollard_buildkit_proto::pb::{Meta, Mount, NetMode, Platform as Wanted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

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

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

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
        let mut container = Self { gateway: gateway.clone(), id: session::identifier() };
        let root =
            Mount { dest: "/".to_owned(), result_id: made.reference()?.to_owned(), ..Mount::default() };
        let request = NewContainerRequest {
            container_id: container.id.clone(),
            mounts: vec![root],
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
            fds: vec![STDOUT, STDERR],
            ..InitMessage::default()
        };
        // Dropping the sender ends the process.
        let (send, messages) = mpsc::channel(1);
        let start = ExecMessage { process_id, input: Some(Input::Init(init)) };
        send.send(start).await.map_err(|_| Status::cancelled("the call ended"))?;
        let request = gateway.ask(ReceiverStream::new(messages));
        let mut answers = gateway.bridge.exec_process(request).await?.into_inner();
        let mut ended = None;
        while let Some(message) = answers.message().await? {
            match message.input {
                Some(Input::File(piece)) => output.take_in(piece.fd, &piece.data),
                Some(Input::Exit(exit)) => {
                    let why = exit.error.map(|error| error.message).unwrap_or_default();
                    let [_, stderr] = output.so_far();
                    ended = Some(match (exit.code, not_started(&stderr)) {
                        (_, Some(why)) => Ended::Unable(why),
                        (UNKNOWN, None) if !why.is_empty() => Ended::Unable(why),
                        (code, None) => Ended::Exit(code),
                    });
                }
                Some(Input::Done(_)) => break,
                _ => {}
            }
        }
        drop(send);
        ended.ok_or_else(|| Status::new(Code::Unknown, "the process ended without an exit code"))
    }

    /// Ends everything in it. BuildKit answers with the last process's own failure, which is not news.
    pub(super) async fn release(mut self) {
        let request = self.gateway.ask(ReleaseContainerRequest { container_id: self.id.clone() });
        let _ = tokio::time::timeout(RELEASE, self.gateway.bridge.release_container(request)).await;
    }
}
