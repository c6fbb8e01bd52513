//! The life of a node's container, below the limits that its recipe asks for: healthy, healthy again
//! after a service died, unhealthy while one cannot live, and stopped in order.

use std::time::{Duration, Instant};

use crate::harness::{must, run, tool};

pub(crate) fn docker(arguments: &[&str]) -> String {
    must(&mut tool("docker", arguments))
}

/// A container that is removed when the test ends, however it ends.
struct Container(String);

impl Container {
    fn start(tag: &str, memory: &str) -> Self {
        let limits = "--memory MEMORY --read-only --tmpfs /tmp:size=64m --cap-drop ALL \
                      --security-opt no-new-privileges --pids-limit 512 --health-interval 1s";
        let settings = "-e NODE_ID=n1 -e DEPLOYMENT_ENGINE_URL=https://e.example -e NODE_VERSION=0.0.7";
        let words = format!("run -d {limits} {settings} {tag}").replace("MEMORY", memory);
        Self(docker(&words.split_whitespace().collect::<Vec<_>>()).trim().to_owned())
    }

    fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "-f", format, &self.0]).trim().to_owned()
    }

    /// Waits until Docker says this about the container's health.
    fn becomes(&self, health: &str) {
        let end = Instant::now() + Duration::from_mins(3);
        while self.inspect("{{.State.Health.Status}}") != health {
            assert!(Instant::now() < end, "not {health}: {}", self.logs());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn logs(&self) -> String {
        let output = tool("docker", &["logs", &self.0]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Kills a service of this name again and again, for this many seconds.
    fn kill(&self, service: &str, seconds: u32) {
        let script = format!(
            "end=$((SECONDS + {seconds})); while :; do for p in /proc/[0-9]*; do \
             if tr '\\0' ' ' < $p/cmdline | grep -q '^node services/{service}/'; then kill -9 ${{p#/proc/}}; fi; \
             done 2> /dev/null; [ $SECONDS -lt $end ] || break; sleep 0.3; done"
        );
        docker(&["exec", "-d", &self.0, "bash", "-c", &script]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        run(&mut tool("docker", &["rm", "-f", "-v", &self.0]));
    }
}

/// Runs an image below its limits; `answers` are ports and paths that have to answer.
pub(crate) fn lives(tag: &str, memory: &str, answers: &[&str]) {
    let container = Container::start(tag, memory);
    container.becomes("healthy");
    let script = "Promise.all(process.argv.slice(1).map(async (at) => { \
                  const answer = await fetch('http://127.0.0.1:' + at); \
                  if (!answer.ok) throw new Error(at + ': ' + answer.status); \
                  return answer.text(); })).then((texts) => console.log(texts.join('\\n')))";
    let said = docker(&[&["exec", &container.0, "node", "-e", script], answers].concat());
    assert!(said.contains("noderr_build_info{version=\"0.0.7\""), "{said}");
    assert_eq!(docker(&["exec", &container.0, "id", "-u"]).trim(), "1001");

    // A service that dies is started again; one that cannot live makes the node unhealthy.
    container.kill("market-data", 6);
    container.becomes("unhealthy");
    let why = container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    assert!(why.contains("unhealthy: market-data failed and restarts"), "{why}");
    container.becomes("healthy");

    docker(&["stop", "-t", "30", &container.0]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", container.logs());
    assert!(container.logs().contains("\"exit with code 0\""), "{}", container.logs());
}
