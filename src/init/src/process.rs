//! Processes: started each in a group of their own, signalled by group, reaped by whoever comes first.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::config::StopSignal;
use crate::contract::Environment;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a code.
    Code(u8),
    /// By a signal.
    Signal(i32),
}

impl Ending {
    /// As shells write it: the code, or 128 and the signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// The code of something that should not have ended: never 0.
    #[must_use]
    pub fn failure(self) -> u8 {
        self.code().max(1)
    }

    /// Whether this is how a process ends that was sent `signal`: with 0, by the signal, or by saying so.
    #[must_use]
    pub fn clean_after(self, signal: Signal) -> bool {
        self == Self::Code(0) || self.code() == Self::Signal(signal.as_raw()).code()
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "with code {code}"),
            Self::Signal(signal) => match name(*signal) {
                Some(name) => write!(f, "by signal {name}"),
                None => write!(f, "by signal {signal}"),
            },
        }
    }
}

const NAMED: [(&str, Signal); 16] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("KILL", Signal::KILL),
    ("SEGV", Signal::SEGV),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("ILL", Signal::ILL),
    ("PIPE", Signal::PIPE),
    ("SYS", Signal::SYS),
    ("TRAP", Signal::TRAP),
];

/// A signal's name, without `SIG`.
#[must_use]
pub fn name(signal: i32) -> Option<&'static str> {
    NAMED.iter().find(|(_, named)| named.as_raw() == signal).map(|(name, _)| *name)
}

/// The kernel's signal for one of the configuration.
#[must_use]
pub fn signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}

/// What is started.
pub struct Program<'a> {
    /// Argument vector.
    pub words: &'a [String],
    /// Working directory.
    pub directory: Option<&'a str>,
    /// The whole environment.
    pub environment: &'a Environment,
}

/// A program that could not be started.
#[derive(Debug)]
pub struct NotStarted {
    /// Why.
    pub why: String,
    /// As shells end: 127 not found, 126 not executable; 71 for a system that is out of something.
    pub code: u8,
}

impl Program<'_> {
    /// Starts a service. It cannot read the terminal, whose foreground group it is not in, so its
    /// standard input is empty; output goes where the helper's goes.
    pub fn service(&self) -> Result<Pid, NotStarted> {
        self.spawn(&mut self.command()?).map(|(pid, _)| pid)
    }

    /// Starts a probe, and keeps what it complains about.
    pub fn probe(&self) -> Result<(Pid, Option<ChildStderr>), NotStarted> {
        self.spawn(self.command()?.stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    fn command(&self) -> Result<Command, NotStarted> {
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| NotStarted { why: "the command is empty".to_owned(), code: 127 })?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment).stdin(Stdio::null()).process_group(0);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }

    fn spawn(&self, command: &mut Command) -> Result<(Pid, Option<ChildStderr>), NotStarted> {
        let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
        Ok((Pid::from_child(&child), child.stderr.take()))
    }

    fn not_started(&self, error: &io::Error) -> NotStarted {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 127,
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => 126,
            // ENOEXEC: neither a program of this architecture nor a script with `#!`.
            _ if error.raw_os_error() == Some(8) => 126,
            _ => 71,
        };
        // The kernel does not say which of the two is missing.
        let why = match self.directory {
            Some(directory) if !Path::new(directory).is_dir() => format!("there is no directory {directory}"),
            _ => format!("{}: {error}", self.words.first().map_or("", String::as_str)),
        };
        NotStarted { why, code }
    }
}

/// One child that ended, own or adopted; `None` when there is none for now.
#[must_use]
pub fn reap() -> Option<(Pid, Ending)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let status = std::process::ExitStatus::from_raw(status.as_raw());
                let ending = match (status.code(), status.signal()) {
                    (Some(code), _) => Ending::Code(u8::try_from(code).unwrap_or(u8::MAX)),
                    (None, Some(signal)) => Ending::Signal(signal),
                    (None, None) => continue,
                };
                return Some((pid, ending));
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Sends a signal to all of a group. A group that is gone has nobody to hear it.
pub fn tell(group: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(group, signal);
}

/// Whether anybody is left in a group.
#[must_use]
pub fn is_empty(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group) == Err(rustix::io::Errno::SRCH)
}

/// Children that belong to no service: left behind by one, in a group of their own.
#[must_use]
pub fn strays() -> Vec<Pid> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What a probe complained about, one line of it. Never waits: a child of the probe may hold the pipe.
#[must_use]
pub fn complaint(stderr: Option<ChildStderr>) -> Option<String> {
    let mut stderr = stderr?;
    rustix::io::ioctl_fionbio(&stderr, true).ok()?;
    let mut bytes = [0; 1024];
    let read = stderr.read(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().filter(|c| !c.is_control()).take(200).collect())
}
