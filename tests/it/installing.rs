//! `install.sh`, run on a release of imgforge that was made and signed as the workflow does, by a web server
//! that serves it rightly and wrongly.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::assert_session;
use crate::harness::{Home, must, root, tool};
use crate::web::{Web, Whim};

/// A release of a program that only tells its version, and a machine that has none.
struct Yard {
    home: Home,
    web: Web,
    program: String,
}

impl Yard {
    fn new() -> Self {
        let home = Home::new();
        home.must(&["keys", "generate", "--quiet"]);
        let program = format!("imgforge-9.9.1-{}-linux", std::env::consts::ARCH);
        fs::create_dir(home.path("dist")).unwrap();
        fs::write(home.path("dist").join(&program), "#!/bin/sh\necho imgforge 9.9.1\n").unwrap();
        let web = Web::serve(&home.path("dist"));
        let yard = Self { home, web, program };
        yard.sign("keys/cosign.key");
        yard
    }

    /// As `.github/workflows/imgforge.yml` does.
    fn sign(&self, key: &str) {
        let sums = "cd dist && sha256sum imgforge-* >SHA256SUMS";
        must(tool("sh", &["-c", sums]).current_dir(self.home.path("")));
        self.home.must(&["sign", "--detached", "dist/SHA256SUMS", "--key", key, "--quiet"]);
    }

    fn command(&self, more: &[&str]) -> Command {
        let script = root().join("install.sh");
        let mut command = tool("sh", &[script.to_str().unwrap()]);
        command.args(more).env("HOME", self.home.path("")).current_dir(self.home.path(""));
        command
    }

    fn install(&self, more: &[&str]) -> String {
        let url = self.web.url();
        let prefix = self.home.text("usr");
        let fixed = ["--key", "keys/cosign.pub", "--from", &url, "--prefix", &prefix];
        let said = self.home.record(&mut self.command(&[&fixed[..], more].concat()));
        said.replace(&self.web.url(), "[URL]").replace(std::env::consts::ARCH, "[ARCH]")
    }

    fn refused(&self, attack: &str, more: &[&str], code: u8, reason: &str) {
        let said = self.install(more);
        assert!(said.starts_with(&format!("exit {code}\n")) && said.contains(reason), "{attack}: {said}");
        let bin = self.home.path("usr/bin");
        let left = fs::read_dir(bin).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{attack}: something was installed");
    }
}

#[test]
fn a_signed_release_is_installed_and_nothing_else() {
    let yard = Yard::new();
    assert_session!(yard.install(&["--dry-run"]), @"
    exit 0
    --- stdout
    verified   imgforge-9.9.1-[ARCH]-linux  sha256:[DIGEST]
    installed  nothing: --dry-run
    ");
    assert!(!yard.home.path("usr").exists());
    yard.refused(
        "another version",
        &["--version", "9.9.0"],
        12,
        "this is the release of imgforge 9.9.1, not of 9.9.0",
    );

    let program = yard.home.path("dist").join(&yard.program);
    let right = fs::read_to_string(&program).unwrap();
    fs::write(&program, right.replace("9.9.1", "9.9.2")).unwrap();
    yard.refused("a changed program", &[], 12, "is not the signed program");
    fs::write(&program, &right[..right.len() - 1]).unwrap();
    yard.refused("a truncated program", &[], 12, "is not the signed program");
    fs::write(&program, &right).unwrap();
    yard.web
        .mood(|request| if request.path.contains("imgforge-") { Whim::Status(200, "") } else { Whim::Serve });
    yard.refused("a page for people", &[], 12, "is not the signed program");
    yard.web
        .mood(|request| if request.path.ends_with("SUMS.sig") { Whim::Status(200, "") } else { Whim::Serve });
    yard.refused("a page as the signature", &[], 11, "SHA256SUMS.sig");
    yard.web.mood(|request| if request.path.ends_with("SUMS") { Whim::Status(200, "") } else { Whim::Serve });
    yard.refused("a page as the list", &[], 11, "did not sign");
    yard.web.mood(|request| if request.path.ends_with("SUMS") { Whim::Cut(10) } else { Whim::Serve });
    yard.refused("a line that breaks", &[], 20, "cannot download");
    yard.web.mood(|_| Whim::Status(404, ""));
    yard.refused("no release", &[], 20, "cannot download");
    yard.web.mood(|_| Whim::Serve);

    let sums = yard.home.path("dist/SHA256SUMS");
    let before = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, before.replacen(&before[..1], if before.starts_with('0') { "1" } else { "0" }, 1))
        .unwrap();
    yard.refused("a changed list", &[], 11, "did not sign");
    fs::write(&sums, &before).unwrap();
    yard.home.must(&["keys", "generate", "--output", "evil", "--quiet"]);
    yard.sign("evil/cosign.key");
    yard.refused("signed by another key", &[], 11, "did not sign");
    fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    yard.sign("keys/cosign.key");
    yard.refused("a program that does not run here", &[], 1, "does not run on this machine");
    fs::rename(&program, yard.home.path("dist/imgforge-9.9.1-riscv64-linux")).unwrap();
    yard.sign("keys/cosign.key");
    yard.refused("no program for this machine", &[], 12, "the release has no imgforge for [ARCH]");

    fs::remove_file(yard.home.path("dist/imgforge-9.9.1-riscv64-linux")).unwrap();
    fs::write(&program, &right).unwrap();
    yard.sign("keys/cosign.key");
    assert_session!(yard.install(&["--version", "9.9.1"]).replace("$PATH", "[PATH]"), @"
    exit 0
    --- stdout
    verified   imgforge-9.9.1-[ARCH]-linux  sha256:[DIGEST]
    installed  [HOME]/usr/bin/imgforge, version 9.9.1
    next       export PATH=[HOME]/usr/bin:[PATH]
    ");
    let installed = yard.home.path("usr/bin/imgforge");
    assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(must(&mut Command::new(&installed)), "imgforge 9.9.1\n");
    // From a folder too, over what is there.
    let from = yard.home.text("dist");
    let prefix = yard.home.text("usr");
    let again = ["--key", "keys/cosign.pub", "--from", &from, "--prefix", &prefix, "--quiet"];
    assert_eq!(yard.home.record(&mut yard.command(&again)), "exit 0\n");
    assert_eq!(fs::read_dir(yard.home.path("usr/bin")).unwrap().count(), 1);
}

#[test]
fn what_install_sh_must_be_told() {
    let yard = Yard::new();
    let said = |arguments: &[&str]| yard.home.record(&mut yard.command(arguments));
    assert_session!(said(&[]), @"
    exit 2
    --- stderr
    error: whose signature should count?

    hint: name the public key of imgforge's releases with --key FILE
    ");
    assert_session!(said(&["--key", "dist/SHA256SUMS"]), @"
    exit 2
    --- stderr
    error: dist/SHA256SUMS is no public key

    hint: it begins with -----BEGIN PUBLIC KEY-----
    ");
    assert_session!(said(&["--key", "keys/cosign.pub", "--version", "../evil"]), @"
    exit 2
    --- stderr
    error: ../evil is no version

    hint: write it as 0.1.0
    ");
    assert_session!(said(&["--verbose"]), @"
    exit 2
    --- stderr
    error: there is no option --verbose

    hint: sh install.sh --help
    ");
}

#[test]
fn a_file_is_signed_as_it_is() {
    let home = Home::new();
    home.must(&["keys", "generate", "--quiet"]);
    fs::write(home.path("list"), "anything").unwrap();
    assert_session!(home.session(&["sign", "--detached", "list"]), @"
    exit 0
    --- stdout
    wrote      list.sig
    key        sha256:[DIGEST]
    ");
    let (key, signature, file) = (home.text("keys/cosign.pub"), home.text("list.sig"), home.text("list"));
    must(&mut tool(
        "cosign",
        &["verify-blob", "--key", &key, "--signature", &signature, "--insecure-ignore-tlog", &file],
    ));
    // Not what is signed of a sealed document: whoever has that signature has the seal.
    fs::write(home.path("list"), "DSSEv1 28 application/vnd.in-toto+json 2 {}").unwrap();
    assert_session!(home.session(&["sign", "--detached", "list"]), @"
    exit 2
    --- stderr
    error: `list` begins as what is signed of a document does

    hint: somebody wants your key's signature over a document; find out what the file is
    ");
}
