//! For each rule of the policy an image that breaks it, and what a person sees then. `good` keeps them all.

use std::fs;
use std::path::PathBuf;

use crate::assert_session;
use crate::building::Project;
use crate::harness::{must, run, tool};

/// Many small tiers on one base.
pub(crate) struct Tiers(pub(crate) Project);

impl Tiers {
    pub(crate) fn new(name: &str) -> Self {
        Self(Project::new(name, ""))
    }

    /// What building a tier says, quietly.
    pub(crate) fn build(&self, tier: &str, recipe: &str) -> String {
        self.write(tier, recipe);
        self.session(&["build", tier, "--load", "--quiet"])
    }

    pub(crate) fn write(&self, tier: &str, recipe: &str) {
        let extends = if recipe.contains("[base") { "" } else { "extends = \"base\"\n" };
        self.0.write(&format!("recipes/{tier}.toml"), &format!("{extends}{recipe}"));
    }

    pub(crate) fn session(&self, arguments: &[&str]) -> String {
        self.0.home.record(&mut self.0.imgforge(arguments))
    }

    /// What building a tier that must be refused says; nobody got the image.
    pub(crate) fn refused(&self, tier: &str, recipe: &str) -> String {
        let said = self.build(tier, recipe);
        assert!(said.starts_with("exit 3"), "{said}");
        let export = self.session(&["export", tier, "--quiet"]);
        assert!(export.contains("there is no image"), "{export}");
        let reference = format!("{}/{tier}:1.0.0", self.0.name());
        let found = run(&mut tool("docker", &["image", "inspect", &reference]));
        assert!(!found.status.success(), "`{reference}` was loaded");
        said
    }

    /// A program of this machine with a name in it replaced by one of the same length.
    fn program(&self, name: &str, replaced: &str, by: &str) {
        assert_eq!(replaced.len(), by.len());
        let mut bytes = fs::read("/bin/true").unwrap();
        let places: Vec<usize> = bytes
            .windows(replaced.len())
            .enumerate()
            .filter(|(_, window)| *window == replaced.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "`{replaced}` is not in /bin/true");
        for at in places {
            bytes[at..at + by.len()].copy_from_slice(by.as_bytes());
        }
        let path: PathBuf = self.0.home.path("recipes/files").join(name);
        fs::write(&path, bytes).unwrap();
        must(std::process::Command::new("chmod").arg("755").arg(path));
    }
}

impl Drop for Tiers {
    fn drop(&mut self) {
        for tier in ["good", "allowed"] {
            run(&mut tool("docker", &["image", "rm", "-f", &format!("{}/{tier}:1.0.0", self.0.name())]));
        }
    }
}

/// Something that listens, and something that asks it: Debian's smallest system has perl.
pub(crate) const SERVICE: &str = "[services.web]\ncommand = [\"perl\", \"-MIO::Socket::INET\", \"-e\", \"my $s = IO::Socket::INET->new(Listen => 5, LocalPort => 3000, ReuseAddr => 1) or die; print 'serving'; while (my $c = $s->accept) { close $c }\"]\n";
pub(crate) const HEALTH: &str = "[health]\nstart_period = 20\nprobe.command = [\"perl\", \"-MIO::Socket::INET\", \"-e\", \"IO::Socket::INET->new('127.0.0.1:3000') or exit 1\"]\n";

pub(crate) const GOOD: &str = r#"
[[steps]]
run.shell = "cp /bin/true /usr/local/bin/helper && chmod 2755 /usr/local/bin/helper && echo hello > /etc/greeting && chmod 640 /etc/greeting"

[labels]
"org.example.source" = "https://example.org/source"

[env.NODE_ID]
description = "name of the node"
required = true
example = "node-1"

[size]
limit = "90 MB"

[policy]
labels = ["org.example.source"]
allow = [{ rule = "setuid", path = "/usr/local/bin/helper", reason = "it is what this test is about" }]

[tests.says]
command = { run = ["sh", "-c", "echo $WHO is $(id -u)"], stdout = "^me is 1000$", environment = { WHO = "me" } }

[tests.fails]
command = { run = ["sh", "-c", "exit 7"], exit = 7 }

[tests.offline]
command = { run = ["perl", "-MIO::Socket::INET", "-e", "IO::Socket::INET->new('192.0.2.1:80') and exit 1; $! =~ /unreachable/ or die $!"] }

[tests.greeting]
file = { path = "/etc/greeting", mode = "0640", owner = "0:0", contains = "^hello" }

[tests.no-npm]
absent = "/usr/bin/npm"

[tests.owner]
user = { name = "app", uid = 1000 }

[tests.serves]
port = { number = 3000 }
"#;

#[test]
fn a_good_image_passes_and_is_not_judged_twice() {
    let tiers = Tiers::new("t-policy-good");
    let recipe = format!("{GOOD}{SERVICE}{HEALTH}");
    tiers.write("good", &recipe);
    let judging = ["trying `t-policy-good/good:1.0.0` out", "looking into `t-policy-good/good:1.0.0`"];
    let first = tiers.session(&["build", "good", "--load"]);
    assert!(first.starts_with("exit 0") && judging.iter().all(|said| first.contains(said)), "{first}");
    for arguments in [&["build", "good"][..], &["build", "good", "--load"]] {
        let again = tiers.session(arguments);
        assert!(again.starts_with("exit 0") && !judging.iter().any(|said| again.contains(said)), "{again}");
    }
    // The same image and another test: it is judged again.
    let more = format!("{recipe}[tests.more]\nabsent = \"/bin/sh\"\n");
    tiers.write("good", &more);
    assert_session!(tiers.session(&["build", "good", "--quiet"]), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-good/good:1.0.0`; the image is neither listed nor loaded
      recipes/good.toml:46: test: test `more` failed: `/bin/sh` is in the image
        fix: correct the image, or what the test expects

    hint: docs/policy.md explains each rule and its exceptions
    ");
}

#[test]
fn an_image_that_breaks_a_rule_goes_nowhere() {
    let tiers = Tiers::new("t-policy-bad");
    let base = "[base.debian]\nsuite = \"trixie\"\npackages = []\n";
    assert_session!(tiers.refused("root", base), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/root:1.0.0`; the image is neither listed nor loaded
      recipes/root.toml:1: non-root: the image runs as root, and no `[user]` says so
        fix: add `[user]` with `name`, `uid` and `gid`; if it must be root, say `name = "root"`, `uid = 0`, `gid = 0`

    hint: docs/policy.md explains each rule and its exceptions
    "#);
    assert_session!(tiers.refused("no-check", SERVICE), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/no-check:1.0.0`; the image is neither listed nor loaded
      recipes/no-check.toml:2: health-check: the tier has services and no health check, so an engine cannot tell that they work
        fix: add `[health]` with a `probe`

    hint: docs/policy.md explains each rule and its exceptions
    ");
    let always = "[health]\nstart_period = 1\nprobe.command = [\"true\"]\n";
    assert_session!(tiers.refused("always", &format!("{SERVICE}{always}")), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/always:1.0.0`; the image is neither listed nor loaded
      recipes/always.toml:6: health-probe: the health check succeeds although no service runs, so it can never fail
        fix: ask a service something: `probe = { http = "http://127.0.0.1:PORT/" }`

    hint: docs/policy.md explains each rule and its exceptions
    "#);
    let absent = "[health]\nstart_period = 1\nprobe.command = [\"/no/check\"]\n";
    assert_session!(tiers.refused("no-probe", &format!("{SERVICE}{absent}")), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/no-probe:1.0.0`; the image is neither listed nor loaded
      recipes/no-probe.toml:6: health-probe: the health check cannot be run: exec: "/no/check": stat /no/check: no such file or directory
        fix: correct its command

    hint: docs/policy.md explains each rule and its exceptions
    "#);
    let idle = SERVICE.replace("LocalPort => 3000", "LocalPort => 3001");
    let health = HEALTH.replace("start_period = 20", "start_period = 1\ninterval = 3");
    assert_session!(tiers.refused("deaf", &format!("{idle}{health}")), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/deaf:1.0.0`; the image is neither listed nor loaded
      recipes/deaf.toml:4: health-probe: the health check did not succeed within 4 seconds of a start with the recipe's example values; the last one ended with code 1; it printed: {"time":"[TIME]","level":"info","source":"imgforge-init","service":"web","message":"started as process [PID]"}
        fix: correct the services, the check or the `example` of a variable; raise `start_period` if they need longer

    hint: docs/policy.md explains each rule and its exceptions
    "#);
    let label = "[policy]\nlabels = [\"org.example.source\"]\n";
    assert_session!(tiers.refused("unlabelled", label), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-bad/unlabelled:1.0.0`; the image is neither listed nor loaded
      recipes/unlabelled.toml:3: label: the label `org.example.source` is demanded, and the image does not have it
        fix: add `"org.example.source" = ".."` under `[labels]`

    hint: docs/policy.md explains each rule and its exceptions
    "#);
}

#[test]
fn files_that_break_a_rule_keep_the_image_here() {
    let tiers = Tiers::new("t-policy-files");
    let compiler = "[[steps]]\nrun.shell = \"cp /bin/true /usr/bin/x86_64-linux-gnu-gcc-14\"\n";
    assert_session!(tiers.refused("compiler", compiler), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-files/compiler:1.0.0`; the image is neither listed nor loaded
      recipes/compiler.toml:2: compiler: `/usr/bin/x86_64-linux-gnu-gcc-14` is a tool that builds programs
        fix: build in a stage of its own (`[stages.build]`) and copy only the result

    hint: docs/policy.md explains each rule and its exceptions
    ");
    let privilege = "[[steps]]\nrun.shell = \"cp /bin/true /usr/bin/x && chmod 4755 /usr/bin/x\"\n";
    assert_session!(tiers.refused("privilege", privilege), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-files/privilege:1.0.0`; the image is neither listed nor loaded
      recipes/privilege.toml:2: setuid: `/usr/bin/x` runs as user 0, whoever starts it (set-user-ID), and the base does not have it so
        fix: remove what needs it, or take the privilege away: `chmod ug-s /usr/bin/x` (`setcap -r` for capabilities)

    hint: docs/policy.md explains each rule and its exceptions
    ");
    // Its required variable has no example, so the services cannot be tried: the files show it.
    let command =
        "[services.web]\ncommand = [\"/app/web\"]\n[env.ID]\ndescription = \"x\"\nrequired = true\n";
    assert_session!(tiers.refused("no-command", &format!("{command}{HEALTH}")), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-files/no-command:1.0.0`; the image is neither listed nor loaded
      recipes/no-command.toml:3: command: service `web` starts `/app/web`, which is not in the image
        fix: copy it into the image, correct its path, or set its mode

    hint: docs/policy.md explains each rule and its exceptions
    ");
    assert_session!(tiers.refused("large", "[size]\nlimit = \"1 MB\"\n"), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-files/large:1.0.0`; the image is neither listed nor loaded
      recipes/large.toml:3: size: the compressed archive has 29.7 MB, more than 1.0 MB; its largest files, before compression:
             6.6 MB  /usr/lib/x86_64-linux-gnu/libcrypto.so.3
             4.0 MB  /usr/bin/perl
             2.6 MB  /usr/lib/x86_64-linux-gnu/libapt-pkg.so.7.0.0
             2.5 MB  /usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.33
             2.0 MB  /usr/lib/x86_64-linux-gnu/libc.so.6
             1.9 MB  /usr/bin/sqv
             1.9 MB  /usr/lib/x86_64-linux-gnu/libdb-5.3.so
             1.6 MB  /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
             1.3 MB  /usr/bin/bash
             1.2 MB  /usr/lib/x86_64-linux-gnu/libsystemd.so.0.40.0
        fix: leave out what the services do not need, or raise the budget under `[size]`

    hint: docs/policy.md explains each rule and its exceptions
    ");
}

#[test]
fn programs_must_find_their_loader_and_libraries() {
    let tiers = Tiers::new("t-policy-elf");
    tiers.program("newer", "GLIBC_2.34", "GLIBC_2.99");
    tiers.program("lacking", "libc.so.6", "libx.so.6");
    tiers.program("musl", "/lib64/ld-linux-x86-64.so.2", "/lib64/ld-musl--x86-64.so.1");
    tiers.0.write("recipes/files/script", "#!/usr/bin/env no-such-python\n");
    must(std::process::Command::new("chmod").arg("755").arg(tiers.0.home.path("recipes/files/script")));
    let copy = "context = \"files\"\n[[steps]]\ncopy = { paths = [\"newer\", \"lacking\", \"musl\", \"script\"], to = \"/usr/local/bin/\" }\n";
    assert_session!(tiers.refused("programs", copy), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-elf/programs:1.0.0`; the image is neither listed nor loaded
      recipes/programs.toml:3: library: `/usr/local/bin/lacking` cannot be loaded: it needs `libx.so.6`, which is not in the image
        fix: install the library, or build in a stage from the same base as the image
      recipes/programs.toml:3: library: `/usr/local/bin/newer` cannot be loaded: it needs `GLIBC_2.99` of `libc.so.6`, and the image's has at most `GLIBC_2.41`
        fix: install the library, or build in a stage from the same base as the image
      recipes/programs.toml:3: interpreter: the program `/usr/local/bin/musl` needs the loader `/lib64/ld-musl--x86-64.so.1`, which is not in the image
        fix: build in a stage from the same base as the image: it was linked for another libc
      recipes/programs.toml:3: interpreter: the script `/usr/local/bin/script` needs `no-such-python`, which is in none of the folders of `PATH` (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
        fix: install the interpreter, or leave the script out

    hint: docs/policy.md explains each rule and its exceptions
    ");
}

#[test]
fn tests_of_a_recipe_run_inside_the_image() {
    let tiers = Tiers::new("t-policy-tests");
    let commands = r#"
[tests.code]
command = { run = ["sh", "-c", "echo why >&2; exit 3"] }
[tests.missing]
command = { run = ["no-such-program"] }
[tests.output]
command = { run = ["id", "-u"], stdout = "^0$" }
[tests.port]
port = { number = 3000, within = 2 }
"#;
    assert_session!(tiers.refused("commands", commands), @r#"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-tests/commands:1.0.0`; the image is neither listed nor loaded
      recipes/commands.toml:3: test: test `code` failed: `sh -c echo why >&2; exit 3` ended with code 3 instead of 0; it printed: why
        fix: correct the image, or what the test expects
      recipes/commands.toml:5: test: test `missing` failed: `no-such-program` cannot be run: exec: "no-such-program": executable file not found in $PATH
        fix: correct the image, or what the test expects
      recipes/commands.toml:7: test: test `output` failed: `id -u` does not print `^0$`; it printed: 1000
        fix: correct the image, or what the test expects
      recipes/commands.toml:9: test: test `port` failed: the image starts nothing that could listen
        fix: correct the image, or what the test expects

    hint: docs/policy.md explains each rule and its exceptions
    "#);
    let files = r#"
[tests.absent]
absent = "/bin/sh"
[tests.content]
file = { path = "/etc/hostname", contains = "[0-9]{9}" }
[tests.mode]
file = { path = "/etc/passwd", mode = "0600" }
[tests.user]
user = { name = "nobody", uid = 1 }
"#;
    assert_session!(tiers.refused("files", files), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-tests/files:1.0.0`; the image is neither listed nor loaded
      recipes/files.toml:3: test: test `absent` failed: `/bin/sh` is in the image
        fix: correct the image, or what the test expects
      recipes/files.toml:5: test: test `content` failed: `/etc/hostname` does not contain `[0-9]{9}`
        fix: correct the image, or what the test expects
      recipes/files.toml:7: test: test `mode` failed: `/etc/passwd` has mode 0644 instead of 0600
        fix: correct the image, or what the test expects
      recipes/files.toml:9: test: test `user` failed: user `nobody` has number 65534 instead of 1
        fix: correct the image, or what the test expects

    hint: docs/policy.md explains each rule and its exceptions
    ");
}

#[test]
fn an_allowance_that_nothing_needs_is_a_warning_every_time() {
    let tiers = Tiers::new("t-policy-unused");
    let recipe =
        "[policy]\nallow = [{ rule = \"compiler\", path = \"/usr/bin/make\", reason = \"there was one\" }]\n";
    tiers.write("allowed", recipe);
    for _ in 0..2 {
        let said = tiers.session(&["build", "allowed"]);
        let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("warning")).collect();
        insta::allow_duplicates! { assert_session!(warnings.join("\n"), @"
        warning: not locked: there is no `imgforge.lock`; `imgforge recipe lock` writes it
        warning: recipes/allowed.toml:3: allowance: nothing needs the exception from `compiler` for `/usr/bin/make`; remove it: it would hide what comes next
        "); }
        assert!(said.starts_with("exit 0"), "{said}");
    }
}

#[test]
fn findings_are_data_for_programs() {
    let tiers = Tiers::new("t-policy-json");
    tiers.write("bad", "[policy]\nlabels = [\"org.example.source\"]\n");
    let output = run(&mut tiers.0.imgforge(&["build", "bad", "--json", "--quiet"]));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["error"]["code"], 3);
    assert_session!(serde_json::to_string_pretty(&said["error"]["policy"]).unwrap(), @r#"
    [
      {
        "fix": "add `\"org.example.source\" = \"..\"` under `[labels]`",
        "place": {
          "column": 1,
          "file": "recipes/bad.toml",
          "line": 3
        },
        "reason": "the label `org.example.source` is demanded, and the image does not have it",
        "rule": "label",
        "subject": "org.example.source",
        "weight": "error"
      }
    ]
    "#);
}
