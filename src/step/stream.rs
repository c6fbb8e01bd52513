//! Bytes that pass through are hashed and counted on the way: nothing is read twice.

use std::io::{self, Read, Write};

use crate::model::digest::Hasher;
use crate::model::image::Blob;

/// Large enough that calls cost nothing, small enough for every thread to have one.
pub const PIECE: usize = 1 << 18;

/// Writes on, and knows what it wrote.
pub struct Hashing<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Hashing<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, hasher: Hasher::default() }
    }

    /// Takes in all of a stream.
    pub fn take_in(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.write_all(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What was written so far.
    pub fn so_far(&self) -> Blob {
        Blob { digest: self.hasher.clone().finish(), size: self.hasher.size() }
    }

    /// What was written.
    pub fn blob(self) -> Blob {
        let size = self.hasher.size();
        Blob { digest: self.hasher.finish(), size }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Copies to the end, and tells what it was.
pub fn copy(from: &mut impl Read, to: impl Write) -> io::Result<Blob> {
    let mut out = Hashing::new(to);
    out.take_in(from)?;
    Ok(out.blob())
}

/// What a stream is, to its end.
pub fn measure(from: &mut impl Read) -> io::Result<Blob> {
    copy(from, io::sink())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_what_is_counted() {
        let bytes = vec![7; PIECE + 1];
        let mut out = Vec::new();
        let blob = copy(&mut bytes.as_slice(), &mut out).unwrap();
        assert_eq!((&out, blob), (&bytes, Blob::of(&bytes)));
        assert_eq!(measure(&mut bytes.as_slice()).unwrap(), blob);
    }
}
