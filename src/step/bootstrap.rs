//! Makes a Debian root filesystem with `mmdebstrap`: no registry, no account, only signed packages.
//!
//! The result is kept by what was asked for, because it takes half a minute to make.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::progress::{Event, Hear};
use crate::model::digest::Digest;
use crate::model::name::{DebianName, Platform};
use crate::model::recipe::Debian;

/// Why there is no root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Not installed.
    #[error("`mmdebstrap` is not installed, and a Debian base is made with it")]
    NoTool,
    /// The disk, or the process.
    #[error("cannot make the Debian base in `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// It ended badly.
    #[error("`mmdebstrap` could not make Debian `{suite}`")]
    Failed {
        /// The suite.
        suite: DebianName,
        /// Its last lines.
        log: Vec<String>,
    },
}

/// Whether an earlier result will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Yes: the same packages as last time.
    Kept,
    /// No: with today's updates.
    Never,
}

// No mirror is named: mmdebstrap then adds a stable suite's updates and security updates itself.

/// Documentation and translations that no service reads: a third of the files, a tenth of the bytes.
const LEFT_OUT: [&str; 4] = ["doc/*", "info/*", "locale/*", "man/*"];

const LOG_LINES: usize = 15;

/// A tar of the root filesystem; from `cache` where it was made before.
pub async fn debian(
    base: &Debian,
    platform: &Platform,
    cache: &Path,
    reuse: Reuse,
    hear: Hear<'_>,
) -> Result<PathBuf, BootstrapError> {
    let arguments = arguments(base, platform);
    let target = cache.join(format!("{}.tar", Digest::of(arguments.join("\0").as_bytes()).hex()));
    if reuse == Reuse::Kept && target.is_file() {
        return Ok(target);
    }
    let io = |error| BootstrapError::Io(cache.to_owned(), error);
    std::fs::create_dir_all(cache).map_err(io)?;
    // Readable by all: without root, mmdebstrap works as another user there.
    let room =
        tempfile::Builder::new().prefix("imgforge-base-").permissions(open_to_all()).tempdir().map_err(io)?;
    let draft = tempfile::Builder::new().suffix(".part").tempfile_in(cache).map_err(io)?;
    let name = format!("mmdebstrap {}", base.suite);
    hear(Event::StepStarted(&name));
    let started = tokio::time::Instant::now();
    let mut child = mmdebstrap()
        .args(arguments)
        .arg(draft.path())
        .env("SOURCE_DATE_EPOCH", "0")
        .env("TMPDIR", room.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BootstrapError::NoTool,
            _ => io(error),
        })?;
    let mut stop = Stop(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut log = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await.map_err(io)? {
            hear(Event::StepLog(&line));
            log.push(line);
        }
    }
    let status = child.wait().await.map_err(io)?;
    // Its number may belong to another process from here on.
    stop.0 = None;
    if status.code() == Some(NOT_FOUND) {
        return Err(BootstrapError::NoTool);
    }
    if !status.success() {
        let suite = base.suite.clone();
        return Err(BootstrapError::Failed {
            suite,
            log: log.split_off(log.len().saturating_sub(LOG_LINES)),
        });
    }
    // A base that is cut short would be believed for ever.
    let size = draft.as_file().metadata().map_err(io)?.len();
    if size == 0 {
        return Err(BootstrapError::Failed { suite: base.suite.clone(), log });
    }
    draft.as_file().sync_all().map_err(io)?;
    draft.persist(&target).map_err(|error| io(error.error))?;
    hear(Event::StepDone { name: &name, cached: false, seconds: started.elapsed().as_secs_f64() });
    Ok(target)
}

/// What `unshare` ends with when there is no such program.
const NOT_FOUND: i32 = 127;

/// As root, mmdebstrap mounts `/proc` and `/sys` into the new system. Those mounts get a namespace of
/// their own, so that they end with it however it ends, and removing its folder can never reach
/// through them. Without root it makes namespaces itself.
fn mmdebstrap() -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "mmdebstrap"]);
        command
    } else {
        Command::new("mmdebstrap")
    }
}

fn open_to_all() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o755)
}

/// Ends the process and all that it started when the work is dropped.
struct Stop(Option<Pid>);

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            let _ = rustix::process::kill_process_group(process, Signal::KILL);
        }
    }
}

fn arguments(base: &Debian, platform: &Platform) -> Vec<String> {
    let mut packages = base.packages.clone();
    packages.sort();
    let mut arguments = vec!["--variant=minbase".to_owned(), "--format=tar".to_owned()];
    arguments.push(format!("--architectures={}", platform.architecture));
    if !packages.is_empty() {
        let names: Vec<&str> = packages.iter().map(DebianName::as_str).collect();
        arguments.push(format!("--include={}", names.join(",")));
    }
    arguments.extend(LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude=/usr/share/{path}")));
    // Licences must stay with the binaries that they license.
    arguments.push("--dpkgopt=path-include=/usr/share/doc/*/copyright".to_owned());
    arguments.push(base.suite.to_string());
    arguments
}
