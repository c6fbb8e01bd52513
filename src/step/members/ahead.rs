//! Reads members ahead, on all cores: whoever is free takes the next one, and they are handed on in order.
//! Whoever waits for one is free, and takes the next one too, so there are as many threads as cores.
//!
//! A member needs a buffer, and there are so many and no more: that bounds memory, and how far the fastest
//! thread is ahead of the slowest. A buffer that was read comes back and serves again.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::{MemberError, Unpacker};
use crate::model::archive::index::Index;

/// Buffers for each thread.
const AHEAD: usize = 8;

/// Most threads that are of use: members come faster than anything takes them.
const MOST_THREADS: usize = 16;

/// The content of a member.
type Made = Result<Vec<u8>, MemberError>;

/// The contents of consecutive members, in order, verified and unpacked by several threads. They end when this
/// is dropped.
pub(super) struct Ahead {
    numbers: Range<usize>,
    queue: Arc<Mutex<Queue>>,
    maker: Maker,
    made: Receiver<(usize, Made)>,
    /// Those that came before their turn.
    early: BTreeMap<usize, Made>,
    buffers: Sender<Vec<u8>>,
}

/// What threads take from: a buffer, and the next member for it.
struct Queue {
    numbers: Range<usize>,
    buffers: Receiver<Vec<u8>>,
}

impl Ahead {
    /// Begins to read, on so many threads with the one that asks for members.
    pub(super) fn read(file: &Arc<File>, index: &Arc<Index>, numbers: Range<usize>, threads: usize) -> Self {
        let threads = threads.clamp(1, MOST_THREADS).min(numbers.len().max(1));
        let (buffers, empty) = channel();
        for _ in 0..threads * AHEAD {
            // The other end is in this function.
            let _ = buffers.send(Vec::new());
        }
        let queue = Arc::new(Mutex::new(Queue { numbers: numbers.clone(), buffers: empty }));
        let maker = || Maker {
            file: Arc::clone(file),
            index: Arc::clone(index),
            unpacker: Unpacker::new(),
            packed: Vec::new(),
        };
        let (send, made) = channel();
        for _ in 1..threads {
            let (maker, queue, send) = (maker(), Arc::clone(&queue), send.clone());
            std::thread::spawn(move || work(maker, &queue, &send));
        }
        Self { numbers, queue, maker: maker(), made, early: BTreeMap::new(), buffers }
    }

    /// The next content, for a buffer that is no longer needed.
    pub(super) fn next(&mut self, used: Vec<u8>) -> Option<Made> {
        let number = self.numbers.next()?;
        // Nobody takes it when all members are on their way.
        let _ = self.buffers.send(used);
        loop {
            self.early.extend(self.made.try_iter());
            if let Some(made) = self.early.remove(&number) {
                return Some(made);
            }
            if self.help() {
                continue;
            }
            match self.made.recv() {
                Ok((number, made)) => self.early.insert(number, made),
                Err(_) => return Some(Err(MemberError::Stopped)),
            };
        }
    }

    /// Makes a member, if there is one to make.
    fn help(&mut self) -> bool {
        // Somebody who has the lock for longer waits for a buffer.
        let Ok(mut queue) = self.queue.try_lock() else { return false };
        let Ok(buffer) = queue.buffers.try_recv() else { return false };
        let Some(number) = queue.numbers.next() else { return false };
        drop(queue);
        self.early.insert(number, self.maker.make(number, buffer));
        true
    }
}

/// What a thread makes members with.
struct Maker {
    file: Arc<File>,
    index: Arc<Index>,
    unpacker: Unpacker,
    packed: Vec<u8>,
}

impl Maker {
    fn make(&mut self, number: usize, mut content: Vec<u8>) -> Made {
        let member = &self.index.members()[number];
        self.packed.resize(member.packed as usize, 0);
        let read = self.file.read_exact_at(&mut self.packed, self.index.place(number).start);
        read.map_err(|error| MemberError::Io(number, error))?;
        self.unpacker.unpack(number, &self.packed, member, &mut content)?;
        Ok(content)
    }
}

/// A member that somebody waits for: they hear of it even if the thread that makes it panics.
struct Promise<'a> {
    number: usize,
    made: Option<Made>,
    to: &'a Sender<(usize, Made)>,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        // Nobody listens when the reader has seen enough.
        let _ = self.to.send((self.number, self.made.take().unwrap_or(Err(MemberError::Stopped))));
    }
}

fn work(mut maker: Maker, queue: &Mutex<Queue>, to: &Sender<(usize, Made)>) {
    loop {
        // The lock is held while waiting: the next buffer wakes one thread, which lets the next wait.
        let next = queue.lock().map(|mut queue| (queue.buffers.recv(), queue.numbers.next()));
        let Ok((Ok(buffer), Some(number))) = next else { return };
        let mut promise = Promise { number, made: None, to };
        promise.made = Some(maker.make(number, buffer));
    }
}
