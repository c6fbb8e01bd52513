//! What each language has, installed or compiled by its own tools from what is pinned, without a network. Packages come
//! from the registries, Go's modules from a server of the tests that is laid out as module proxies are.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::assert_session;
use crate::building::Project;
use crate::harness::{Home, must, root};
use crate::web::{Web, Whim};

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/languages")
}

fn copy(from: &Path, to: &Path) {
    must(Command::new("cp").arg("-rT").arg(from).arg(to));
}

/// A project with these folders of the fixtures in its context.
fn project(name: &str, tier: &str, folders: &[&str]) -> Project {
    let project = Project::new(name, tier);
    for folder in folders {
        copy(&fixtures().join(folder), &project.home.path("recipes/files").join(folder));
    }
    project
}

/// Builds what is locked: twice without a cache, which must give the same bytes, and once to look inside.
fn build_locked(project: &Project) {
    let twice = project.home.record(&mut project.imgforge(&["build", "t", "--locked", "--check", "-q"]));
    assert!(twice.starts_with("exit 0\n"), "{twice}");
    must(&mut project.imgforge(&["build", "t", "--locked", "--load", "-q"]));
}

/// A module proxy, where nothing is missing that `go.sum` names.
fn proxy(folder: &Path) -> Web {
    for (name, path) in [("Greet@v1.2.0", "!greet/@v/v1.2.0"), ("words@v0.1.0", "words/@v/v0.1.0")] {
        let module = fixtures().join("modules/example.test").join(name);
        let target = folder.join("example.test").join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(module.join("go.mod"), format!("{}.mod", target.display())).unwrap();
        let mut zip = ZipWriter::new(fs::File::create(format!("{}.zip", target.display())).unwrap());
        for entry in fs::read_dir(&module).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            zip.start_file(format!("example.test/{name}/{file}"), SimpleFileOptions::default()).unwrap();
            zip.write_all(&fs::read(module.join(&file)).unwrap()).unwrap();
        }
        zip.finish().unwrap();
    }
    Web::serve(folder)
}

const GO: &str = "go = { lock = \"relay/go.sum\", directory = \"/src/relay\", package = \"./cmd/relay\", to = \"/usr/local/bin/relay\" }";
const CARGO: &str = "cargo = { lock = \"tally/Cargo.lock\", directory = \"/src/tally\", binaries = [\"tally\"], to = \"/usr/local/bin\" }";

/// A stage that compiles a program, and the step that takes it.
fn compiled(program: &str, compiler: &str, step: &str) -> String {
    format!(
        "[stages.{program}]\nfrom = \"base\"\n[[stages.{program}.steps]]\napt.packages = [\"{compiler}\"]\n\
         [[stages.{program}.steps]]\ncopy = {{ paths = [\"{program}/\"], to = \"/src/{program}/\" }}\n\
         [[stages.{program}.steps]]\n{step}\n\
         [[steps]]\ncopy = {{ from = \"{program}\", paths = [\"/usr/local/bin/{program}\"], to = \"/usr/local/bin/\" }}\n"
    )
}

#[test]
fn programs_are_compiled_from_what_is_pinned() {
    let tier = compiled("relay", "golang-go", GO) + &compiled("tally", "cargo", CARGO);
    let project = project("t-languages", &tier, &["relay", "tally"]);
    let web = proxy(&project.home.path("proxy"));
    // The first has nothing, and the last is no server: modules come from the second.
    let setting = format!("{0}/nothing,{0},direct", web.url());
    must(project.imgforge(&["recipe", "lock", "-q"]).env("GOPROXY", setting));
    let lock = fs::read_to_string(project.home.path("recipes/imgforge.lock")).unwrap();
    let relay = lock.split("[[pin]]").find(|pin| pin.contains("step = \"t: go\"")).unwrap();
    let relay: Vec<&str> = relay.lines().filter(|line| line.contains("url = ")).map(str::trim).collect();
    assert_session!(relay.join("\n").replace(&web.url(), "[PROXY]"), @r#"
    { name = "example.test/Greet", version = "v1.2.0", size = 466, digest = "sha256:[DIGEST]", integrity = "h1:/KT9zN6p5I/xuGZa8vKevtvRIswJePOYSW/AwvHzeg4=", url = "[PROXY]/example.test/!greet/@v/v1.2.0.zip" },
    { name = "example.test/Greet", version = "v1.2.0/go.mod", size = 70, digest = "sha256:[DIGEST]", integrity = "h1:pP2ckachhxKLYjPNF8l8Tr/YM3qDs6d5QYw5ZM20aio=", url = "[PROXY]/example.test/!greet/@v/v1.2.0.mod" },
    { name = "example.test/words", version = "v0.1.0", size = 391, digest = "sha256:[DIGEST]", integrity = "h1:zuZE3Zb4xfh94ULY+agHtZNL2tIuingV0Q4A4nQWx1k=", url = "[PROXY]/example.test/words/@v/v0.1.0.zip" },
    { name = "example.test/words", version = "v0.1.0/go.mod", size = 35, digest = "sha256:[DIGEST]", integrity = "h1:aIFabhvrWk7OpV1xAgsIqIjGftiqScAelrTt/Lj6dFc=", url = "[PROXY]/example.test/words/@v/v0.1.0.mod" },
    "#);
    web.mood(|_| Whim::Status(404, ""));
    build_locked(&project);
    assert_eq!(project.inside("relay; tally"), "hello, relay\n1000000\n");
}

/// The packages of pnpm and pip; pnpm itself comes with npm.
const NODE: &str = r#"
[stages.node]
from = "base"
[[stages.node.steps]]
apt.packages = ["npm"]
[[stages.node.steps]]
copy = { paths = ["pnpm/"], to = "/opt/pnpm/" }
[[stages.node.steps]]
npm = { lock = "pnpm/package-lock.json", directory = "/opt/pnpm" }
[[stages.node.steps]]
run.shell = "ln -s /opt/pnpm/node_modules/.bin/pnpm /usr/local/bin/pnpm"
[[stages.node.steps]]
copy = { paths = ["odd/"], to = "/odd/" }
[[stages.node.steps]]
pnpm = { lock = "odd/pnpm-lock.yaml", directory = "/odd" }
[[stages.node.steps]]
run.shell = "cd /odd && node -e 'console.log(require(`is-odd`)(3))' > /odd/said"
[stages.python]
from = "base"
[[stages.python.steps]]
apt.packages = ["python3", "python3-pip"]
[[stages.python.steps]]
pip = { lock = "six/requirements.txt", directory = "/venv" }
[[stages.python.steps]]
run.shell = "/venv/bin/python -c 'import six; print(six.__version__)' > /venv/said"
[[steps]]
copy = { from = "node", paths = ["/odd/"], to = "/odd/" }
[[steps]]
copy = { from = "python", paths = ["/venv/said"], to = "/venv-said" }
"#;

#[test]
fn packages_are_installed_from_what_is_pinned() {
    let project = project("t-packages", NODE, &["pnpm", "odd", "six"]);
    must(&mut project.imgforge(&["recipe", "lock", "-q"]));
    build_locked(&project);
    assert_eq!(project.inside("cat /odd/said /venv-said; ls /odd/node_modules"), "true\n1.17.0\nis-odd\n");
}

/// A project with a Go program and a proxy; no engine is asked.
fn pinning() -> (Project, Web) {
    let project = Project::bare("t-go");
    copy(&fixtures(), &project.home.path("recipes/files"));
    let tier = format!("base = \"scratch\"\ncontext = \"files\"\n\n[[steps]]\n{GO}\n");
    project.write("recipes/t.toml", &tier);
    let web = proxy(&project.home.path("proxy"));
    (project, web)
}

fn lock(home: &Home, setting: &str) -> String {
    home.record(home.imgforge(&["recipe", "lock", "-q"]).env("GOPROXY", setting))
}

#[test]
fn a_module_has_the_hash_that_go_wrote_or_is_refused() {
    let (Project { home, .. }, web) = &pinning();
    let said = || lock(home, &web.url()).replace(&web.url(), "[PROXY]");
    let only = |path: &'static str, whim: Whim| {
        web.mood(move |request| if request.path.ends_with(path) { whim.clone() } else { Whim::Serve });
    };
    only("words/@v/v0.1.0.zip", Whim::OtherBytes);
    assert_session!(said(), @"
    exit 12
    --- stderr
    error: cannot pin `example.test/words v0.1.0`
      cause: `[PROXY]/example.test/words/@v/v0.1.0.zip` sends no module
      cause: i/o error: Invalid checksum

    hint: compare your lock file with its registry
    ");
    only("words/@v/v0.1.0.mod", Whim::OtherBytes);
    assert_session!(said(), @"
    exit 12
    --- stderr
    error: cannot pin `example.test/words v0.1.0/go.mod`
      cause: `[PROXY]/example.test/words/@v/v0.1.0.mod` sends h1:ngiaGe0130kAxVB45aqYQDHqtOTodyZZbvQTjVNaxHg=, and h1:aIFabhvrWk7OpV1xAgsIqIjGftiqScAelrTt/Lj6dFc= was asked for

    hint: compare your lock file with its registry
    ");
    only("words/@v/v0.1.0.mod", Whim::Status(404, ""));
    assert_session!(said(), @"
    exit 1
    --- stderr
    error: cannot pin `example.test/words v0.1.0/go.mod`
      cause: `[PROXY]/example.test/words/@v/v0.1.0.mod` answers 404 Not Found

    hint: check the name and the version in your lock file
    ");
    web.mood(|_| Whim::Serve);
    // A sound zip with another file in it.
    fs::copy(
        home.path("proxy/example.test/words/@v/v0.1.0.zip"),
        home.path("proxy/example.test/!greet/@v/v1.2.0.zip"),
    )
    .unwrap();
    assert_session!(said(), @"
    exit 12
    --- stderr
    error: cannot pin `example.test/Greet v1.2.0`
      cause: `[PROXY]/example.test/!greet/@v/v1.2.0.zip` sends h1:zuZE3Zb4xfh94ULY+agHtZNL2tIuingV0Q4A4nQWx1k=, and h1:/KT9zN6p5I/xuGZa8vKevtvRIswJePOYSW/AwvHzeg4= was asked for

    hint: compare your lock file with its registry
    ");
    assert!(!home.path("recipes/imgforge.lock").exists());
}

#[test]
fn what_go_is_told_about_servers_counts() {
    let (Project { home, .. }, _web) = &pinning();
    assert_session!(lock(home, "off"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:1: `GOPROXY=off` names no server, and modules are only pinned from one

    hint: change the file, then run the same command again
    ");
    assert_session!(lock(home, "https://me:secret@goproxy.example"), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:1: a server in `GOPROXY` has more than a host and a path, and its address would stand in the lock

    hint: change the file, then run the same command again
    ");
}
