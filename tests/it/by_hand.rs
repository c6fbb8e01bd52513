//! `docs/verify-without-imgforge.md`, as somebody follows it who has no imgforge: its commands are taken from
//! the page itself and run by a shell without a network, on good files, with another key, and on other files.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use imgforge::model::attestation::Attestation;
use imgforge::model::image::{Blob, Image};
use imgforge::model::registry;
use imgforge::step::sign;

use crate::harness::{must, root, run, tool, tools};
use crate::workbench::Bench;

/// A command of the page, and the words that it should print.
struct Line {
    command: String,
    prints: Vec<String>,
}

/// The commands of the page, for another project than the one that it speaks of.
fn page(project: &str) -> Vec<Line> {
    let text = fs::read_to_string(root().join("docs/verify-without-imgforge.md")).unwrap();
    let text = text.replace("noderr/", &format!("{project}/"));
    let mut lines: Vec<Line> = Vec::new();
    let mut goes_on = false;
    for text in text.lines().map(|line| line.strip_prefix("    ")) {
        match (text, lines.last_mut()) {
            (Some(text), Some(line)) if goes_on => line.command.extend(["\n", text]),
            (Some(text), last) => match (text.strip_prefix("$ "), last) {
                (Some(command), _) => lines.push(Line { command: command.to_owned(), prints: Vec::new() }),
                (None, Some(line)) => line.prints.extend(text.split_whitespace().map(str::to_owned)),
                (None, None) => panic!("`{text}` stands before all commands"),
            },
            (None, _) => {}
        }
        goes_on = text.is_some_and(|text| text.ends_with('\\'));
    }
    lines
}

/// Every file that the page speaks of, in a folder.
fn files(bench: &Bench, text: &str, folder: &str) -> Image {
    let file = "oracle-9.9.1-linux-amd64";
    let (store, image) = bench.image("oracle", "9.9.1", text);
    let archive = bench.stated("oracle", "9.9.1", (store, image.clone()));
    let _ = fs::remove_dir_all(bench.object("releases"));
    let sealed = bench.publish(&bench.release("9.9.1", vec![archive]), &bench.key);
    let to = bench.home.path(folder);
    fs::create_dir_all(to.join("trust")).unwrap();
    for object in fs::read_dir(bench.object("releases/9.9.1")).unwrap().map(Result::unwrap) {
        fs::copy(object.path(), to.join(object.file_name())).unwrap();
    }
    fs::write(to.join("stable.sigstore.json"), bench.point(&bench.channel(&sealed, "9.9.1", 1), &bench.key))
        .unwrap();
    fs::copy(bench.home.path("keys/cosign.pub"), to.join("cosign.pub")).unwrap();
    let signature = Attestation::signature(&image);
    let bundle = sign::attest(&signature, &bench.key).unwrap();
    let tar = registry::layout(&image, &bundle, signature.predicate_type());
    fs::write(to.join(format!("{file}.cosign.tar")), tar).unwrap();
    image
}

/// Runs the page in a folder: how each command ended, and what it said.
fn follow(bench: &Bench, page: &[Line], folder: &str) -> Vec<(i32, String)> {
    let commands = page.iter().map(|line| format!("{}\necho \"=== $?\"\n", line.command));
    let script = "exec 2>&1\n".to_owned() + &commands.collect::<String>();
    let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
    let mut shell = tool("unshare", &["-n", "sh", "-c", &script]);
    let said = run(shell.current_dir(bench.home.path(folder)).env("PATH", path));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut ended = Vec::new();
    let mut rest = said.as_str();
    while let Some((before, after)) = rest.split_once("=== ") {
        let (code, after) = after.split_once('\n').unwrap();
        ended.push((code.parse().unwrap(), before.to_owned()));
        rest = after;
    }
    assert_eq!(ended.len(), page.len(), "{said}");
    ended
}

#[test]
fn every_command_of_the_page_holds_and_can_fail() {
    let bench = Bench::new("t-by-hand");
    let page = page("t-by-hand");
    assert!(page.len() > 20, "the page has {} commands", page.len());
    files(&bench, "hello", "good");
    bench.home.must(&["keys", "generate", "--name", "new"]);
    let rotate = ["trust", "rotate", "--key", "keys/cosign.key", "--to", "keys/new.key"];
    bench.home.must(&[&rotate[..], &["--project", "t-by-hand"]].concat());
    fs::copy(bench.object("trust/1.jsonl"), bench.home.path("good/trust/1.jsonl")).unwrap();
    fs::copy(bench.home.path("keys/new.pub"), bench.home.path("good/new.pub")).unwrap();
    let copy = |name: &str| must(&mut tool("cp", &["-r", &bench.home.text("good"), &bench.home.text(name)]));
    copy("key");
    copy("other");

    let digest = |word: &str| word.starts_with("sha256:");
    for (line, (code, said)) in page.iter().zip(follow(&bench, &page, "good")) {
        assert_eq!(code, 0, "{}\n{said}", line.command);
        let missing = line.prints.iter().find(|word| !digest(word) && !said.contains(*word));
        assert_eq!(missing, None, "{}\n{said}", line.command);
        if line.prints.iter().any(|word| digest(word)) {
            assert!(said.contains("sha256:"), "{}\n{said}", line.command);
        }
    }
    let checks =
        |line: &Line| ["cosign verify", "openssl dgst"].iter().any(|word| line.command.contains(word));
    assert_eq!(page.iter().filter(|line| checks(line)).count(), 9);

    // Another key than the project's.
    bench.home.must(&["keys", "generate", "--output", "evil"]);
    fs::copy(bench.home.path("evil/cosign.pub"), bench.home.path("key/cosign.pub")).unwrap();
    for (line, (code, said)) in page.iter().zip(follow(&bench, &page, "key")) {
        assert!(code != 0 || !checks(line), "{} accepts another key\n{said}", line.command);
    }

    // Other files, each sound in itself: another image, in a release of its own, and another key.
    files(&bench, "other", "others");
    let replace = |from: &str, to: &str| {
        fs::copy(bench.home.path(from), bench.home.path("other").join(to)).unwrap();
    };
    for file in ["oracle-9.9.1-linux-amd64.tar.gz", "SHA256SUMS"] {
        replace(&format!("others/{file}"), file);
    }
    replace("evil/cosign.pub", "new.pub");
    for (line, (code, said)) in page.iter().zip(follow(&bench, &page, "other")) {
        // The release is the good one in this folder, and the channel names it.
        let untouched = line.command.contains("channel/v1");
        assert!(code != 0 || !checks(line) || untouched, "{} accepts other files\n{said}", line.command);
    }
    replace("others/release.sigstore.json", "release.sigstore.json");
    let ended = follow(&bench, &page, "other");
    let mut channel = page.iter().zip(ended).filter(|(line, _)| line.command.contains("channel/v1"));
    assert!(channel.all(|(_, (code, _))| code != 0));
}

/// What the page says of cosign is measured: when a newer one does better, the page has to change.
#[test]
fn what_cosign_does_not_check() {
    let bench = Bench::new("t-by-hand-cosign");
    let image = files(&bench, "hello", "good");
    let at = |below: &str| bench.home.text(&format!("good/{below}"));
    for file in ["tar.gz", "cosign.tar"] {
        fs::create_dir_all(at("layout")).unwrap();
        must(&mut tool(
            "tar",
            &["-xf", &at(&format!("oracle-9.9.1-linux-amd64.{file}")), "-C", &at("layout")],
        ));
    }
    let local =
        ["verify", "--key", &at("cosign.pub"), "--insecure-ignore-tlog", "--local-image", &at("layout")];
    let accepted = || run(&mut tool("cosign", &local)).status.success();
    let blob = |blob: &Blob| at(&format!("layout/blobs/sha256/{}", blob.digest.hex()));
    // By another image's bytes: the layer, the configuration, the manifest.
    let (_, evil) = bench.image("oracle", "9.9.1", "evil!");
    for (blob, bytes) in [
        (blob(&image.layers[0]), bench.layer("evil!")),
        (blob(&image.config), b"{}".to_vec()),
        (blob(&image.manifest), evil.manifest_bytes()),
    ] {
        let good = fs::read(&blob).unwrap();
        fs::write(&blob, bytes).unwrap();
        assert!(accepted(), "cosign notices that {blob} was replaced");
        let check = "cd \"$0\" && for blob in *; do echo \"$blob  $blob\"; done | sha256sum -c --quiet";
        let names = || run(&mut tool("sh", &["-c", check, &at("layout/blobs/sha256")])).status.success();
        assert!(!names());
        fs::write(&blob, good).unwrap();
        assert!(names());
    }
    // An index that names another manifest, with or without a signature that claims to be of it.
    fs::write(blob(&evil.manifest), evil.manifest_bytes()).unwrap();
    let swap = |path: &str| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace(&image.manifest.digest.hex(), &evil.manifest.digest.hex())).unwrap();
    };
    swap(&at("layout/index.json"));
    assert!(!accepted());
    let claims =
        |path: &std::path::Path| fs::read_to_string(path).is_ok_and(|text| text.contains("\"subject\""));
    let blobs = fs::read_dir(at("layout/blobs/sha256")).unwrap().map(|file| file.unwrap().path());
    let referrer = blobs.filter(|path| claims(path)).collect::<Vec<_>>();
    assert_eq!(referrer.len(), 1);
    swap(referrer[0].to_str().unwrap());
    assert!(!accepted());

    // The form of bundle in which the forger's key wins over the one that was named.
    let evil = super::attacks::stranger(&bench);
    let text = b"evil";
    fs::write(at("evil.txt"), text).unwrap();
    let signature = BASE64.encode(evil.sign(text).unwrap());
    let forged = serde_json::json!({
        "base64Signature": signature, "cert": BASE64.encode(evil.public().to_pem()), "rekorBundle": null,
    });
    fs::write(at("forged.json"), forged.to_string()).unwrap();
    fs::write(at("evil.sig"), signature).unwrap();
    let blob = |with: &str, file: &str| {
        let key = at("cosign.pub");
        let fixed =
            ["verify-blob", "--key", &key, "--insecure-ignore-tlog", with, &at(file), &at("evil.txt")];
        run(&mut tool("cosign", &fixed)).status.success()
    };
    assert!(blob("--bundle", "forged.json"), "cosign refuses a forged bundle");
    assert!(!blob("--signature", "evil.sig"));
}
