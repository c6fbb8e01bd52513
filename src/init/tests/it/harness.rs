//! Starts the helper with a configuration of its own, and sees what a container's log would show.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A helper that runs, or ran.
pub(crate) struct Init {
    pub(crate) folder: PathBuf,
    child: Child,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Level, service and message of each log line, without times and process numbers.
    pub(crate) fn log(&self) -> Vec<String> {
        self.stderr.lines().map(line).collect()
    }
}

fn line(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return format!("not JSON: {text}") };
    assert!(value["time"].as_str().unwrap().ends_with('Z'), "{text}");
    assert_eq!(value["source"], "imgforge-init");
    let service = value["service"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
    let message = value["message"].as_str().unwrap();
    let message = match message.split_once("started as process ") {
        Some(_) => "started".to_owned(),
        None => {
            regex_lite::Regex::new(r"after \d+\.\d s").unwrap().replace_all(message, "after T").into_owned()
        }
    };
    format!("{} {service}{message}", value["level"].as_str().unwrap())
}

/// A folder of this test alone.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A service by shell script, stopped within 5 seconds, never restarted; `extra` replaces keys.
pub(crate) fn shell(script: &str, extra: Value) -> Value {
    let mut service = json!({
        "command": ["sh", "-c", script],
        "restart": "never",
        "backoff": { "first": 20, "most": 10_000, "restarts": 3 },
        "stop": { "signal": "TERM", "timeout": 5000 },
    });
    if let Value::Object(extra) = extra {
        service.as_object_mut().unwrap().extend(extra);
    }
    service
}

/// A configuration of services alone.
pub(crate) fn services(services: Value) -> Value {
    json!({ "tier": "oracle", "services": services })
}

/// The helper with a configuration, not started.
pub(crate) fn command(folder: &Path, config: &Value) -> Command {
    fs::write(folder.join("init.json"), config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imgforge-init"));
    command.arg("--config").arg(folder.join("init.json")).current_dir(folder).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("FOLDER", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts the helper.
pub(crate) fn start(test: &str, config: &Value) -> Init {
    let folder = folder(test);
    let child = command(&folder, config).spawn().unwrap();
    Init { folder, child }
}

/// Runs it until it ends.
pub(crate) fn run(test: &str, config: &Value) -> Ended {
    start(test, config).wait()
}

impl Init {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        kill(name, &self.pid().to_string());
    }

    /// What services wrote into a file of the folder.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// Waits until a file of the folder is as wanted.
    pub(crate) fn until(&self, file: &str, wanted: impl Fn(&str) -> bool) {
        until(&format!("{file} is as wanted"), || wanted(&self.read(file)));
    }

    pub(crate) fn probe(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgforge-init"));
        command.args(["probe", "services", "--config"]).arg(self.folder.join("init.json"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) fn wait(mut self) -> Ended {
        let mut stderr = self.child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut status = None;
        until("the helper ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Ended { code: status.unwrap().code(), stderr: reader.join().unwrap() }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind: a second signal kills.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal("TERM");
            std::thread::sleep(Duration::from_millis(100));
            self.signal("TERM");
        }
    }
}

pub(crate) fn kill(name: &str, target: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), "--", target]).status().unwrap().success());
}

/// Waits for something that takes less than 20 seconds even on a busy machine.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose command line holds this text.
pub(crate) fn running(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| holds(&entry.path(), marker)).count()
}

fn holds(process: &Path, marker: &str) -> bool {
    fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
}

/// Children of a process, by state: `Z` is dead and not reaped.
pub(crate) fn children(parent: u32, state: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let found = lines.filter(|line| {
        let mut fields = line.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        (fields.next(), fields.next()) == (Some(state), Some(&parent.to_string()))
    });
    found.count()
}
