//! Folders, disks, keys and programs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;

use super::quoted;
use crate::model::health::{self, Finding, Space};
use crate::step::keyring;

/// A folder that commands write to; it may be absent, and is made then. `variable` names another.
#[must_use]
pub fn folder(what: &str, path: &Path, variable: &str) -> Finding {
    let elsewhere = format!("export {variable}=\"$HOME/{}\"", what.replace(' ', "-"));
    let shown = path.display();
    let Some(there) = existing(path) else {
        return Finding::fault("folders", format!("{what}: `{shown}` cannot be made"), elsewhere);
    };
    if !there.is_dir() {
        let fix = format!("rm {}", quoted(there));
        return Finding::fault("folders", format!("{what}: `{}` is no folder", there.display()), fix);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == path && tampered(path) => Finding::warning(
            "folders",
            format!("{what}: everybody may change `{shown}`"),
            format!("chmod go-w {}", quoted(path)),
        ),
        Ok(()) => Finding::ok("folders", format!("{what}: {shown}")),
        Err(Errno::ROFS) => {
            Finding::fault("folders", format!("{what}: `{shown}` is on a read-only disk"), elsewhere)
        }
        Err(_) => Finding::fault(
            "folders",
            format!("{what}: `{}` belongs to somebody else", there.display()),
            format!("sudo chown -R \"$(id -un)\" {}", quoted(there)),
        ),
    }
}

/// What is left on the disk of a folder; nothing when that cannot be told.
#[must_use]
pub fn disk(what: &str, path: &Path, fix: Option<&str>) -> Option<Finding> {
    let data = statvfs(existing(path)?).ok()?;
    // Some file systems count no files, and say that there are none.
    let files = data.f_files == 0 || data.f_favail > 0;
    let space = Space { bytes: data.f_bavail.saturating_mul(data.f_frsize), files };
    let clear = format!("rm -rf {}", quoted(path));
    Some(health::room(what, space, fix.unwrap_or(&clear)))
}

/// Private keys that others may read.
#[must_use]
pub fn keys(folder: &Path) -> Vec<Finding> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    files.sort();
    let finding = |file: &PathBuf| {
        let shown = file.display();
        if keyring::is_exposed(file) {
            let fix = format!("chmod 600 {}", quoted(file));
            Finding::fault("keys", format!("others may read `{shown}`"), fix)
        } else {
            Finding::ok("keys", format!("only you may read {shown}"))
        }
    };
    files.iter().map(finding).collect()
}

/// The second opinion on what imgforge signs.
#[must_use]
pub fn cosign() -> Finding {
    let said = Command::new("cosign").arg("version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = said.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    health::cosign(said.as_deref())
}

/// The program that makes Debian bases.
#[must_use]
pub fn mmdebstrap() -> Finding {
    let tried = Command::new("mmdebstrap").arg("--version").stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            Finding::ok("recipes", format!("Debian bases are made by {}", said.trim()))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Finding::fault("recipes", format!("`mmdebstrap` cannot be run: {error}"), INSTALL)
        }
        _ => Finding::fault("recipes", "`mmdebstrap` is missing, which makes Debian bases", INSTALL),
    }
}

const INSTALL: &str = "sudo apt-get install -y mmdebstrap";

/// The nearest folder that is there.
fn existing(path: &Path) -> Option<&Path> {
    let current = Path::new(".");
    path.ancestors()
        .map(|path| if path.as_os_str().is_empty() { current } else { path })
        .find(|path| path.exists())
}

/// Whether everybody may write into it, and a sticky bit does not protect what lies there.
fn tampered(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o1002 == 0o0002)
}
