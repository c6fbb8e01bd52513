//! BuildKit's file transfer, the sending side (the protocol of github.com/tonistiigi/fsutil).
//!
//! We announce every entry in depth-first order, numbered from 0, and an empty announcement ends
//! the list. BuildKit asks for the files that it lacks by number; we answer with pieces and an
//! empty piece, in any order. Its `FIN` is answered with ours.

use std::path::Path;
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};

use crate::model::context::{Entry, File, Source, Tree};
use crate::model::digest::{Digest, Hasher};

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
            let mut hasher = Hasher::default();
            loop {
                let mut data = Vec::with_capacity(PIECE);
                while data.len() < PIECE && input.read_buf(&mut data).await.map_err(unreadable)? > 0 {}
                if data.is_empty() {
                    break;
                }
                hasher.update(&data);
                send_packet(out, piece(data)).await?;
            }
            if hasher.finish() != file.digest {
                return Err(Status::aborted(changed(path, &file.digest)));
            }
        }
    }
    send_packet(out, piece(Vec::new())).await
}

/// What is said of a file that is not what it was: one that is kept by digest stays so until it is gone.
fn changed(path: &Path, digest: &Digest) -> String {
    let kept = path.file_name().is_some_and(|name| name.to_string_lossy().contains(&digest.hex()));
    let path = path.display();
    if kept {
        format!("the bytes of `{path}` are not those of its name: remove it, and build again")
    } else {
        format!("`{path}` changed during the build")
    }
}

fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

async fn send_packet(out: &Out, packet: Packet) -> Result<(), Status> {
    out.send(Ok(packet)).await.map_err(|_| Status::cancelled("BuildKit stopped listening"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_what_was_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"a root filesystem");
        let sent = async |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let size = bytes.len() as u64;
            let file = File { source: Source::Disk(path), size, digest, executable: false };
            let (out, mut packets) = tokio::sync::mpsc::channel(8);
            let outcome = send_file(&out, 0, &file).await;
            drop(out);
            let mut ended = false;
            while let Some(packet) = packets.recv().await {
                ended = packet.unwrap().data.is_empty();
            }
            (outcome.map_err(|status| status.message().replace(&digest.hex(), "[DIGEST]")), ended)
        };
        assert_eq!(sent("a.txt", b"a root filesystem").await, (Ok(()), true));
        let folder = folder.path().display();
        // The empty piece, which says that a file is whole, never follows.
        let changed = format!("`{folder}/a.txt` changed during the build");
        assert_eq!(sent("a.txt", b"a root filesystex").await, (Err(changed), false));
        let kept = format!(
            "the bytes of `{folder}/[DIGEST].tar` are not those of its name: remove it, and build again"
        );
        assert_eq!(sent(&format!("{}.tar", digest.hex()), b"a root filesystex").await, (Err(kept), false));
    }
}
