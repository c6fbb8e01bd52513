//! What `--help` says, and that the documents say the same as the program.

use std::collections::BTreeSet;
use std::fs;

use crate::assert_session;
use crate::harness::{Home, root};

#[test]
fn help_reads_well() {
    let home = Home::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("manual");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    let mut pages = vec![Vec::new()];
    let mut names = BTreeSet::new();
    while let Some(page) = pages.pop() {
        let words: Vec<&str> = page.iter().map(String::as_str).collect();
        let help = home.must(&[&words[..], &["--help"]].concat());
        let name = [&["imgforge"], &words[..]].concat().join("-");
        insta::assert_snapshot!(name.clone(), help);
        names.insert(format!("{name}.snap"));
        pages.extend(commands(&help).map(|word| [&page[..], &[word.to_owned()]].concat()));
    }
    let files = fs::read_dir(root().join("tests/it/manual")).unwrap().flatten();
    let files = files.map(|file| file.file_name().into_string().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(files, names, "a page is left of a command that is gone");
}

/// The commands that a page of the manual lists.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    // Further lines of a description begin below it.
    let first =
        lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    first.filter(|word| *word != "help")
}

#[test]
fn wrong_use_is_explained() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    assert_session!(home.session(&["fetsh"]), @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'fetsh'

      tip: a similar subcommand exists: 'fetch'

    Usage: imgforge [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["release", "oracle"]), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --version <V>

    Usage: imgforge release --version <V> <TIER>...

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["build", "Oracle"]), @"
    exit 2
    --- stderr
    error: invalid value 'Oracle' for '<TIER>...': `Oracle` is not a tier name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["build", "oracle", "--secret", "id=x,src=/nowhere"]), @"
    exit 2
    --- stderr
    error: invalid value 'id=x,src=/nowhere' for '--secret <id=ID,src=FILE>': there is no file `/nowhere`

    For more information, try '--help'.
    ");
    assert_session!(home.session(&["fetch", "oracle", "--key", "cosign.pub"]), @"
    exit 2
    --- stderr
    error: `--key` needs to know the project and the store

    hint: write `imgforge fetch --verify PROJECT/TIER --key cosign.pub --from STORE`, or the project's own folder, `--from STORE/PROJECT`
    ");
    home.must(&["trust", "add", "p", "--key", "keys/cosign.pub", "--from", "store"]);
    let mut address = home.imgforge(&["fetch", "oracle"]);
    assert_session!(home.record(address.env("DOCKER_HOST", "/var/run/docker.sock")), @"
    exit 2
    --- stderr
    error: `DOCKER_HOST`: `/var/run/docker.sock` is not an address: use `unix:///path/to/socket`, `tcp://host:port` or `ssh://user@host`

    hint: change or unset `DOCKER_HOST`
    ");
}

#[test]
fn exit_codes_are_documented() {
    let source = fs::read_to_string(root().join("src/cli/report.rs")).unwrap();
    let body = source.split("enum Code {").nth(1).unwrap().split('}').next().unwrap();
    let used: BTreeSet<u8> = body
        .lines()
        .filter_map(|line| line.split('=').nth(1)?.trim_matches([' ', ',']).parse().ok())
        .collect();
    let page = fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let documented: BTreeSet<u8> = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('`').parse().ok())
        .collect();
    assert!(used.len() > 8, "{used:?}");
    assert!(used.is_subset(&documented), "undocumented: {:?}", used.difference(&documented));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(home.must(&["completions", shell]).contains("fetch"), "{shell}");
    }
}

#[test]
fn the_recipe_reference_is_current() {
    let page = fs::read_to_string(root().join("docs/recipes-reference.md")).unwrap();
    let now = Home::new().must(&["recipe", "reference"]);
    assert!(page == now, "write it again: imgforge recipe reference > docs/recipes-reference.md");
}
