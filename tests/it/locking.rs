//! `imgforge.lock`: what is pinned is what is installed, whatever the day, without a network; and
//! what is not as it was pinned stops everything.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use imgforge::model::digest::Digest;

use crate::assert_session;
use crate::building::Project;
use crate::harness::{Home, must};

/// A project without a system: its one step needs one crate, which is in the content store, as if
/// it had been locked before. No registry is asked.
struct Crate {
    home: Home,
    bytes: Vec<u8>,
}

impl Crate {
    fn new() -> Self {
        let project = Self { home: Home::new(), bytes: b"the bytes of a crate".to_vec() };
        project.write(
            "project.toml",
            "name = \"t-crate\"\nversion = \"1.0.0\"\nplatforms = [\"linux/amd64\"]\n",
        );
        project.write("t.toml", "base = \"scratch\"\ncontext = \"files\"\n\n[[steps]]\ncargo = { lock = \"Cargo.lock\", directory = \"/src\", binaries = [\"x\"], to = \"/bin\" }\n");
        project.sources("0.4.3");
        project.put(&project.bytes);
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.home.path("recipes").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sources(&self, version: &str) {
        let sum = Digest::of(&self.bytes).hex();
        let source = "registry+https://github.com/rust-lang/crates.io-index";
        let text = format!(
            "version = 4\n\n[[package]]\nname = \"hex\"\nversion = \"{version}\"\nsource = \"{source}\"\nchecksum = \"{sum}\"\n"
        );
        self.write("files/Cargo.lock", &text);
    }

    /// Where the content store has the crate.
    fn blob(&self) -> PathBuf {
        let hex = Digest::of(&self.bytes).hex();
        self.home.path(".cache/imgforge/content/blobs/sha256").join(hex)
    }

    fn put(&self, bytes: &[u8]) {
        fs::create_dir_all(self.blob().parent().unwrap()).unwrap();
        fs::write(self.blob(), bytes).unwrap();
    }

    fn lock(&self, arguments: &[&str]) -> String {
        self.home.session(&[&["recipe", "lock", "-q"], arguments].concat())
    }

    /// Lets the lock name another address.
    fn served_at(&self, url: &str) {
        let path = self.home.path("recipes/imgforge.lock");
        let text = fs::read_to_string(&path).unwrap();
        let old = "https://static.crates.io/crates/hex/hex-0.4.3.crate";
        assert!(text.contains(old), "{text}");
        fs::write(path, text.replace(old, &format!("{url}/hex-0.4.3.crate"))).unwrap();
    }
}

/// Answers every request with these bytes, or with 404 where there are none.
fn server(bytes: Option<Vec<u8>>) -> String {
    serve(move |_| bytes.clone())
}

/// Answers requests for a path.
fn serve(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let (status, body) = match answer(first.split(' ').nth(1).unwrap()) {
                Some(bytes) => ("200 OK", bytes),
                None => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    url
}

#[test]
fn what_is_pinned_stays_when_its_server_is_gone() {
    let project = Crate::new();
    assert_session!(project.lock(&["--check"]), @"
    exit 4
    --- stdout
    t: cargo (linux/amd64)
      + hex 0.4.3
    imgforge.lock would change: 1 steps, 1 files, 20 B
    --- stderr
    error: `imgforge.lock` would change

    hint: run the same command without `--check`
    ");
    assert_session!(project.lock(&[]), @"
    exit 0
    --- stdout
    t: cargo (linux/amd64)
      + hex 0.4.3
    imgforge.lock written: 1 steps, 1 files, 20 B
    ");
    assert_session!(fs::read_to_string(project.home.path("recipes/imgforge.lock")).unwrap(), @r#"
    # Written by `imgforge recipe lock`, which is also how to change it.
    version = 1

    [[pin]]
    step = "t: cargo"
    platform = "linux/amd64"
    of = "sha256:[DIGEST]"
    files = [
        { name = "hex", version = "0.4.3", size = 20, digest = "sha256:[DIGEST]", url = "https://static.crates.io/crates/hex/hex-0.4.3.crate" },
    ]
    "#);
    project.served_at(&server(None));
    assert_session!(project.lock(&[]), @"
    exit 0
    --- stdout
    imgforge.lock is up to date: 1 steps, 1 files, 20 B
    ");
    fs::remove_file(project.blob()).unwrap();
    assert_session!(portless(&project.lock(&[])), @"
    exit 1
    --- stderr
    error: the pinned `hex 0.4.3` is not in the content store and cannot be downloaded
      cause: `http://[SERVER]/hex-0.4.3.crate` answers 404 Not Found

    hint: take it from a content store that has it, or pin what there is today: `imgforge recipe lock --upgrade`
    ");
}

/// The session without the port of the day.
fn portless(session: &str) -> String {
    let Some((before, after)) = session.split_once("127.0.0.1:") else { return session.to_owned() };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}[SERVER]{}", portless(rest))
}

#[test]
fn a_debian_package_that_mirrors_dropped_comes_from_the_archive_of_all() {
    let project = Crate::new();
    project.lock(&[]);
    let mirror = server(None);
    let path = project.home.path("recipes/imgforge.lock");
    let text = fs::read_to_string(&path).unwrap();
    let old = "https://static.crates.io/crates/hex/hex-0.4.3.crate";
    fs::write(&path, text.replace(old, &format!("{mirror}/hex_0.4.3_amd64.deb"))).unwrap();
    fs::remove_file(project.blob()).unwrap();
    let (bytes, sha1) = (project.bytes.clone(), "0123456789abcdef0123456789abcdef01234567");
    let archive = |bytes: Vec<u8>| {
        serve(move |path| match path {
            "/mr/binary/hex/0.4.3/binfiles" => {
                Some(format!(r#"{{"result": [{{"architecture": "amd64", "hash": "{sha1}"}}]}}"#).into_bytes())
            }
            _ => (path == format!("/file/{sha1}")).then(|| bytes.clone()),
        })
    };
    let lock = |archive: String| {
        let mut lock = project.home.imgforge(&["recipe", "lock", "-q"]);
        portless(&project.home.record(lock.env("IMGFORGE_DEBIAN_SNAPSHOT", archive)))
    };
    // What the archive says counts for nothing; the digest decides.
    assert_session!(lock(archive(b"another package".to_vec())), @"
    exit 1
    --- stderr
    error: the pinned `hex 0.4.3` is not in the content store and cannot be downloaded
      cause: `http://[SERVER]/hex_0.4.3_amd64.deb` answers 404 Not Found

    hint: take it from a content store that has it, or pin what there is today: `imgforge recipe lock --upgrade`
    ");
    assert!(!project.blob().exists());
    assert!(lock(archive(bytes)).starts_with("exit 0"));
    assert_eq!(fs::read(project.blob()).unwrap(), project.bytes);
}

#[test]
fn a_damaged_file_is_fetched_again_and_never_used() {
    let project = Crate::new();
    assert!(project.lock(&[]).starts_with("exit 0"));
    project.put(b"the bytes of a crote");
    project.served_at(&server(Some(b"something else".to_vec())));
    assert_session!(portless(&project.lock(&[])), @"
    exit 12
    --- stderr
    error: the pinned `hex 0.4.3` is not in the content store and cannot be downloaded
      cause: `http://[SERVER]/hex-0.4.3.crate` sends sha256:[DIGEST], and sha256:[DIGEST] was asked for

    hint: other bytes than were pinned are never used; `imgforge recipe lock --upgrade` pins anew
    ");
    assert!(!project.blob().exists());

    let text = fs::read_to_string(project.home.path("recipes/imgforge.lock")).unwrap();
    let (head, _) = text.split_once("http://").unwrap();
    let url = server(Some(project.bytes.clone()));
    fs::write(project.home.path("recipes/imgforge.lock"), format!("{head}{url}/hex-0.4.3.crate\" }},\n]\n"))
        .unwrap();
    assert!(project.lock(&[]).starts_with("exit 0"));
    assert_eq!(fs::read(project.blob()).unwrap(), project.bytes);
}

#[test]
fn drift_names_the_step_and_the_way_out() {
    let project = Crate::new();
    assert!(project.lock(&[]).starts_with("exit 0"));
    assert_session!(project.home.session(&["plan", "t"]), @"
    exit 0
    --- stdout
    image      t-crate/t:1.0.0 for linux/amd64
    context    files, as `files/`
    steps      2; `imgforge recipe render t` prints them
    lock       t: cargo, 1 files, 20 B
    network    none, in every step
    locks      files/Cargo.lock
    ");
    project.sources("0.4.4");
    assert_session!(project.home.session(&["plan", "t"]), @"
    exit 2
    --- stderr
    error: recipes/t.toml:4:1: `imgforge.lock` has nothing for `t: cargo` as it is written now
        fix: run `imgforge recipe lock`, look at what changes, and commit the file

    hint: change the file, then run `imgforge recipe check`
    ");
    assert_session!(project.lock(&["--check"]), @"
    exit 4
    --- stdout
    t: cargo (linux/amd64)
      ~ hex 0.4.3 -> 0.4.4
    imgforge.lock would change: 1 steps, 1 files, 20 B
    --- stderr
    error: `imgforge.lock` would change

    hint: run the same command without `--check`
    ");
    assert_session!(project.lock(&[]), @"
    exit 0
    --- stdout
    t: cargo (linux/amd64)
      ~ hex 0.4.3 -> 0.4.4
    imgforge.lock written: 1 steps, 1 files, 20 B
    ");
    assert!(project.home.session(&["plan", "t"]).starts_with("exit 0"));
    fs::write(project.home.path("recipes/imgforge.lock"), "version = 1\n[[pins]]\n").unwrap();
    assert_session!(project.lock(&[]), @"
    exit 2
    --- stderr
    error: recipes/imgforge.lock: line 2: unknown field `pins`, expected `version` or `pin`
        fix: take the file from version control, or remove it and run `imgforge recipe lock`

    hint: change the file, then run `imgforge recipe check`
    ");
}

#[test]
fn what_cannot_be_pinned_is_said_and_never_passes_for_locked() {
    let project = Crate::new();
    project.write("t.toml", "base = \"scratch\"\n[[steps]]\napt.packages = [\"jq\"]\n");
    assert_session!(project.home.session(&["recipe", "lock"]), @"
    exit 0
    --- stdout
    imgforge.lock written: 0 steps, 0 files, 0 B
    --- stderr
    warning: `t` cannot be locked: recipes/t.toml:2:1: Debian packages are only pinned above `base.debian`
    ");
    assert_session!(project.home.session(&["build", "t", "--locked", "-q"]), @"
    exit 2
    --- stderr
    error: tier `t` is not locked: recipes/t.toml:2:1: Debian packages are only pinned above `base.debian`

    hint: `imgforge recipe lock` pins what can be pinned; see docs/locking.md
    ");
    project.home.must(&["keys", "generate"]);
    assert_session!(project.home.session(&["release", "t", "--version", "1.0.0", "-q"]), @"
    exit 2
    --- stderr
    error: tier `t` is not locked: recipes/t.toml:2:1: Debian packages are only pinned above `base.debian`

    hint: `imgforge recipe lock` pins what can be pinned; see docs/locking.md
    ");
}

#[test]
fn a_locked_build_has_no_network_and_is_the_same_on_any_day() {
    let tier = "[args]\nNONCE = \"1\"\n\
                [[steps]]\napt.packages = [\"jq\"]\n\
                [[steps]]\nrun.shell = \"tail -n +3 /proc/net/dev | cut -d : -f 1 > /interfaces\"\n";
    let project = Project::new("t-locked", tier);
    must(&mut project.imgforge(&["recipe", "lock", "-q"]));
    let build = |arguments: &[&str]| {
        let json = must(
            &mut project
                .imgforge(&[&["build", "t", "--locked", "--load", "--json", "-q"], arguments].concat()),
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["images"][0]["image"]["layers"].clone()
    };
    let first = build(&[]);
    assert_eq!(project.inside("cat /interfaces; echo '{\"a\":1}' | jq .a"), "    lo\n1\n");
    // Another argument, so that the engine's cache has nothing; another base, of the same packages.
    assert_eq!(build(&["--fresh-base", "--build-arg", "NONCE=2"]), first);

    project.write(
        "recipes/t.toml",
        &format!("extends = \"base\"\ncontext = \"files\"\n{}", tier.replace("jq", "bc")),
    );
    assert_session!(project.home.record(&mut project.imgforge(&["build", "t", "-q"])), @"
    exit 2
    --- stderr
    error: recipes/t.toml:5:1: `imgforge.lock` has nothing for `t: apt bc` as it is written now
        fix: run `imgforge recipe lock`, look at what changes, and commit the file

    hint: change the file, then run `imgforge recipe check`
    ");
}
