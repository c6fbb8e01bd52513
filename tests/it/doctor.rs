//! `imgforge doctor` on machines that are each broken in one way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::assert_session;
use crate::bucket::Server;
use crate::harness::{Home, PASSWORD, run};
use crate::transport::ENGINE;

/// What the machine that runs the tests may have set.
const VARIABLES: [&str; 14] = [
    "SSL_CERT_FILE",
    "IMGFORGE_CA_BUNDLE",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "DOCKER_HOST",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
];

fn clean(command: &mut Command) -> &mut Command {
    VARIABLES.iter().fold(command, |command, name| command.env_remove(name))
}

/// A machine, and the findings of a doctor who looks at it.
struct Machine {
    home: Home,
    wrapper: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Machine {
    fn new() -> Self {
        Self { home: Home::new(), wrapper: Vec::new(), variables: Vec::new() }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.home.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        let value = value.replace("[HOME]", self.home.text("").trim_end_matches('/'));
        self.variables.push((name.to_owned(), value));
        self
    }

    /// Another program that runs imgforge.
    fn through(mut self, words: &[&str]) -> Self {
        self.wrapper = words
            .iter()
            .map(|word| word.replace("[HOME]", self.home.text("").trim_end_matches('/')))
            .collect();
        self
    }

    /// The first finding of that kind that is not fine: what was found, and what to type.
    fn found(&self, about: &str) -> (String, String) {
        let doctor = self.home.imgforge(&["doctor", "--json", "--quiet"]);
        let mut command = match self.wrapper.split_first() {
            None => doctor,
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(doctor.get_program()).args(doctor.get_args());
                command.current_dir(self.home.path("")).env("HOME", self.home.path(""));
                command
            }
        };
        clean(&mut command).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = run(&mut command);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let bad: Vec<_> = object["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["about"] == about && finding["grade"] != "ok")
            .collect();
        let [finding, ..] = bad[..] else { panic!("{about}: {object:#}") };
        let code = if object["checks"].as_array().unwrap().iter().any(|finding| finding["grade"] == "fault") {
            4
        } else {
            0
        };
        assert_eq!(output.status.code(), Some(code), "{object:#}");
        let text = |name: &str| {
            finding[name].as_str().unwrap().replace(self.home.text("").trim_end_matches('/'), "[HOME]")
        };
        (text("text"), text("fix"))
    }
}

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// `[store]` of a bucket at an address.
fn bucket(endpoint: &str) -> String {
    format!("[store]\naddress = \"s3://bucket/a\"\nendpoint = \"{endpoint}\"\n")
}

/// Mounts a file system over a folder, where nobody else sees it, and goes on.
fn mounted(folder: &str, options: &str) -> [String; 5] {
    let script = format!("mkdir -p '{folder}' && mount -t tmpfs -o {options} none '{folder}' && exec \"$@\"");
    ["unshare", "-m", "sh", "-c", &script].map(str::to_owned)
}

fn through_mount(machine: Machine, folder: &str, options: &str) -> Machine {
    let words = mounted(&machine.home.text(folder), options);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["sh"]).collect();
    machine.through(&words)
}

#[test]
fn the_engine_and_its_friends() {
    let machine = Machine::new().set("DOCKER_HOST", "unix://[HOME]/docker.sock");
    insta::assert_debug_snapshot!(machine.found("engine"), @r#"
    (
        "there is no `[HOME]/docker.sock`: Docker does not run, or listens elsewhere",
        "sudo systemctl start docker  # elsewhere: export DOCKER_HOST=$(docker context inspect -f '{{.Endpoints.docker.Host}}')",
    )
    "#);
    drop(UnixListener::bind(machine.home.path("docker.sock")).unwrap());
    insta::assert_debug_snapshot!(machine.found("engine"), @r#"
    (
        "nobody listens at `[HOME]/docker.sock`",
        "sudo systemctl start docker",
    )
    "#);

    insta::assert_debug_snapshot!(Machine::new().through(&NOBODY).found("engine"), @r#"
    (
        "you may not open `/var/run/docker.sock`",
        "sudo usermod -aG docker \"$(id -un)\"  # then log out and in again",
    )
    "#);
    insta::assert_debug_snapshot!(Machine::new().set("DOCKER_HOST", "localhost").found("engine"), @r##"
    (
        "`DOCKER_HOST`: `localhost` is not an address: use `unix:///path/to/socket`, `tcp://host:port` or `ssh://user@host`",
        "# change or unset `DOCKER_HOST`",
    )
    "##);
    let tls = Machine::new().set("DOCKER_HOST", "tcp://127.0.0.1:1");
    insta::assert_debug_snapshot!(tls.found("engine"), @r#"
    (
        "tcp://127.0.0.1:1: Connection refused (os error 111)",
        "unset DOCKER_HOST  # or start Docker on that machine",
    )
    "#);
    insta::assert_debug_snapshot!(tls.set("DOCKER_TLS_VERIFY", "1").found("engine"), @r#"
    (
        "`tcp://127.0.0.1:1` is to be reached over TLS, and there is no `[HOME]/.docker/cert.pem`",
        "unset DOCKER_TLS_VERIFY  # or name the folder: export DOCKER_CERT_PATH=DIR",
    )
    "#);

    let builder = "[builders.arm]\nendpoint = \"tcp://127.0.0.1:1\"\n";
    insta::assert_debug_snapshot!(Machine::new().file("imgforge.toml", builder).found("buildkit"), @r##"
    (
        "arm: Connection refused (os error 111)",
        "# correct `BUILDKIT_HOST`, or the builder's `endpoint` in imgforge.toml; `imgforge build --help` shows the forms",
    )
    "##);
    let config = Machine::new().file("imgforge.toml", "[store]\nplace = \"x\"\n");
    insta::assert_debug_snapshot!(config.found("config"), @r##"
    (
        "imgforge.toml:2:1: unknown key `place`",
        "# known here: `address`, `endpoint`, `region`, `path_style`, `jurisdiction`, `public_url`",
    )
    "##);
}

#[test]
fn stores_and_clocks() {
    let machine = || Machine::new().set("AWS_ACCESS_KEY_ID", "key").set("AWS_SECRET_ACCESS_KEY", "other");
    let nobody = bucket("http://127.0.0.1:1");
    insta::assert_debug_snapshot!(Machine::new().file("imgforge.toml", &nobody).found("store"), @r#"
    (
        "store `s3://bucket/a` needs a key, and there is none",
        "export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...",
    )
    "#);
    insta::assert_debug_snapshot!(machine().file("imgforge.toml", &nobody).found("store"), @r##"
    (
        "http://127.0.0.1:1 does not answer: Connection refused (os error 111)",
        "# change `endpoint` below `[store]` in imgforge.toml, or AWS_ENDPOINT_URL_S3",
    )
    "##);

    let server = Server::start();
    let there = bucket(&server.endpoint());
    let (text, fix) = machine().file("imgforge.toml", &there).found("store");
    assert!(
        text.contains("refuses this key") && fix.starts_with("export AWS_ACCESS_KEY_ID="),
        "{text}: {fix}"
    );
    let late = ["faketime", "-f", "-1h"];
    let (text, fix) = machine().file("imgforge.toml", &there).through(&late).found("clock");
    assert!(text.ends_with("is 60 minutes behind the store"), "{text}");
    assert_eq!(fix, "sudo timedatectl set-ntp true");

    let web = "[store]\naddress = \"dist/store\"\npublic_url = \"http://127.0.0.1:1/images\"\n";
    insta::assert_debug_snapshot!(Machine::new().file("imgforge.toml", web).found("store"), @r#"
    (
        "http://127.0.0.1:1/images does not answer: Connection refused (os error 111)",
        "curl -I http://127.0.0.1:1/images/  # until it answers",
    )
    "#);
}

/// A machine that trusts a project on a disk that is not mounted.
fn trusting() -> Machine {
    let machine = Machine::new();
    machine.home.must(&["keys", "generate", "--quiet"]);
    machine.home.must(&[
        "trust",
        "add",
        "p",
        "--key",
        "keys/cosign.pub",
        "--from",
        &machine.home.text("usb"),
    ]);
    machine
}

#[test]
fn what_was_pinned_and_remembered() {
    let machine = trusting();
    insta::assert_debug_snapshot!(machine.found("store"), @r##"
    (
        "`[HOME]/usb` is not there",
        "# mount the disk; if it moved: `imgforge trust add PROJECT --key cosign.pub --from STORE`",
    )
    "##);
    fs::create_dir(machine.home.path("usb")).unwrap();
    let pin = machine.home.path(".config/imgforge/trust/p.toml");
    let key = fs::read_to_string(&pin).unwrap();
    fs::write(&pin, "store = 1").unwrap();
    insta::assert_debug_snapshot!(machine.found("trust"), @r#"
    (
        "p: [HOME]/.config/imgforge/trust/p.toml:1:1: `store` is the whole number `1`",
        "rm '[HOME]/.config/imgforge/trust/p.toml' && imgforge trust add p --key cosign.pub --from STORE",
    )
    "#);
    fs::write(&pin, key).unwrap();

    let shown = machine.home.must(&["keys", "show", "keys/cosign.pub", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let fingerprint = shown["fingerprint"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let memory = format!(".local/state/imgforge/seen/p/{fingerprint}/seen.json");
    let (text, fix) = machine.file(&memory, "{").found("trust");
    assert!(text.starts_with("p: ") && text.ends_with("is damaged"), "{text}");
    assert!(fix.starts_with("# it protects against rollback"), "{fix}");
}

#[test]
fn folders_disks_and_files() {
    let full = through_mount(Machine::new(), ".cache/imgforge", "size=1m");
    insta::assert_debug_snapshot!(full.found("disk"), @r#"
    (
        "cache: 0.0 GB left",
        "rm -rf [HOME]/.cache/imgforge",
    )
    "#);
    let locked = through_mount(Machine::new(), ".local/state", "ro");
    insta::assert_debug_snapshot!(locked.found("folders"), @r#"
    (
        "state: `[HOME]/.local/state/imgforge` is on a read-only disk",
        "export XDG_STATE_HOME=\"$HOME/state\"",
    )
    "#);
    let machine = Machine::new().file(".cache/imgforge", "");
    insta::assert_debug_snapshot!(machine.found("folders"), @r#"
    (
        "cache: `[HOME]/.cache/imgforge` is no folder",
        "rm [HOME]/.cache/imgforge",
    )
    "#);
    let machine =
        Machine::new().through(&NOBODY).set("XDG_CONFIG_HOME", "/tmp").set("XDG_CACHE_HOME", "/tmp");
    for folder in ["", ".local", ".local/state"] {
        fs::create_dir_all(machine.home.path(folder)).unwrap();
        fs::set_permissions(machine.home.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    insta::assert_debug_snapshot!(machine.found("folders"), @r#"
    (
        "state: `[HOME]/.local/state` belongs to somebody else",
        "sudo chown -R \"$(id -un)\" [HOME]/.local/state",
    )
    "#);

    let machine = Machine::new().file("keys/cosign.key", "");
    fs::set_permissions(machine.home.path("keys/cosign.key"), fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_debug_snapshot!(machine.found("keys"), @r#"
    (
        "others may read `keys/cosign.key`",
        "chmod 600 keys/cosign.key",
    )
    "#);

    let recipes = Machine::new().file("recipes/project.toml", "").set("PATH", "[HOME]/bin");
    insta::assert_debug_snapshot!(recipes.found("recipes"), @r#"
    (
        "`mmdebstrap` is missing, which makes Debian bases",
        "sudo apt-get install -y mmdebstrap",
    )
    "#);
    let cosign = Machine::new().file("bin/cosign", "#!/bin/sh\necho 'GitVersion:    v3.1.1'\n");
    let program = cosign.home.path("bin/cosign");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    insta::assert_debug_snapshot!(cosign.set("PATH", "[HOME]/bin").found("cosign"), @r##"
    (
        "3.1.1 accepts forged files for `--bundle`; 3.1.3 is the first that does not",
        "# https://github.com/sigstore/cosign/releases: 3.1.3 or newer; imgforge itself needs none",
    )
    "##);
}

#[test]
fn certificates_and_proxies() {
    let nothing = Machine::new().set("SSL_CERT_FILE", "[HOME]/ca.pem");
    insta::assert_debug_snapshot!(nothing.found("tls"), @r#"
    (
        "`SSL_CERT_FILE` names `[HOME]/ca.pem`, which is not there",
        "unset SSL_CERT_FILE",
    )
    "#);
    insta::assert_debug_snapshot!(nothing.file("ca.pem", "no certificate").found("tls"), @r#"
    (
        "`SSL_CERT_FILE` names `[HOME]/ca.pem`, which holds no certificate in PEM form",
        "openssl x509 -inform DER -in [HOME]/ca.pem -out [HOME]/ca.pem.pem  # then name that file",
    )
    "#);
    let proxy = |text: &str| Machine::new().set("HTTPS_PROXY", text).found("proxy");
    insta::assert_debug_snapshot!(proxy("http://me:secret@127.0.0.1:1"), @r#"
    (
        "`HTTPS_PROXY` names 127.0.0.1:1: Connection refused (os error 111)",
        "unset HTTPS_PROXY",
    )
    "#);
    insta::assert_debug_snapshot!(proxy("http://"), @r#"
    (
        "`HTTPS_PROXY` holds no address of a proxy",
        "unset HTTPS_PROXY",
    )
    "#);
}

#[test]
fn a_session_reads_well() {
    assert!(Path::new(ENGINE).exists());
    let machine = trusting();
    let mut doctor = machine.home.imgforge(&["doctor", "--quiet"]);
    let said =
        machine.home.record(clean(&mut doctor).env("PATH", "/nowhere").env("COSIGN_PASSWORD", PASSWORD));
    // How much is left is this machine's business, and so is whom it believes.
    let said: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains(" disk ") && !line.contains(" tls ") && !line.contains("rm -rf"))
        .filter(|line| !line.contains("docker image prune"))
        .collect();
    assert_session!(said.join("\n"), @"
    exit 4
    --- stdout
    ok         engine    Docker [VERSION] at unix:///var/run/docker.sock, classic image store
    ok         buildkit  unix:///var/run/docker.sock: BuildKit older than 0.11, gives images through the engine around it, builds for linux/amd64
    ok         folders   config: [HOME]/.config/imgforge
    ok         folders   cache: [HOME]/.cache/imgforge
    ok         folders   state: [HOME]/.local/state/imgforge
    FAULT      store     `[HOME]/usb` is not there
                    fix: # mount the disk; if it moved: `imgforge trust add PROJECT --key cosign.pub --from STORE`
    ok         trust     p, by key sha256:[DIGEST], from [HOME]/usb
    ok         clock     [TIME]; no store with a clock to compare it with
    ok         keys      only you may read keys/cosign.key
    warning    cosign    not installed, so nothing here checks imgforge's work
                    fix: # https://github.com/sigstore/cosign/releases: 3.1.3 or newer; imgforge itself needs none
    --- stderr
    error: 1 fault

    hint: type what follows each `fix:`, then run `imgforge doctor` again
    ");
}
