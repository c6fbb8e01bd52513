//! What steps tell while they work. The command line draws it; the library never prints.

use std::time::Instant;

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A part of the work begins, in words for a person.
    Doing(&'a str),
    /// Bytes of the current part: so many of so many.
    Bytes {
        /// Done so far; never falls while `total` stays.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// A build step began.
    StepStarted(&'a str),
    /// A build step printed a line.
    StepLog(&'a str),
    /// A build step ended well.
    StepDone {
        /// Its name.
        name: &'a str,
        /// Taken from the cache, nothing was run.
        cached: bool,
        /// How long it took, as the engine measured it.
        seconds: f64,
    },
    /// A piece of the work on one archive ended well.
    Took {
        /// Which piece.
        work: Work,
        /// The name of the archive.
        file: &'a str,
        /// How long it took.
        seconds: f64,
    },
    /// Worth knowing; the work goes on.
    Warning(&'a str),
}

/// A piece of the work on one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Until the builder has the image; those of several tiers are built side by side.
    Build,
    /// Writing the archive.
    Pack,
    /// Until the store has it.
    Upload,
    /// Fetching it back and verifying it.
    ReadBack,
}

impl Work {
    /// As other programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Pack => "pack",
            Self::Upload => "upload",
            Self::ReadBack => "read_back",
        }
    }

    /// Starts to measure.
    #[must_use]
    pub fn begin(self) -> Begun {
        Begun { work: self, at: Instant::now() }
    }
}

/// A piece of work that is being measured.
#[derive(Debug)]
pub struct Begun {
    work: Work,
    at: Instant,
}

impl Begun {
    /// Tells how long it took.
    pub fn end(self, file: &str, hear: Hear<'_>) {
        hear(Event::Took { work: self.work, file, seconds: self.at.elapsed().as_secs_f64() });
    }
}

/// Whoever listens.
pub type Hear<'a> = &'a (dyn Fn(Event<'_>) + Send + Sync);

/// Passes bytes through and tells how many.
pub struct Counted<'a, T> {
    inner: T,
    hear: Hear<'a>,
    done: u64,
    told: u64,
    total: u64,
}

/// Often enough to look smooth, seldom enough to cost nothing.
const TELL_EVERY: u64 = 4 << 20;

impl<'a, T> Counted<'a, T> {
    /// `total` is what `done` will reach.
    pub fn new(inner: T, total: u64, hear: Hear<'a>) -> Self {
        Self::resumed(inner, 0, total, hear)
    }

    /// `done` bytes have passed before.
    pub fn resumed(inner: T, done: u64, total: u64, hear: Hear<'a>) -> Self {
        hear(Event::Bytes { done, total });
        Self { inner, hear, done, told: done, total }
    }

    fn count(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.done - self.told >= TELL_EVERY || self.done == self.total {
            self.told = self.done;
            (self.hear)(Event::Bytes { done: self.done, total: self.total });
        }
    }
}

impl<T: std::io::Read> std::io::Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count(read);
        Ok(read)
    }
}

impl<T: std::io::Write> std::io::Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count(written);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
