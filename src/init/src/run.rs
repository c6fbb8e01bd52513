//! Process 1: the loop that turns signals, ended children and time into calls of the supervisor.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::config::Config;
use crate::contract::Environment;
use crate::log::{Level, Log};
use crate::supervisor::Supervisor;
use crate::unit::Unit;
use crate::{heap, process, status};

/// After a kill nothing runs; what is there yet cannot be ended.
const GONE: Duration = Duration::from_secs(1);

/// Signals that mean something; `SIGCHLD` wakes the loop when a child ended.
const SIGNALS: [i32; 8] = [SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH];

/// Signals, as bytes in a pipe. Installed before anything else: process 1 never sees a signal that it has
/// no handler for.
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Installs the handlers; programs that are started later get the default ones.
    pub fn install() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, SignalOnly, SIGNALS).map(Self)
    }

    /// Waits for a signal, a question about the status, or this much time.
    fn wait(&self, listener: &UnixListener, most: Option<Duration>) {
        let mut fds = [PollFd::new(self.0.get_read(), PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        let most = most.map(|most| Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            // Up, not down: waking before the time would mean waking again at once.
            tv_nsec: i64::from(most.subsec_nanos()),
        });
        // Interrupted is as good as awake: everything is looked at each time.
        let _ = poll(&mut fds, most.as_ref());
    }
}

/// Runs the services until nothing is left to do; the exit code.
pub fn run(
    config: &Config,
    environment: &Environment,
    mut signals: Signals,
    listener: &UnixListener,
    helper: &str,
    log: Log,
) -> u8 {
    let units = units(config, environment, log);
    let longest = config.services.values().map(|service| service.stop.timeout).max().unwrap_or(0);
    let mut supervisor = Supervisor::new(units, helper, log);
    let code = loop {
        let now = Instant::now();
        while let Some((pid, ending)) = process::reap() {
            supervisor.ended(pid, ending, now);
        }
        if let Some(code) = supervisor.step(now) {
            break code;
        }
        status::answer(listener, || supervisor.status());
        let wake = supervisor.wake(now).map(|wake| wake.saturating_duration_since(Instant::now()));
        signals.wait(listener, wake);
        let now = Instant::now();
        signals
            .0
            .pending()
            .filter(|signal| *signal != SIGCHLD)
            .for_each(|signal| supervisor.signal(signal, now));
    };
    end_strays(&mut signals, listener, Duration::from_millis(longest), log);
    log.say(if code == 0 { Level::Info } else { Level::Error }, None, &format!("exit with code {code}"));
    code
}

/// What each service is started with.
fn units<'a>(
    config: &'a Config,
    environment: &Environment,
    log: Log,
) -> std::collections::BTreeMap<&'a str, Unit<'a>> {
    let limit = config.heap.and_then(|heap| heap::limit(Path::new("/")).or(heap.memory));
    if config.heap.is_some() && limit.is_none() {
        log.say(Level::Warn, None, "no memory limit is known: each service sizes its heap by the machine");
    }
    let mut units = std::collections::BTreeMap::new();
    for (name, spec) in &config.services {
        let mut own = environment.clone();
        own.extend(spec.environment.iter().map(|(name, value)| (name.into(), value.into())));
        let heap = config.heap.as_ref().zip(limit);
        let heap = heap.and_then(|(heap, limit)| heap::variable(heap, limit, config.services.len(), &own));
        own.extend(heap);
        units.insert(name.as_str(), Unit::new(spec, own));
    }
    units
}

/// Ends processes that left their service's group and were adopted. The kernel would kill them with
/// process 1; asked first, they can finish what they write. Under another init nobody else would.
fn end_strays(signals: &mut Signals, listener: &UnixListener, mut most: Duration, log: Log) {
    let start = Instant::now();
    let mut told = Vec::new();
    loop {
        while process::reap().is_some() {}
        let strays = process::strays();
        let waited = start.elapsed();
        if strays.is_empty() || waited > most + GONE {
            return;
        }
        let killing = waited >= most;
        for stray in strays {
            if killing {
                let _ = rustix::process::kill_process(stray, Signal::KILL);
            } else if !told.contains(&stray) {
                told.push(stray);
                let pid = stray.as_raw_pid();
                log.say(Level::Warn, None, &format!("process {pid} was left behind by a service: ending it"));
                let _ = rustix::process::kill_process(stray, Signal::TERM);
            }
        }
        signals.wait(listener, Some(Duration::from_millis(20)));
        if signals.0.pending().any(|signal| [SIGTERM, SIGINT, SIGQUIT].contains(&signal)) {
            most = Duration::ZERO;
        }
    }
}
