//! A line between two machines: it counts what comes over it, and breaks when it is told to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Serves every connection in a thread of its own.
pub(crate) fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(client));
        }
    });
    address
}

/// Joins two connections until one of them ends.
pub(crate) fn join(mut a: TcpStream, mut b: TcpStream) {
    let (mut a2, mut b2) = (a.try_clone().unwrap(), b.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut a2, &mut b2));
    let _ = std::io::copy(&mut b, &mut a);
}

/// A line to a server.
pub(crate) struct Line {
    address: SocketAddr,
    passed: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Line {
    /// Breaks so many times, each time another number of bytes after a connection began.
    pub(crate) fn breaking(to: SocketAddr, times: u64) -> Self {
        let (passed, cuts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let state = Arc::new(Mutex::new(12345u64));
        let (counted, done) = (Arc::clone(&passed), Arc::clone(&cuts));
        let address = listen(move |client| {
            let Ok(server) = TcpStream::connect(to) else { return };
            let mut state = state.lock().unwrap();
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let budget = (done.load(Ordering::SeqCst) < times).then(|| 2_000 + (*state >> 33) % 60_000);
            drop(state);
            if carry(client, server, budget, &counted) {
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, passed, cuts }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes that came from the server, whatever they were.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// How often it broke.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Passes on what the server says, so many bytes at most. Tells whether they were too few.
fn carry(mut client: TcpStream, mut server: TcpStream, budget: Option<u64>, counted: &AtomicU64) -> bool {
    let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut asks, &mut asked);
        let _ = asked.shutdown(Shutdown::Write);
    });
    let (mut left, mut piece) = (budget.unwrap_or(u64::MAX), [0; 8 << 10]);
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(piece.len()));
        let Ok(read @ 1..) = server.read(&mut piece[..most]) else { break };
        if client.write_all(&piece[..read]).is_err() {
            break;
        }
        counted.fetch_add(read as u64, Ordering::SeqCst);
        left -= read as u64;
    }
    // What was sent arrives before the end does.
    let _ = (client.shutdown(Shutdown::Write), server.shutdown(Shutdown::Both));
    left == 0
}
