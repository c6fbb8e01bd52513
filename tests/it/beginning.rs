//! From an empty folder to a running image, and what readers and programs around imgforge get.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::assert_session;
use crate::building::shared_cache;
use crate::harness::{Home, must, run, tool};
use crate::node::docker;

/// The image of a test, which goes with it.
struct Loaded(&'static str);

impl Drop for Loaded {
    fn drop(&mut self) {
        let containers =
            run(&mut tool("docker", &["ps", "-aq", "--filter", &format!("ancestor={}", self.0)]));
        for container in String::from_utf8_lossy(&containers.stdout).split_whitespace() {
            run(&mut tool("docker", &["rm", "-f", "-v", container]));
        }
        run(&mut tool("docker", &["image", "rm", "-f", self.0]));
    }
}

#[test]
fn a_new_project_builds_at_once() {
    let home = Home::new();
    assert_session!(home.session(&["init", "t-init"]), @"
    exit 0
    --- stdout
    wrote      imgforge.toml
    wrote      recipes/t-init/project.toml
    wrote      recipes/t-init/base.toml
    wrote      recipes/t-init/app.toml
    wrote      recipes/t-init/app/serve.pl
    wrote      keys/README.md
    wrote      .gitignore
    wrote      .github/workflows/images.yml
    wrote      recipes/t-init/app/.dockerignore
    next       imgforge keys generate
               imgforge build app --load
               docker run --rm -p 8080:8080 t-init/app:0.1.0
    ");
    assert_session!(home.session(&["recipe", "check"]), @"
    exit 0
    --- stdout
    app        ok
    base       ok
    ");
    let loaded = Loaded("t-init/app:0.1.0");
    let mut build = home.imgforge(&["build", "app", "--load", "--quiet"]);
    must(build.env("XDG_CACHE_HOME", shared_cache()));
    let limits = ["--read-only", "--cap-drop", "ALL", "--network", "none", "-e", "GREETING=well met"];
    let container = docker(&[&["run", "-d", "--health-interval", "1s"], &limits[..], &[loaded.0]].concat());
    let end = Instant::now() + Duration::from_mins(1);
    while docker(&["inspect", "-f", "{{.State.Health.Status}}", container.trim()]).trim() != "healthy" {
        assert!(Instant::now() < end, "{}", docker(&["logs", container.trim()]));
        std::thread::sleep(Duration::from_millis(200));
    }
    let ask = "use IO::Socket::INET; my $s = IO::Socket::INET->new('127.0.0.1:8080') or die; \
               print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; print <$s>";
    assert!(docker(&["exec", container.trim(), "perl", "-e", ask]).ends_with("\r\n\r\nwell met\n"));

    // Again: everything stays as it is, and what was there before imgforge is not forgotten.
    fs::write(home.path(".gitignore"), "/dist\n").unwrap();
    fs::write(home.path("recipes/t-init/app.toml"), "mine").unwrap();
    let again = home.session(&["init", "t-init"]);
    assert!(
        !again.contains("wrote") && again.contains("warning: add `/keys/*.key` to .gitignore"),
        "{again}"
    );
    assert_eq!(fs::read_to_string(home.path("recipes/t-init/app.toml")).unwrap(), "mine");
    assert_session!(home.session(&["init", "other"]), @"
    exit 2
    --- stderr
    error: there are recipes in `recipes/t-init` already

    hint: change those, or begin in another folder
    ");
}

#[test]
fn manual_pages_are_written() {
    let home = Home::new();
    assert_session!(home.session(&["man", "--output", "man"]), @"
    exit 0
    --- stdout
    wrote      man  try `man -l man/imgforge.1`
    ");
    let build = fs::read_to_string(home.path("man/imgforge-build.1")).unwrap();
    assert!(build.contains("Build images from recipes") && build.contains("\\-\\-cache\\-from"), "{build}");
    assert!(home.must(&["man"]).starts_with(".ie"));
}

#[test]
fn a_program_hears_what_happens() {
    let home = Home::new();
    home.must(&["keys", "generate", "--quiet"]);
    let imgforge = home.imgforge(&[]);
    let script = "\"$0\" doctor --quiet --progress-fd 3 3>events >/dev/null 2>&1; \
                  \"$0\" verify nothing --key keys/cosign.pub --quiet --progress-fd 3 3>>events 2>/dev/null";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(imgforge.get_program())
        .current_dir(home.path(""))
        .env("HOME", home.path(""));
    run(&mut shell);
    let events = fs::read_to_string(home.path("events")).unwrap();
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "doing");
    assert_eq!(events.last().unwrap(), &serde_json::json!({"event": "failed", "code": 2}));
    assert_session!(home.session(&["keys", "show", "keys/cosign.pub", "--progress-fd", "99"]), @"
    exit 2
    --- stderr
    error: invalid value '99' for '--progress-fd <N>': descriptor 99 cannot be written to: No such file or directory (os error 2)

    For more information, try '--help'.
    ");
}
