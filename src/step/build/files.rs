//! BuildKit's file transfer, the sending side (the protocol of github.com/tonistiigi/fsutil).
//!
//! We announce every entry in depth-first order, numbered from 0, and an empty announcement ends
//! the list. BuildKit asks for the files that it lacks by number; we answer with pieces and an
//! empty piece, in any order. Its `FIN` is answered with ours.

use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};

use crate::model::context::{Entry, File, Source, Tree};

/// Piece size: large enough that framing is free, small enough for HTTP/2 windows.
const PIECE: usize = 1 << 18;

/// Go's `os.FileMode` bits, which the protocol uses instead of Unix's.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

type Out = Sender<Result<Packet, Status>>;

/// Serves one transfer. `follow` are the only paths asked for; empty means everything.
pub(super) async fn send(
    tree: Arc<Tree>,
    follow: Vec<String>,
    mut asked: Streaming<Packet>,
    out: Out,
) -> Result<(), Status> {
    let mut files: Vec<Option<File>> = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| wanted(path, &follow)) {
        send_packet(&out, Packet { stat: Some(stat(path, entry)), ..packet(PacketType::PacketStat) }).await?;
        files.push(if let Entry::File(file) = entry { Some(file.clone()) } else { None });
    }
    send_packet(&out, packet(PacketType::PacketStat)).await?;
    while let Some(request) = asked.message().await? {
        match request.r#type() {
            PacketType::PacketReq => {
                let file = usize::try_from(request.id).ok().and_then(|id| files.get(id)?.as_ref());
                let file = file.ok_or_else(|| Status::invalid_argument("no such file was announced"))?;
                send_file(&out, request.id, file).await?;
            }
            PacketType::PacketFin => return send_packet(&out, packet(PacketType::PacketFin)).await,
            PacketType::PacketErr => {
                return Err(Status::aborted(String::from_utf8_lossy(&request.data).into_owned()));
            }
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
    Ok(())
}

/// BuildKit names single files and patterns when it looks for a Dockerfile or knows what `COPY`
/// reads. Sending more than asked for is allowed, so only the first component is compared.
fn wanted(path: &str, follow: &[String]) -> bool {
    let top = path.split('/').next();
    follow.is_empty()
        || follow.iter().any(|asked| {
            let asked = asked.trim_start_matches(['/', '.']).split('/').next().unwrap_or_default();
            let pattern = asked.contains(['*', '?', '[', '\\']);
            asked.is_empty() || pattern || top.map(|top| top.trim_start_matches('.')) == Some(asked)
        })
}

fn stat(path: String, entry: &Entry) -> Stat {
    let blank = Stat { path, ..Stat::default() };
    match entry {
        Entry::Directory => Stat { mode: GO_DIRECTORY | 0o755, ..blank },
        Entry::Link(target) => Stat { mode: GO_SYMLINK | 0o777, linkname: target.clone(), ..blank },
        Entry::File(file) => Stat {
            mode: if file.executable { 0o755 } else { 0o644 },
            size: i64::try_from(file.size).unwrap_or(i64::MAX),
            mod_time: file.modified_nanos(),
            ..blank
        },
    }
}

async fn send_file(out: &Out, id: u32, file: &File) -> Result<(), Status> {
    let piece = |data| Packet { id, data, ..packet(PacketType::PacketData) };
    match &file.source {
        Source::Generated(bytes) => {
            for bytes in bytes.chunks(PIECE) {
                send_packet(out, piece(bytes.to_vec())).await?;
            }
        }
        Source::Disk(path) => {
            let unreadable = |error| Status::aborted(format!("`{}`: {error}", path.display()));
            let mut input = tokio::fs::File::open(path).await.map_err(unreadable)?.take(file.size);
            let mut sent = 0;
            loop {
                let mut data = Vec::with_capacity(PIECE);
                while data.len() < PIECE && input.read_buf(&mut data).await.map_err(unreadable)? > 0 {}
                if data.is_empty() {
                    break;
                }
                sent += data.len() as u64;
                send_packet(out, piece(data)).await?;
            }
            if sent != file.size {
                return Err(Status::aborted(format!("`{}` changed during the build", path.display())));
            }
        }
    }
    send_packet(out, piece(Vec::new())).await
}

fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

async fn send_packet(out: &Out, packet: Packet) -> Result<(), Status> {
    out.send(Ok(packet)).await.map_err(|_| Status::cancelled("BuildKit stopped listening"))
}
