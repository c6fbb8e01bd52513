//! A current Docker Engine beside the machine's own: Debian sid's, with either image store.
//!
//! It has sockets, folders and a network namespace of its own, so it cannot disturb the first one.
//! Through a front that speaks HTTP/2 (see `transport`), its `BuildKit` also plays a daemon of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::assert_session;
use crate::harness::tool;
use crate::workbench::Bench;

/// Where an engine keeps its images.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// As Docker always did.
    Classic,
    /// As Docker does where it has no overlays: each layer is a copy of all below it.
    Copies,
    /// In containerd, as blobs.
    Containerd,
}

/// A running engine; it ends with this value.
pub(crate) struct Engine {
    folder: tempfile::TempDir,
    /// The process whose network it has.
    holder: u32,
    processes: Vec<Child>,
}

impl Engine {
    pub(crate) fn start(store: Store) -> Self {
        // Sockets have short paths: a `sun_path` holds 107 bytes.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut engine = Self { folder, holder: 0, processes: Vec::new() };
        let containerd = engine.path("containerd.sock");
        let config = format!(
            "version = 3\nroot = '{0}/root'\nstate = '{0}/state'\n[grpc]\naddress = '{0}/containerd.sock'\n\
             [ttrpc]\naddress = '{0}/ttrpc.sock'\n",
            engine.folder.path().display()
        );
        fs::write(engine.path("containerd.toml"), config).unwrap();
        let holder = engine.spawn(
            "containerd.log",
            "unshare",
            &["-n", &program("current-containerd"), "-c"],
            "containerd.toml",
        );
        engine.holder = holder;
        engine.wait("containerd", || containerd.exists());
        engine.begin(store);
        engine
    }

    /// Starts dockerd, for the first time or once more.
    pub(crate) fn begin(&mut self, store: Store) {
        let (containerd, docker) = (self.path("containerd.sock"), self.socket());
        let namespace = format!("--net=/proc/{}/ns/net", self.holder);
        let option = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        let options = [
            namespace,
            program("current-dockerd"),
            format!("--containerd={}", containerd.display()),
            option("data-root", "data"),
            option("exec-root", "exec"),
            option("pidfile", "docker.pid"),
            format!("--host=unix://{}", docker.display()),
            format!("--feature=containerd-snapshotter={}", store == Store::Containerd),
        ];
        let driver = (store == Store::Copies).then_some("--storage-driver=vfs");
        let options: Vec<&str> = options.iter().map(String::as_str).chain(driver).collect();
        self.spawn("dockerd.log", "nsenter", &options, "");
        self.wait("dockerd", || crate::harness::run(&mut self.docker(&["version"])).status.success());
    }

    /// SIGKILL for dockerd, which was started last.
    pub(crate) fn kill(&mut self) {
        let mut dockerd = self.processes.pop().unwrap();
        dockerd.kill().unwrap();
        dockerd.wait().unwrap();
    }

    fn spawn(&mut self, log: &str, program: &str, arguments: &[&str], file: &str) -> u32 {
        let log = fs::File::create(self.path(log)).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if !file.is_empty() {
            command.arg(self.path(file));
        }
        // The shim and the proxy lie beside the programs.
        let beside = ["current-containerd", "current-dockerd"].map(|name| {
            fs::canonicalize(crate::harness::tools().join(name))
                .unwrap()
                .parent()
                .unwrap()
                .display()
                .to_string()
        });
        command.env("PATH", format!("{}:{}", beside.join(":"), std::env::var("PATH").unwrap()));
        let child = command.spawn().unwrap();
        let id = child.id();
        self.processes.push(child);
        id
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_mins(1);
        while !done() {
            let log = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
            assert!(Instant::now() < end, "{what}:\n{}\n{}", log("containerd.log"), log("dockerd.log"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A command that has the engine's network, in which there is nothing else.
    pub(crate) fn beside(&self, words: &[&str]) -> Command {
        let mut command = tool("nsenter", &[&format!("--net=/proc/{}/ns/net", self.holder)]);
        command.args(words);
        command
    }

    /// Its client.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = tool("docker", arguments);
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// Where its containerd answers.
    pub(crate) fn containerd(&self) -> String {
        self.path("containerd.sock").display().to_string()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // dockerd first, and politely: it unmounts what it mounted.
        for mut child in self.processes.drain(..).rev() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(mount).starts_with(self.folder.path()) {
                let _ = Command::new("umount").args(["-l", mount]).status();
            }
        }
    }
}

fn program(name: &str) -> String {
    crate::harness::tools().join(name).display().to_string()
}

#[test]
fn loads_and_proves_on_a_current_engine() {
    let engine = Engine::start(Store::Containerd);
    let bench = Bench::published("t-current");
    let mut fetch = bench.home.imgforge(&["fetch", "--verify", "tiny"]);
    assert_session!(bench.home.record(fetch.env("DOCKER_HOST", engine.host())), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-current 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-current/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-current/tiny:1.0.0  sha256:[DIGEST]
    proof      Docker has this image: its ID, layers and platform are the signed ones;
               a container was created from it and removed
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       docker run --rm t-current/tiny:1.0.0  # nothing was started
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-current/tiny:1.0.0` into Docker [VERSION]
    ");
    assert!(!bench.in_engine(), "it went into the other engine");
    crate::policing::holds_on("DOCKER_HOST", &engine.host());
}
