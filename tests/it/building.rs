//! Builds through the real `BuildKit` of the machine's Docker Engine.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::assert_session;
use crate::harness::{Home, must, run, tool};

const BASE: &str = "[base.debian]\nsuite = \"trixie\"\npackages = []\n\
                    [user]\nname = \"app\"\nuid = 1000\ngid = 1000\n";

/// A project with a minimal base and one tier, and an image name of its own.
pub(crate) struct Project {
    pub(crate) home: Home,
    name: String,
}

/// Root filesystems are shared by all tests and kept between runs: they take half a minute.
pub(crate) fn shared_cache() -> PathBuf {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache");
    READY
        .get_or_init(|| {
            fs::create_dir_all(&folder).unwrap();
            let lock = fs::File::create(folder.join("lock")).unwrap();
            lock.lock().unwrap();
            let first = Project::unprepared("t-first", "");
            must(first.imgforge(&["build", "t", "--quiet"]).env("XDG_CACHE_HOME", &folder));
            folder
        })
        .clone()
}

impl Project {
    pub(crate) fn new(name: &str, tier: &str) -> Self {
        shared_cache();
        Self::unprepared(name, tier)
    }

    /// A project without recipes.
    pub(crate) fn bare(name: &str) -> Self {
        let project = Self { home: Home::new(), name: name.to_owned() };
        let head = format!("name = \"{name}\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\"]\n");
        project.write("recipes/project.toml", &head);
        project
    }

    fn unprepared(name: &str, tier: &str) -> Self {
        let project = Self::bare(name);
        project.write("recipes/base.toml", BASE);
        project.tier(tier);
        project
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.home.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn tier(&self, tier: &str) {
        self.write("recipes/t.toml", &format!("extends = \"base\"\ncontext = \"files\"\n{tier}"));
        fs::create_dir_all(self.home.path("recipes/files")).unwrap();
    }

    pub(crate) fn imgforge(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.imgforge(arguments);
        command.env("XDG_CACHE_HOME", PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    fn build(&self, arguments: &[&str]) -> String {
        self.home.record(&mut self.imgforge(&[&["build", "t", "--load", "--quiet"], arguments].concat()))
    }

    /// What a command prints inside the image that was built.
    pub(crate) fn inside(&self, shell: &str) -> String {
        let tag = format!("{}/t:1.0.0", self.name);
        must(&mut tool("docker", &["run", "--rm", "--network", "none", &tag, "sh", "-c", shell]))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        run(&mut tool("docker", &["image", "rm", "-f", &format!("{}/t:1.0.0", self.name)]));
    }
}

#[test]
fn a_failing_step_shows_what_it_printed_last() {
    let shell = "exec 2>&1; for i in $(seq 30); do echo line $i; done; echo the reason >&2; exit 3";
    let project = Project::new("t-failing", &format!("[[steps]]\nrun.shell = \"{shell}\"\n"));
    assert_session!(project.build(&[]), @r#"
    exit 30
    --- stderr
    error: the build of `t` failed at `[t 1/2] RUN ["/bin/sh", "-c", "exec 2>&1; for i in $(seq 30); do echo line $i; done; echo the reason >&2; exit 3"]`
      cause: executor failed running [/bin/sh -c exec 2>&1; for i in $(seq 30); do echo line $i; done; echo the reason >&2; exit 3]: exit code: 3
      | line 12
      | line 13
      | line 14
      | line 15
      | line 16
      | line 17
      | line 18
      | line 19
      | line 20
      | line 21
      | line 22
      | line 23
      | line 24
      | line 25
      | line 26
      | line 27
      | line 28
      | line 29
      | line 30
      | the reason

    hint: `imgforge recipe render TIER` shows what was built
    "#);
}

#[test]
fn secrets_reach_the_step_and_not_the_image() {
    let steps =
        "[[steps]]\nrun = { shell = \"wc -c < /run/secrets/token > /size\", secrets = [\"token\"] }\n";
    let project = Project::new("t-secret", steps);
    assert_session!(project.build(&[]), @"
    exit 2
    --- stderr
    error: the build needs the secret `token`

    hint: give it with `--secret id=ID,src=FILE`
    ");
    project.write("token", "s3cr3t-s3cr3t");
    let built = project.build(&["--secret", "id=token,src=token"]);
    assert!(built.starts_with("exit 0"), "{built}");
    assert_eq!(project.inside("cat /size; ls /run/secrets 2>/dev/null || true").trim(), "13");
    must(&mut project.imgforge(&["export", "t", "-o", "dist", "--quiet"]));
    let mut plain = Vec::new();
    let archive = fs::File::open(project.home.path("dist/t-1.0.0-linux-amd64.tar.gz")).unwrap();
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(archive), &mut plain).unwrap();
    let holds = |text: &[u8]| plain.windows(text.len()).any(|window| window == text);
    assert!(holds(b"/run/secrets/token > /size"), "the archive was not searched");
    assert!(!holds(b"s3cr3t-s3cr3t"));
}

#[test]
fn build_arguments_are_declared() {
    let tier =
        "[args]\nGREETING = \"hello $HOME\"\n[[steps]]\nrun.shell = \"echo \\\"$GREETING\\\" > /greeting\"\n";
    let project = Project::new("t-args", tier);
    assert!(project.build(&[]).starts_with("exit 0"));
    assert_eq!(project.inside("cat /greeting"), "hello $HOME\n");
    assert!(project.build(&["--build-arg", "GREETING=a \"b\""]).starts_with("exit 0"));
    assert_eq!(project.inside("cat /greeting"), "a \"b\"\n");
    assert_session!(project.build(&["--build-arg", "OTHER=x"]), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:2: build argument `OTHER` is not declared under `[args]`
        fix: this tier declares `GREETING`

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn the_context_is_what_dockerignore_leaves_and_any_change_is_seen() {
    let project = Project::new("t-context", "[[steps]]\ncopy = { paths = [\".\"], to = \"/files/\" }\n");
    for (path, text) in [
        (".dockerignore", "*.log\nsecret\n!secret/public\n"),
        ("a.txt", "one"),
        ("b.log", "noise"),
        ("deep/er/run.sh", "#!/bin/sh\n"),
        ("secret/key", "hidden"),
        ("secret/public", "shown"),
        ("with space", "x"),
    ] {
        project.write(&format!("recipes/files/{path}"), text);
    }
    std::os::unix::fs::symlink("a.txt", project.home.path("recipes/files/link")).unwrap();
    must(Command::new("chmod").arg("777").arg(project.home.path("recipes/files/deep/er/run.sh")));
    assert!(project.build(&[]).starts_with("exit 0"));
    let list = "cd /files && find . -type f -o -type l | sort && stat -c '%a %U %Y' a.txt deep/er/run.sh && cat link";
    assert_session!(project.inside(list), @"
    ./.dockerignore
    ./a.txt
    ./deep/er/run.sh
    ./link
    ./secret/public
    ./with space
    644 root 0
    755 root 0
    one
    ");
    // The same size, the same second: only the content tells.
    project.write("recipes/files/a.txt", "two");
    assert!(project.build(&[]).starts_with("exit 0"));
    assert_eq!(project.inside("cat /files/a.txt"), "two");
}

#[test]
fn stages_come_in_the_order_in_which_they_copy() {
    let tier = "[stages.a]\nfrom = \"base\"\n[[stages.a.steps]]\ncopy = { from = \"z\", paths = [\"/x\"], to = \"/y\" }\n\
                [stages.z]\nfrom = \"base\"\n[[stages.z.steps]]\nrun.shell = \"echo z > /x\"\n\
                [[steps]]\ncopy = { from = \"a\", paths = [\"/y\"], to = \"/y\" }\n";
    let project = Project::new("t-stages", tier);
    let built = project.build(&[]);
    assert!(built.starts_with("exit 0"), "{built}");
    assert_eq!(project.inside("cat /y"), "z\n");
}

#[test]
fn a_name_that_is_not_ascii_is_copied() {
    let project = Project::new("t-unicode", "[[steps]]\ncopy = { paths = [\"é %.txt\"], to = \"/\" }\n");
    project.write("recipes/files/é %.txt", "é");
    let built = project.build(&[]);
    assert!(built.starts_with("exit 0"), "{built}");
    assert_eq!(project.inside("cat '/é %.txt'"), "é");
}

#[test]
fn a_package_step_without_its_lock_is_refused() {
    let project =
        Project::new("t-lock", "[[steps]]\nnpm = { lock = \"package-lock.json\", directory = \"/app\" }\n");
    assert_session!(project.build(&[]), @"
    exit 2
    --- stderr
    error: recipes/t.toml:3:1: the lock file `files/package-lock.json` is not there
        fix: make it where its package manager runs, and commit it

    hint: only what steps name is sent to the builder: change the recipe or the files, then run `imgforge recipe check`
    ");
}

#[test]
fn an_unchanged_image_is_not_moved_again() {
    let project = Project::new("t-again", "");
    let first = project.build(&[]);
    assert_eq!(first, project.build(&[]));
    // What is tried out is what ships: the engine has the image that was printed.
    let id = must(&mut tool("docker", &["image", "inspect", "-f", "{{.Id}}", "t-again/t:1.0.0"]));
    assert!(first.contains(id.trim()), "{first}\n{id}");
    let mut exports = Vec::new();
    for folder in ["one", "two"] {
        exports.push(
            must(&mut project.imgforge(&["export", "t", "-o", folder, "--json"])).replace(folder, "[FOLDER]"),
        );
    }
    assert_eq!(exports[0], exports[1]);
}

#[test]
fn a_damaged_content_store_is_named_and_heals() {
    let project = Project::new("t-damaged", "[[steps]]\nrun.shell = \"echo unique-$(date +%N) > /file\"\n");
    let cache = project.home.path("cache");
    must(Command::new("cp").arg("-r").arg(shared_cache()).arg(&cache));
    let run = |arguments: &[&str]| {
        project.home.record(project.home.imgforge(arguments).env("XDG_CACHE_HOME", &cache))
    };
    assert!(run(&["build", "t", "-q"]).starts_with("exit 0"));
    let exported = run(&["export", "t", "-q", "--json"]);
    let json: serde_json::Value = serde_json::from_str(exported.split_once("stdout\n").unwrap().1).unwrap();
    let layer = json["archives"][0]["archive"]["image"]["layers"][1]["digest"].as_str().unwrap().to_owned();
    let blob = cache.join("imgforge/content/blobs/sha256").join(layer.trim_start_matches("sha256:"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[600] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert_session!(run(&["export", "t", "-q"]), @"
    exit 1
    --- stderr
    error: blob sha256:[DIGEST] in the content store is damaged: its bytes have digest sha256:[DIGEST]

    hint: the damaged blob was removed: build again, then export
    ");
    assert!(run(&["build", "t", "-q"]).starts_with("exit 0"));
    assert_eq!(run(&["export", "t", "-q", "--json"]), exported);
}

#[test]
fn images_of_two_platforms_are_beside_each_other() {
    let project = Project::bare("t-platforms");
    let head =
        "name = \"t-platforms\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    project.write("recipes/project.toml", head);
    // The store is that of all tests, and of those that ran before.
    project.write("recipes/files/a", &format!("{:?}", std::time::SystemTime::now()));
    project.write(
        "recipes/t.toml",
        "base = \"scratch\"\ncontext = \"files\"\n[[steps]]\ncopy = { paths = [\"a\"], to = \"/a\" }\n[user]\nname = \"root\"\nuid = 0\ngid = 0\n",
    );
    let on = |arguments: &[&str], platform: &str| {
        project.home.record(&mut project.imgforge(&[arguments, &["--platform", platform]].concat()))
    };
    let platforms = ["linux/amd64", "linux/arm64"];
    let judged = |said: &str| said.contains("looking into");
    assert!(platforms.iter().all(|platform| judged(&on(&["build", "t"], platform))));
    assert!(!platforms.iter().any(|platform| judged(&on(&["build", "t"], platform))));
    for (platform, name) in platforms.iter().zip(["t-1.0.0-linux-amd64.tar.gz", "t-1.0.0-linux-arm64.tar.gz"])
    {
        let said = on(&["export", "t", "-o", "dist", "--quiet"], platform);
        assert!(said.starts_with("exit 0") && project.home.path("dist").join(name).exists(), "{said}");
    }
}

#[test]
fn control_c_cancels_the_build_in_the_engine() {
    ends_with("t-cancel", "sleep 98765", "-INT");
}

#[test]
fn sigterm_does_the_same() {
    ends_with("t-cancel-term", "sleep 98764", "-TERM");
}

fn ends_with(name: &str, marker: &str, signal: &str) {
    let project = Project::new(name, &format!("[[steps]]\nrun.shell = \"{marker}\"\n"));
    let mut child =
        project.imgforge(&["build", "t"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait("the step runs", || running(marker));
    must(Command::new("kill").args([signal, &child.id().to_string()]));
    wait("imgforge ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait("the step is gone", || !running(marker));
}

fn running(command: &str) -> bool {
    let wanted = command.replace(' ', "\0");
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(wanted.as_bytes()))
    })
}

fn wait(what: &str, done: impl FnMut() -> bool) {
    let mut done = done;
    let end = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn control_c_stops_the_making_of_a_base_and_removes_it() {
    let project = Project::unprepared("t-cancel-base", "");
    let temporary = project.home.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut build = project.home.imgforge(&["build", "base"]);
    build.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = build.spawn().unwrap();
    let made = || fs::read_dir(&temporary).unwrap().count();
    wait("the base is begun", || made() > 0);
    must(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(made(), 0);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(temporary.to_str().unwrap()), "{mounts}");
}
