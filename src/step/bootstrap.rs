//! Makes a Debian root filesystem with `mmdebstrap`: no registry, no account, only signed packages.
//!
//! The result is [`kept`] by what was asked for, because it takes half a minute to make.

mod kept;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::content::ContentStore;
use super::debs;
use super::progress::{Event, Hear};
use crate::model::context::File;
use crate::model::digest::Digest;
use crate::model::lock::{Pin, debian};
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
    /// A pinned package that is none.
    #[error(transparent)]
    Deb(#[from] debs::DebError),
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

/// Pinned packages, and where their files are.
pub struct Pinned<'a> {
    /// The packages.
    pub pin: &'a Pin,
    /// What has their files.
    pub store: &'a ContentStore,
}

/// A tar of the root filesystem; from `cache` where it was made before. With pins, it is made of
/// these packages alone.
pub async fn debian(
    base: &Debian,
    platform: &Platform,
    pinned: Option<Pinned<'_>>,
    cache: &Path,
    reuse: Reuse,
    hear: Hear<'_>,
) -> Result<File, BootstrapError> {
    let mut arguments = arguments(base, platform, pinned.as_ref());
    let mut identity = arguments.join("\0");
    for item in pinned.iter().flat_map(|pinned| &pinned.pin.files) {
        identity.push_str(&item.digest.hex());
    }
    let link = cache.join(Digest::of(identity.as_bytes()).hex());
    if let (Reuse::Kept, Some(found)) = (reuse, kept::find(&link)) {
        return Ok(found);
    }
    let io = |error| BootstrapError::Io(cache.to_owned(), error);
    std::fs::create_dir_all(cache).map_err(io)?;
    // Readable by all: without root, mmdebstrap works as another user there.
    let room =
        tempfile::Builder::new().prefix("imgforge-base-").permissions(open_to_all()).tempdir().map_err(io)?;
    let draft = tempfile::Builder::new().suffix(".part").tempfile_in(cache).map_err(io)?;
    let draft_path = draft.path().display().to_string();
    match &pinned {
        Some(pinned) => {
            let sources = repository(pinned, &base.suite, room.path())?;
            arguments.extend([
                format!("--customize-hook=copy-in {}/sources.list /etc/apt", room.path().display()),
                // No suite: the packages are chosen already.
                String::new(),
                draft_path,
                sources,
            ]);
        }
        None => arguments.extend([base.suite.to_string(), draft_path]),
    }
    let name = format!("mmdebstrap {}", base.suite);
    hear(Event::StepStarted(&name));
    let started = tokio::time::Instant::now();
    let mut child = mmdebstrap()
        .args(arguments)
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
        // Not what went well, unless that is all.
        if log.iter().any(|line| !line.starts_with("I: ")) {
            log.retain(|line| !line.starts_with("I: "));
        }
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
    let made = kept::keep(draft, &link).map_err(io)?;
    hear(Event::StepDone { name: &name, cached: false, seconds: started.elapsed().as_secs_f64() });
    Ok(made)
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

/// A repository of the pinned packages alone; the source that names it. What apt chooses from is
/// what is pinned, so it has no choice.
fn repository(pinned: &Pinned<'_>, suite: &DebianName, room: &Path) -> Result<String, BootstrapError> {
    use std::os::unix::fs::PermissionsExt as _;
    let io = |error| BootstrapError::Io(room.to_owned(), error);
    let folder = room.join("pinned");
    std::fs::create_dir(&folder).map_err(io)?;
    let mut list = String::new();
    for item in &pinned.pin.files {
        let (blob, file) = (pinned.store.path(&item.digest), folder.join(item.file_name()));
        list.push_str(&debian::entry(&debs::control(&blob)?, item));
        // Copied, for mmdebstrap reads it as another user, who may not enter the content store.
        std::fs::copy(&blob, &file).map_err(io)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    std::fs::write(folder.join("Packages"), list).map_err(io)?;
    std::fs::write(room.join("sources.list"), debian::sources(suite, "")).map_err(io)?;
    for file in [folder.join("Packages"), room.join("sources.list")] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    std::fs::set_permissions(&folder, open_to_all()).map_err(io)?;
    // Trusted, because every file was compared with the lock.
    Ok(format!("deb [trusted=yes] copy://{} ./", folder.display()))
}

fn arguments(base: &Debian, platform: &Platform, pinned: Option<&Pinned<'_>>) -> Vec<String> {
    let pins = pinned.iter().flat_map(|pinned| &pinned.pin.files).map(|item| item.name.as_str());
    let names = base.packages.iter().map(DebianName::as_str);
    let packages: BTreeSet<&str> = names.chain(pins).collect();
    let mut arguments = vec!["--variant=minbase".to_owned(), "--format=tar".to_owned()];
    arguments.push(format!("--architectures={}", platform.architecture));
    if !packages.is_empty() {
        let names: Vec<&str> = packages.into_iter().collect();
        arguments.push(format!("--include={}", names.join(",")));
    }
    arguments.extend(LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude=/usr/share/{path}")));
    // Licences must stay with the binaries that they license.
    arguments.push("--dpkgopt=path-include=/usr/share/doc/*/copyright".to_owned());
    arguments
}
