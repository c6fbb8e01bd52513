//! Reads an object piece by piece, wherever it is.

use std::fs::File;
use std::io::{self, Read as _};

use bytes::Bytes;

use crate::step::stream::PIECE;

/// An object that is being read.
#[derive(Debug)]
pub enum Reader {
    /// From this disk.
    File(File),
}

#[expect(clippy::unused_async, reason = "a folder does not wait; stores over a network do")]
impl Reader {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::File(file) => {
                let mut piece = vec![0; PIECE];
                let read = file.read(&mut piece)?;
                piece.truncate(read);
                Ok((read > 0).then(|| piece.into()))
            }
        }
    }

    /// All of a small object; a larger one is an error, not an allocation.
    pub async fn to_end(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > max {
                let why = format!("larger than {max} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}
