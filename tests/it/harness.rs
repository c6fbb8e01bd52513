//! Runs the real binary in a home of its own, and writes down what a person would see.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A person's machine: an empty home and a folder to work in.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// The password of every key that tests make.
pub(crate) const PASSWORD: &str = "correct horse";

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    /// `imgforge` with arguments, in this home.
    pub(crate) fn imgforge(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgforge"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for variable in [
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "BUILDKIT_HOST",
            "DOCKER_TLS_VERIFY",
            "IMGFORGE_STORE",
        ] {
            command.env_remove(variable);
        }
        command.env("HOME", self.folder.path()).env("COSIGN_PASSWORD", PASSWORD).env("COLUMNS", "100");
        command
    }

    /// Runs and writes down exit code, stdout and stderr.
    pub(crate) fn session(&self, arguments: &[&str]) -> String {
        self.record(&mut self.imgforge(arguments))
    }

    /// Runs a prepared command and writes it down.
    pub(crate) fn record(&self, command: &mut Command) -> String {
        record(&run(command), &[(self.folder.path(), "[HOME]"), (root(), "[ROOT]")])
    }

    /// Runs something that must work; returns stdout.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        must(&mut self.imgforge(arguments))
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs something that must work; returns stdout.
pub(crate) fn must(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}", record(&output, &[]));
    String::from_utf8(output.stdout).unwrap()
}

/// A tool that `tests/setup/tools` installed, found first in its folder.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Command {
    let installed = tools().join(name);
    let mut command = Command::new(if installed.exists() { installed } else { PathBuf::from(name) });
    command.args(arguments).env("COSIGN_PASSWORD", PASSWORD);
    command
}

/// The folder of the tools.
pub(crate) fn tools() -> PathBuf {
    let mut command = Command::new(root().join("tests/setup/tools"));
    PathBuf::from(must(command.arg("--path").env_clear().envs(home())).trim())
}

fn home() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| ["HOME", "PATH", "IMGFORGE_TOOLS"].contains(&name.as_str()))
}

pub(crate) fn record(output: &Output, names: &[(&Path, &str)]) -> String {
    let mut text = format!("exit {}\n", output.status.code().unwrap_or(-1));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            let _ = write!(text, "--- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    for (path, name) in names {
        text = text.replace(path.to_str().unwrap(), name);
    }
    text
}

/// Snapshot settings: what differs from run to run gets a name.
#[macro_export]
macro_rules! assert_session {
    ($session:expr, @$expected:literal) => {{
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\.tmp[A-Za-z0-9]{6}", "[TMP]");
        settings.add_filter(r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]");
        settings.add_filter(r"short        [0-9a-f]{12}", "short        [SHORT]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]");
        settings.add_filter(r"fresh for \d+ days", "fresh for [DAYS] days");
        settings.add_filter(r"started as process \d+", "started as process [PID]");
        settings.add_filter(r"bytes=\d+-\d+", "bytes=[RANGE]");
        settings.add_filter(r"(disk       .*,) \S+ \S+ free", "$1 [FREE] free");
        // Real packages become larger and smaller.
        settings.add_filter(r"\d{3,} members, (\d+) layers, \S+ MB", "[MANY] members, $1 layers, [SIZE]");
        settings.add_filter(r"\d{2,}\.\d MB in the cache, at most \S+ MB", "[SIZE] in the cache, at most [SIZE]");
        settings.add_filter(r"Docker \d+\.\S+", "Docker [VERSION]");
        // The only layer of a tiny image may have come with that of another test.
        settings.add_filter(r"(into Docker \S+) which has 1 of its 1 layers", "$1");
        settings.bind(|| insta::assert_snapshot!($session, @$expected));
    }};
}
