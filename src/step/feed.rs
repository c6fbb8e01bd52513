//! Bytes that were checked, on their way to an engine while the rest is still checked.
//!
//! An engine looks for the image when the tar ends. Whoever gives it its bytes says when that is: a [`Feed`] that is
//! dropped before breaks the stream off, and nothing that was sent becomes an image.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use crate::model::digest::Digest;

/// Pieces that wait between unpacking and the engine.
const QUEUE: usize = 8;
const PIECE: usize = 1 << 18;

/// Takes checked bytes. What it does blocks, so it belongs into a thread that may.
pub struct Feed {
    without: Vec<Digest>,
    piece: Vec<u8>,
    /// Absent when nobody reads any more.
    to: Option<mpsc::Sender<Bytes>>,
    fate: Arc<Fate>,
}

/// What becomes of a stream.
#[derive(Default)]
struct Fate {
    /// Everything was given that should be.
    complete: AtomicBool,
    /// The reader has seen its end.
    read: AtomicBool,
}

/// A tar without the blobs `without`, as whoever checks it gives it and as an engine reads it.
#[must_use]
pub fn feed(without: Vec<Digest>) -> (Feed, Pieces) {
    let (to, from) = mpsc::channel(QUEUE);
    let fate = Arc::<Fate>::default();
    let feed = Feed { without, piece: Vec::new(), to: Some(to), fate: Arc::clone(&fate) };
    (feed, Pieces { from, fate })
}

impl Feed {
    /// What the engine has already.
    #[must_use]
    pub fn without(&self) -> &[Digest] {
        &self.without
    }

    /// The next bytes; waits while the engine has enough to read. That nobody reads any more is no reason to stop checking.
    pub fn give(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.to.is_some() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.send();
            }
        }
    }

    fn send(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if self.to.as_ref().is_some_and(|to| to.blocking_send(piece.into()).is_err()) {
            self.to = None;
        }
    }

    /// There is no more, and it was all right.
    pub fn finish(mut self) {
        self.send();
        self.fate.complete.store(true, Ordering::Release);
    }

    /// Gives all of a tar whose reader checks it.
    pub fn pour(mut self, mut tar: impl Read) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        while self.to.is_some() {
            match tar.read(&mut piece)? {
                0 => {
                    self.finish();
                    break;
                }
                read => self.give(&piece[..read]),
            }
        }
        Ok(())
    }
}

/// The stream that an engine reads.
pub struct Pieces {
    from: mpsc::Receiver<Bytes>,
    fate: Arc<Fate>,
}

/// Whether a stream was read to its end.
pub struct Receipt(Arc<Fate>);

impl Pieces {
    /// Tells afterwards whether all of it was read.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt(Arc::clone(&self.fate))
    }
}

impl Receipt {
    /// Whether all of it was given, and read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.read.load(Ordering::Acquire)
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from.poll_recv(context).map(|piece| match piece {
            Some(piece) => Some(Ok(piece)),
            None if self.fate.complete.load(Ordering::Acquire) => {
                self.fate.read.store(true, Ordering::Release);
                None
            }
            None => Some(Err(io::Error::other("what was sent is not what was signed"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    async fn read(pieces: Pieces) -> io::Result<Vec<u8>> {
        let pieces: Vec<_> = pieces.take(1000).collect().await;
        pieces.into_iter().try_fold(Vec::new(), |all, piece| Ok([all, piece?.to_vec()].concat()))
    }

    #[tokio::test]
    async fn all_of_it_arrives_or_it_breaks_off() {
        let content: Vec<u8> = (0..=250).cycle().take(3 * PIECE + 5).collect();
        for is_right in [true, false] {
            let (mut feed, pieces) = feed(Vec::new());
            let (receipt, given) = (pieces.receipt(), content.clone());
            let giving = tokio::task::spawn_blocking(move || {
                given.chunks(777).for_each(|part| feed.give(part));
                if is_right {
                    feed.finish();
                }
            });
            let read = read(pieces).await;
            giving.await.unwrap();
            assert_eq!(receipt.is_complete(), is_right);
            match read {
                Ok(read) => assert!(is_right && read == content),
                Err(error) => assert!(!is_right, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_leaves_stops_nobody() {
        let (feed, pieces) = feed(Vec::new());
        let receipt = pieces.receipt();
        drop(pieces);
        let endless = io::repeat(1);
        tokio::task::spawn_blocking(move || feed.pour(endless)).await.unwrap().unwrap();
        assert!(!receipt.is_complete());
    }
}
