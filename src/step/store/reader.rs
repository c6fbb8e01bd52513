//! Reads an object piece by piece, wherever it is. A connection that breaks is taken up again where it
//! broke, as long as the object is the same one.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::bucket::Bucket;
use super::fault::Fault;
use super::span::{Extent, Span};
use super::web::{Web, pause};
use super::{Key, io};
use crate::step::http::SILENCE;
use crate::step::stream::PIECE;

/// Bytes of an object that are being read.
pub struct Reader {
    from: From,
    key: Key,
    /// The next byte.
    at: u64,
    /// The one after the last, and the size of the object: what is left may be asked for again.
    end: u64,
    total: u64,
    etag: Option<String>,
    body: Body,
    pace: Pace,
}

/// How fast bytes come: each [`STRETCH`] of them within [`SILENCE`], or the server is as gone as one that
/// sends nothing. Only the time that is spent waiting counts, not what the reader does meanwhile.
#[derive(Default)]
struct Pace {
    waited: Duration,
    came: u64,
}

/// A kilobyte a second: a modem of last century, over four connections at once.
const STRETCH: u64 = SILENCE.as_secs() << 10;

/// Who is asked.
pub(super) enum From {
    Directory,
    Web(Web),
    Bucket(Bucket),
}

impl From {
    /// Bytes of an object; with its validator, only if it still is the same one.
    async fn get(&self, key: &Key, span: Span, same: Option<&str>) -> Result<Got, Fault> {
        match self {
            // A file is open, and nothing of it is asked for again.
            Self::Directory => Err(Fault::Missing),
            Self::Web(web) => web.get(key, span, same).await,
            Self::Bucket(bucket) => bucket.get(key, span, same).await,
        }
    }
}

/// An answer whose beginning is known to be right.
pub(super) struct Got {
    pub(super) extent: Extent,
    pub(super) etag: Option<String>,
    pub(super) body: Body,
}

pub(super) enum Body {
    File(File),
    Web(reqwest::Response),
    Bucket(ByteStream),
}

/// Broken connections in a row that are taken up again; every piece that arrives forgives one.
const TRIES: u32 = 5;

impl Reader {
    pub(super) fn file(file: File, key: &Key, extent: Extent) -> Self {
        Self::of(From::Directory, key, Got { extent, etag: None, body: Body::File(file) })
    }

    /// Bytes of an object on a server.
    pub(super) async fn open(from: From, key: &Key, span: Span) -> Result<Self, Fault> {
        let got = from.get(key, span, None).await?;
        Ok(Self::of(from, key, got))
    }

    fn of(from: From, key: &Key, Got { extent: Extent { bytes, total }, etag, body }: Got) -> Self {
        let (at, end, key) = (bytes.start, bytes.end, key.clone());
        Self { from, key, at, end, total, etag, body, pace: Pace::default() }
    }

    /// The size of the object.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut tries = 0;
        loop {
            let next = self.pace.measure(self.body.next(self.end - self.at)).await?;
            let fault = match next {
                Ok(None) if self.end != u64::MAX && self.at < self.end => {
                    Fault::Unreachable("the connection ended before the object did".to_owned())
                }
                Ok(Some(piece)) if piece.len() as u64 > self.end - self.at => {
                    return Err(Fault::Unreachable("it sends more bytes than it announced".to_owned()));
                }
                Ok(piece) => {
                    self.at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(fault) => fault,
            };
            // Without a validator, the rest might be of another object.
            let Some(etag) = self.etag.as_deref().filter(|_| fault.may_pass() && tries < TRIES) else {
                return Err(fault);
            };
            tries += 1;
            pause(tries).await;
            let rest = match self.end {
                end if end == self.total => Span::From(self.at),
                end => Span::Part { start: self.at, end },
            };
            self.body = self.from.get(&self.key, rest, Some(etag)).await?.body;
        }
    }

    /// All of a small object; a larger one is an error, not an allocation.
    pub async fn to_end(&mut self, max: usize) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > max {
                let why = format!("larger than {max} bytes");
                return Err(Fault::Io(io::Error::new(io::ErrorKind::FileTooLarge, why)));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The validator of a small object that a condition can name.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }
}

impl Pace {
    /// Waits for bytes, unless they come too slowly.
    async fn measure<T>(
        &mut self,
        bytes: impl Future<Output = Result<Option<Bytes>, T>>,
    ) -> Result<Result<Option<Bytes>, T>, Fault> {
        let begun = Instant::now();
        let slow = |_| Fault::Unreachable("it sends less than a kilobyte a second".to_owned());
        let outcome = timeout(self.patience(), bytes).await.map_err(slow)?;
        let came = outcome.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        self.note(begun.elapsed(), came as u64);
        Ok(outcome)
    }

    /// How long the next bytes may take.
    fn patience(&self) -> Duration {
        SILENCE.saturating_sub(self.waited)
    }

    fn note(&mut self, waited: Duration, came: u64) {
        self.waited += waited;
        self.came += came;
        if self.came >= STRETCH {
            *self = Self::default();
        }
    }
}

impl Body {
    /// The next bytes; of a file, which goes on after a part of it, so many at most.
    async fn next(&mut self, most: u64) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::File(file) => {
                let mut piece = vec![0; PIECE.min(usize::try_from(most).unwrap_or(PIECE))];
                let read = file.read(&mut piece)?;
                piece.truncate(read);
                Ok((read > 0).then(|| piece.into()))
            }
            Self::Web(answer) => Ok(answer.chunk().await?),
            Self::Bucket(body) => body
                .next()
                .await
                .transpose()
                .map_err(|error| Fault::Unreachable(crate::step::http::root(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_a_second_is_no_download() {
        let mut pace = Pace::default();
        let second = Duration::from_secs(1);
        let patient = (0..1000).take_while(|_| {
            let waits = pace.patience() >= second;
            pace.note(second, 1);
            waits
        });
        assert_eq!(patient.count(), 60);
    }

    #[test]
    fn a_slow_line_is_waited_for_as_long_as_enough_comes() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert_eq!(pace.patience(), SILENCE);
            pace.note(Duration::from_secs(29), STRETCH / 2);
            pace.note(Duration::from_secs(29), STRETCH / 2);
        }
    }
}
