//! What is different when a person sits in front of it: a terminal of `script`, which types and reads.

use std::io::Write as _;
use std::process::Stdio;

use crate::fetching::project;
use crate::harness::tool;
use crate::web::Whim;
use crate::workbench::Bench;

/// Runs `imgforge` in a terminal, types some lines, and returns what ends up on the screen.
fn typed(bench: &Bench, arguments: &[&str], lines: &str) -> String {
    let command = bench.home.imgforge(arguments);
    let mut script = tool("script", &["-qec", "stty cols 120 && exec \"$IMGFORGE\" $ARGUMENTS", "/dev/null"]);
    script.env("IMGFORGE", command.get_program()).env("ARGUMENTS", arguments.join(" "));
    script.env("HOME", bench.home.path("")).env("TERM", "xterm").env_remove("CI").env_remove("NO_COLOR");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    format!("exit {}\n{}", output.status.code().unwrap(), screen.replace("\r\n", "\n"))
}

#[test]
fn a_link_that_expired_is_typed_in_anew() {
    let (bench, web) = project("t-terminal");
    web.mood(|request| {
        let is_old = request.is_archive() && request.query == "n=1";
        if is_old { Whim::Status(403, "") } else { Whim::Serve }
    });
    let archive = format!("{}/t-terminal/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz", web.url());
    let (old, new) = (format!("{archive}?n=1"), format!("{archive}?n=2"));
    let said = typed(&bench, &["fetch", "--no-load", &old], &format!("{}\n{new}\n", &new[7..]));
    assert!(said.starts_with("exit 0\n") && said.contains("integrity  OK"), "{said}");
    assert_eq!(said.matches("The link has expired").count(), 2, "{said}");
    assert!(said.contains("warning: this is no link: copy all of it"), "{said}");
    assert!(said.contains("\ndisk       4.4 MB in the cache, "), "{said}");
    assert!(said.contains("/t-terminal/tiny-1.0.0-linux-amd64.tar.gz  # gives it to Docker"), "{said}");
    // Who types nothing gets the error that scripts get.
    std::fs::remove_dir_all(bench.home.path(".cache")).unwrap();
    let said = typed(&bench, &["fetch", "--no-load", &old], "\n");
    assert!(said.starts_with("exit 21\n") && said.contains("`--url NEW`"), "{said}");
}
