//! The commands in README and docs: each one parses, and each that a machine without a network can run is run,
//! with the output that the document shows. One that is neither run here nor listed with a reason fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::building::{Project, shared_cache};
use crate::harness::{record, root, run};

/// A command in a code block, and what the document shows of its output.
#[derive(Debug, Clone)]
struct Shown {
    document: String,
    command: String,
    output: Vec<String>,
}

/// Every document for users, by name.
fn documents() -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        folder.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.sort();
    paths.insert(0, root().join("README.md"));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The commands in the code blocks of a document: after `$`, or lines that begin with the program's name.
fn blocks(document: &str, text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let (mut fenced, mut goes_on, mut inside) = (false, false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            inside = false;
            continue;
        }
        let code = if fenced { Some(line) } else { line.strip_prefix("    ") };
        let Some(code) = code else {
            // An empty line may stand inside of a block.
            inside = inside && line.is_empty();
            goes_on = false;
            continue;
        };
        let command = code.strip_prefix("$ ").or(Some(code).filter(|code| is_command(code)));
        match (command, shown.last_mut()) {
            (_, Some(last)) if goes_on => last.command.extend(["\n", code]),
            (Some(command), _) => {
                let (document, command) = (document.to_owned(), command.to_owned());
                shown.push(Shown { document, command, output: Vec::new() });
                inside = true;
            }
            (None, Some(last)) if inside => last.output.push(code.to_owned()),
            (None, _) => {}
        }
        goes_on = inside && code.ends_with('\\');
    }
    shown
}

fn is_command(code: &str) -> bool {
    ["imgforge ", "make "].iter().any(|program| code.starts_with(program))
}

/// What stands between backticks and begins with the program's name.
fn spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| span.starts_with("imgforge ")).map(|span| span.replace('\n', " ")).collect()
}

/// What a shell would hand to the program, with something real for each placeholder. What follows a pipe, a
/// redirection, or the remark beside a command is none of it.
fn arguments(command: &str) -> Vec<String> {
    let command = command.replace("\\\n", " ").replace("\\|", "|");
    let command = command.split("   ").next().unwrap_or_default();
    let words = command.split_whitespace().skip(1).take_while(|word| !["|", "&&", "#", ";"].contains(word));
    let words = words.filter(|word| !word.trim_start_matches(char::is_numeric).starts_with('>'));
    words.map(|word| placeholder(word.trim_matches(['\'', '"']))).collect()
}

fn placeholder(word: &str) -> String {
    let word = word.replace("[@VERSION]", "").replace("[@V]", "");
    let plain = word.trim_matches(['[', ']']).trim_end_matches("...");
    let plain = plain.split('|').next().unwrap_or_default();
    match plain {
        "V" | "W" | "VERSION" => "1.0.0".to_owned(),
        "SHELL" => "bash".to_owned(),
        "REF" => "localhost:5000/a/b".to_owned(),
        _ if plain.chars().all(|c| c.is_ascii_uppercase()) => plain.to_lowercase(),
        _ => plain.to_owned(),
    }
}

#[test]
fn every_command_in_the_documents_parses() {
    let mut found = BTreeSet::new();
    for (name, text) in documents() {
        let commands = blocks(&name, &text).into_iter().map(|shown| shown.command);
        for command in commands.chain(spans(&text)).filter(|command| command.starts_with("imgforge ")) {
            found.insert((arguments(&command), name.clone()));
        }
    }
    assert!(found.len() > 60, "{} commands were found", found.len());
    let said = |arguments: &[String]| {
        let program = env!("CARGO_BIN_EXE_imgforge");
        // One of them writes to descriptor 3.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" --help 3>/dev/null", program]);
        run(shell.args(arguments).env("HOME", "/nonexistent"))
    };
    for (arguments, document) in &found {
        let output = said(arguments);
        assert!(output.status.success(), "{document}: {arguments:?}\n{}", record(&output, &[]));
    }
    // The check can fail.
    for wrong in [vec!["fetch", "oracle", "--unknown"], vec!["unknown", "oracle"], vec!["fetch", "a", "b"]] {
        let wrong: Vec<String> = wrong.into_iter().map(str::to_owned).collect();
        assert!(!said(&wrong).status.success(), "{wrong:?}");
    }
}

/// What is not run here: the document, how the command begins, and why.
const ELSEWHERE: [(&str, &str, &str); 24] = [
    ("README.md", "make ", "runs this test itself, or what `journey.rs` does"),
    ("README.md", "cargo build", "the program is built already"),
    ("README.md", "read -rs", "asks for a password; the tests have one"),
    ("README.md", "docker run", "needs the Noderr image; `journey.rs` starts it"),
    ("README.md", "base64 -d", "`by_hand.rs` runs it"),
    ("README.md", "openssl dgst", "`by_hand.rs` runs it"),
    ("README.md", "sha256sum -c", "`by_hand.rs` runs it"),
    ("README.md", "docker load", "`by_hand.rs` runs it"),
    ("docs/building.md", "imgforge build oracle --cache-", "`engines.rs` and `transport.rs` try caches"),
    ("docs/exit-codes.md", "imgforge build oracle --quiet --progress-fd", "`line.rs` reads the events"),
    ("docs/locking.md", "imgforge", "asks Debian; `locking.rs` has an archive of its own"),
    ("docs/operators.md", "imgforge doctor", "says what this machine is; `doctor.rs` has broken ones"),
    ("docs/operators.md", "imgforge trust add", "a web server; the README has the same with a disk"),
    ("docs/operators.md", "docker", "`runtime.rs` and `journey.rs` run containers"),
    ("docs/publishing.md", "imgforge link", "buckets only; `publishing.rs` has one"),
    ("docs/publishing.md", "imgforge fetch --verify oci:", "needs a registry; `pulling.rs` has one"),
    ("docs/publishing.md", "sha256sum imgforge-", "`installing.rs` makes and signs such a release"),
    ("docs/publishing.md", "imgforge sign --detached", "`installing.rs` makes and signs such a release"),
    ("docs/publishing.md", "openssl dgst", "`installing.rs` makes and signs such a release"),
    ("docs/publishing.md", "imgforge push", "needs a registry; `pushing.rs` has one"),
    ("docs/runtime.md", "docker run", "`runtime.rs` runs containers"),
    ("docs/scanning.md", "imgforge scan", "needs data of OSV or Debian; `scanning.rs` has some"),
    ("docs/security.md", "imgforge trust", "keys of several people; `rotation.rs` has them"),
    ("docs/verify-without-imgforge.md", "", "`by_hand.rs` runs all of it"),
];

/// What is run, in this order: the document, how the command begins, and who types it.
const RUN: [(&str, &str, Who); 16] = [
    ("README.md", "imgforge keys generate", Who::Engineer),
    ("docs/publishing.md", "imgforge release oracle --version", Who::Next),
    ("docs/publishing.md", "imgforge attest", Who::Engineer),
    ("README.md", "imgforge build oracle", Who::Engineer),
    ("README.md", "imgforge release oracle", Who::Engineer),
    ("docs/publishing.md", "imgforge releases", Who::Engineer),
    ("docs/publishing.md", "imgforge prune", Who::Engineer),
    ("README.md", "cp -r", Who::Engineer),
    ("docs/publishing.md", "imgforge mirror", Who::Engineer),
    ("README.md", "imgforge trust add", Who::Operator),
    ("README.md", "imgforge fetch --verify oracle", Who::Operator),
    ("docs/operators.md", "imgforge fetch --verify oracle", Who::Operator),
    ("docs/operators.md", "imgforge fetch --verify oracle", Who::Operator),
    ("docs/operators.md", "imgforge inspect", Who::Operator),
    ("docs/operators.md", "imgforge sbom show", Who::Operator),
    ("docs/operators.md", "tar -xzOf", Who::Operator),
];

/// Who types a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// In the folder of the recipes.
    Engineer,
    /// The same, after the version before, which is released without a word.
    Next,
    /// On another machine, with the key and a disk.
    Operator,
}

/// A project like the sample one, and small: its image has a service, so that it has a check of its own.
fn project() -> Project {
    let project = Project::new("t-commands", "");
    let head = "name = \"t-commands\"\nversion = \"1.4.0\"\nplatforms = [\"linux/amd64\"]\n";
    project.write("recipes/project.toml", head);
    let tier = "extends = \"base\"\n[services.node]\ncommand = [\"sleep\", \"1000\"]\n\
                [health]\nprobe = \"services\"\ninterval = 1\nstart_period = 30\n";
    project.write("recipes/oracle.toml", tier);
    project
}

impl Project {
    /// Types a command as a document has it, for this project.
    fn types(&self, who: Who, command: &str) -> std::process::Output {
        let (disk, op) = (self.home.text("media"), self.home.path("op"));
        let command = command.replace("noderr", self.name()).replace("/media/usb", &disk);
        // What is not locked is not what this is about.
        let unlocked = "imgforge release --allow-unlocked ";
        let command = command.replace(" --allow-unlocked", "").replace("imgforge release ", unlocked);
        let mut shell = self.imgforge(&[]);
        let program = PathBuf::from(shell.get_program());
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let settings: Vec<_> =
            shell.get_envs().map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned))).collect();
        shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(self.home.path("")).stdin(std::process::Stdio::null());
        for (key, value) in settings {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        shell.env("PATH", path);
        if who == Who::Operator {
            shell.current_dir(&op).env("HOME", &op).env_remove("XDG_CACHE_HOME");
        }
        run(&mut shell)
    }
}

/// Whether a line is what a document shows: word by word, but for words with a digit in them, which are sizes,
/// times, digests, versions and paths.
fn is_like(shown: &str, real: &str) -> bool {
    let differs = |word: &str| word.contains(|c: char| c.is_ascii_digit()) || word.contains("/.cache/");
    let words = |line: &'_ str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (shown, real) = (words(shown), words(real));
    let is_unit = |word: &str| ["kB", "MB", "GB"].contains(&word);
    let pairs = shown.iter().zip(&real);
    shown.len() == real.len()
        && pairs.into_iter().all(|(one, other)| {
            one == other || (differs(one) && differs(other)) || (is_unit(one) && is_unit(other))
        })
}

#[test]
fn every_command_in_the_documents_is_run_or_has_a_reason() {
    shared_cache();
    let project = project();
    for folder in ["media", "op"] {
        fs::create_dir(project.home.path(folder)).unwrap();
    }
    let mut shown: Vec<Shown> = documents().iter().flat_map(|(name, text)| blocks(name, text)).collect();
    let begins = |shown: &Shown, document: &str, start: &str| {
        shown.document == document && shown.command.starts_with(start)
    };
    let mapped = |line: &str| {
        line.replace("noderr", project.name()).replace("/media/usb", &project.home.text("media"))
    };
    for (document, start, who) in RUN {
        let at = shown.iter().position(|shown| begins(shown, document, start));
        let at = at.unwrap_or_else(|| panic!("{document} has no `{start}`, or not so often"));
        let Shown { command, output, .. } = shown.remove(at);
        if command.starts_with("imgforge trust add") {
            fs::copy(project.home.path("media/cosign.pub"), project.home.path("op/cosign.pub")).unwrap();
        }
        if who == Who::Next {
            let before = "imgforge release oracle --quiet --version 1.4.0";
            assert!(project.types(Who::Engineer, before).status.success());
        }
        let command = command.split("   ").next().unwrap();
        let ended = project.types(who, command);
        let said = record(&ended, &[]);
        assert!(ended.status.success(), "{document}: {command}\n{said}");
        let real = String::from_utf8(ended.stdout).unwrap();
        let output: Vec<&String> = output.iter().filter(|line| !line.is_empty()).collect();
        if !output.is_empty() {
            let real: Vec<&str> = real.lines().collect();
            assert_eq!(real.len(), output.len(), "{document} shows something else of `{command}`:\n{said}");
            for (line, real) in output.iter().zip(real) {
                assert!(is_like(&mapped(line), real), "{document} shows `{line}` of `{command}`:\n{said}");
            }
        }
    }
    // The same fetch once more, from a disk on which one bit flipped.
    let flipped = shown.iter().position(|shown| begins(shown, "README.md", "imgforge fetch --verify oracle"));
    let Shown { command, output, .. } = shown.remove(flipped.unwrap());
    let archive = format!("{}/releases/9.9.1/oracle-9.9.1-linux-amd64.tar.gz", project.name());
    let archive = project.home.path("media").join(archive);
    let mut bytes = fs::read(&archive).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&archive, bytes).unwrap();
    fs::remove_dir_all(project.home.path("op/.cache")).unwrap();
    let ended = project.types(Who::Operator, &format!("{command} --quiet"));
    assert_eq!(ended.status.code(), Some(12), "{}", record(&ended, &[]));
    let said = String::from_utf8(ended.stderr).unwrap();
    let lines = said.lines().filter(|line| !line.is_empty());
    let end: Vec<&str> = lines.rev().take(output.len()).collect();
    assert_eq!(end.len(), output.len(), "{said}");
    for (line, real) in output.iter().rev().zip(end) {
        assert!(is_like(&mapped(line), real), "the README shows `{line}`:\n{said}");
    }

    for (document, start, _) in ELSEWHERE {
        assert!(shown.iter().any(|shown| begins(shown, document, start)), "{document} has no `{start}`");
    }
    shown.retain(|shown| !ELSEWHERE.iter().any(|(document, start, _)| begins(shown, document, start)));
    assert!(shown.is_empty(), "neither run nor listed with a reason: {shown:#?}");
    run(&mut crate::harness::tool("docker", &["image", "rm", "-f", "t-commands/oracle:9.9.1"]));
}
