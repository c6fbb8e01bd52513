//! The helper as process 1 of a real container, in an image that imgforge built.
//!
//! What it does as a process is tested beside it, in `src/init/tests`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use imgforge::model::runtime;

use crate::building::Project;
use crate::harness::{must, root, run, tool};

/// `node` has its variable looked at, and makes orphans; `deaf` does not listen to TERM.
const TIER: &str = r#"
[user]
name = "app"
uid = 1001
gid = 1001

[env.ROLE]
description = "which of the services misbehaves"
default = "none"
pattern = "none|deaf"

[services.node]
command = ["sh", "-c", "echo options=$NODE_OPTIONS; for i in $(seq 200); do (sleep 0.1 &); done; exec sleep 1000"]
restart = "on-failure"
ready = { probe = { command = ["true"] } }

[services.deaf]
command = ["sh", "-c", "[ $ROLE = none ] || trap '' TERM; while :; do sleep 0.1; done"]
needs = ["node"]
stop = { timeout = 1 }

[health]
probe = "services"
interval = 1
start_period = 30

[resources]
memory = "1 GiB"
heap = { runtime = "node", percent = 50 }
"#;

fn docker(arguments: &[&str]) -> String {
    must(&mut tool("docker", arguments)).trim().to_owned()
}

struct Container(String);

impl Container {
    fn start(arguments: &[&str]) -> Self {
        let all = [&["run", "-d", "--network", "none"], arguments, &["t-runtime/t:1.0.0"]].concat();
        Self(docker(&all))
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_mins(1);
        while !done() {
            assert!(Instant::now() < end, "{what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn healthy(&self) {
        self.until("healthy", || {
            docker(&["inspect", "-f", "{{.State.Health.Status}}", &self.0]) == "healthy"
        });
    }

    fn shell(&self, script: &str) -> String {
        docker(&["exec", &self.0, "sh", "-c", script])
    }

    fn logs(&self) -> String {
        let output = run(&mut tool("docker", &["logs", &self.0]));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Stops it as an operator would; the exit code.
    fn stop(&self) -> String {
        docker(&["stop", "-t", "30", &self.0]);
        docker(&["inspect", "-f", "{{.State.ExitCode}}", &self.0])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        run(&mut tool("docker", &["rm", "-f", &self.0]));
    }
}

/// States of all processes: dead ones that nobody reaped are `Z`.
const STATES: &str = "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) \\(.\\).*/\\1/' | sort | uniq -c";

#[test]
fn in_a_container() {
    let project = Project::new("t-runtime", TIER);
    must(&mut project.imgforge(&["build", "t", "--load", "--quiet"]));
    as_process_1();
    below_another_init();
    what_an_operator_gets_wrong();
}

fn as_process_1() {
    let container = Container::start(&["--read-only", "-m", "512m"]);
    container.healthy();
    assert_eq!(container.shell("tr '\\0' ' ' < /proc/1/cmdline").trim(), "/usr/local/bin/imgforge-init");
    container.until("orphans are reaped", || !container.shell(STATES).contains('Z'));
    // 50 % of the container's own limit, not of the recipe's, for two services.
    let logs = container.logs();
    assert!(logs.contains("options=--max-old-space-size=127\n"), "{logs}");
    // One that is killed comes back, and health knows.
    container.shell(
        "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q '^sleep 1000'; then kill -9 ${p#/proc/}; fi; done",
    );
    container.until("restarted", || container.logs().contains("node\",\"message\":\"ended by signal KILL"));
    container.until("ready again", || container.logs().matches("\"node\",\"message\":\"ready").count() == 2);
    assert_eq!(container.stop(), "0", "{}", container.logs());
    let logs = container.logs();
    let at = |text: &str| logs.find(text).unwrap_or_else(|| panic!("{text}: {logs}"));
    assert!(at("\"deaf\",\"message\":\"stopping") < at("\"node\",\"message\":\"stopping"), "{logs}");
}

fn below_another_init() {
    let container = Container::start(&["--init", "-e", "ROLE=deaf"]);
    container.healthy();
    container.until("orphans are reaped", || !container.shell(STATES).contains('Z'));
    let asked = Instant::now();
    assert_eq!(container.stop(), "137", "{}", container.logs());
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert!(container.logs().contains("it did not end within 1.0 s: killed"), "{}", container.logs());
}

fn what_an_operator_gets_wrong() {
    let ask = |arguments: &[&str]| {
        let all = [&["run", "--rm", "--network", "none", "-e"], arguments].concat();
        let output = run(&mut tool("docker", &all));
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, said) = ask(&["ROLE=bad", "t-runtime/t:1.0.0"]);
    assert_eq!(code, Some(64));
    assert!(said.contains("ROLE is \"bad\", which does not match none|deaf"), "{said}");
    assert_eq!(ask(&["ROLE=bad", "t-runtime/t:1.0.0", "check"]), (code, said));
    let (code, said) = ask(&["ROLE=none", "t-runtime/t:1.0.0", "check"]);
    assert_eq!((code, said.as_str()), (Some(0), "t: 1 variable and 2 services are as they should be\n"));
    let (code, said) = ask(&["ROLE=none", "t-runtime/t:1.0.0", "bash"]);
    assert!(code == Some(64) && said.contains("takes no command"), "{said}");
}

/// `build.rs` run once more, for a copy of the sources in another folder and with the registry at another
/// path: the same bytes.
#[test]
fn the_helper_is_the_same_from_every_folder() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("elsewhere");
    fs::create_dir_all(&copy).unwrap();
    must(Command::new("cp").arg("-r").arg(root().join("src")).arg(&copy));
    let home = folder.path().join("cargo-home");
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        |home| Path::new(&home).to_owned(),
    );
    fs::create_dir(&home).unwrap();
    for entry in fs::read_dir(&cargo_home).unwrap().flatten() {
        if entry.file_name() != "bin" {
            std::os::unix::fs::symlink(entry.path(), home.join(entry.file_name())).unwrap();
        }
    }
    let script = folder.path().join("build-script");
    must(Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&script).arg(root().join("build.rs")));
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut build = Command::new(&script);
    build.current_dir(&copy).env("CARGO_MANIFEST_DIR", &copy).env("OUT_DIR", &out).env("CARGO_HOME", &home);
    build.env("CARGO", env!("CARGO")).env("RUSTC", "rustc");
    build.env("CARGO_CFG_TARGET_OS", "linux").env("CARGO_CFG_TARGET_ARCH", std::env::consts::ARCH);
    must(&mut build);
    let platform = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    let embedded = runtime::helper(&platform.parse().unwrap()).unwrap();
    let bytes = fs::read(out.join("imgforge-init")).unwrap();
    assert!(embedded == bytes, "{} and {} bytes", embedded.len(), bytes.len());
    assert!(embedded.len() < 1_500_000, "{} bytes", embedded.len());
    // Nothing of this machine is in it, and it needs no loader.
    let holds = |text: &str| embedded.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds(root().to_str().unwrap()) && !holds(cargo_home.to_str().unwrap()) && !holds("/ld-linux"));
}
