//! How much of a line a download takes: connections, and bytes in a second.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How much of a line may be used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// So many connections; absent: as many as make it faster.
    pub connections: Option<usize>,
    /// Bytes in a second.
    pub rate: Option<NonZeroU64>,
}

/// Connections at the beginning, and at most.
pub(super) const FIRST: usize = 4;
pub(super) const MOST: usize = 16;

/// How long a number of connections is tried before more are.
const TRIAL: Duration = Duration::from_secs(2);

/// Opens more connections as long as each two of them make it faster: where packets get lost, a server
/// slows down each connection for itself.
pub(super) async fn widen(permits: &Semaphore, mut open: usize, received: &AtomicU64) -> Infallible {
    let mut ticks = interval(TRIAL);
    ticks.tick().await;
    let (mut before, mut best) = (0, 0);
    loop {
        ticks.tick().await;
        let now = received.load(Ordering::Relaxed);
        let speed = now - before;
        before = now;
        if open < MOST && speed > best + best / 8 {
            best = speed;
            open += 2;
            permits.add_permits(2);
        }
    }
}

/// Lets so many bytes pass in a second, whichever connection they come over.
pub(super) struct Brake {
    ticks: tokio::sync::Mutex<Interval>,
    /// Bytes for each tick.
    share: u64,
}

/// Ticks in a second.
const TICKS: u64 = 20;

impl Brake {
    pub(super) fn new(rate: NonZeroU64) -> Self {
        let share = (rate.get() / TICKS).max(1);
        let mut ticks = interval(Duration::from_nanos(share.saturating_mul(1_000_000_000) / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks: tokio::sync::Mutex::new(ticks), share }
    }

    pub(super) async fn pass(&self, bytes: u64) {
        let mut ticks = self.ticks.lock().await;
        for _ in 0..bytes.div_ceil(self.share) {
            ticks.tick().await;
        }
    }
}
