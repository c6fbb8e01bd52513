//! What is stated of images travels in their archives, and signed beside them; nothing else is taken for it.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::assert_session;
use crate::building::Project;
use crate::harness::{must, run, tool};

/// The types that cosign knows, and the word in the name of each file.
const TYPES: [(&str, &str); 3] =
    [("cyclonedx", "cyclonedx"), ("slsaprovenance1", "provenance"), ("spdxjson", "spdx")];

/// Without a base there is nothing of today in it.
const TIER: &str = "base = \"scratch\"\ncontext = \"files\"\n[[steps]]\ncopy = { paths = [\"a\"], to = \"/\" }\n\
                    [user]\nname = \"root\"\nuid = 0\ngid = 0\n";

fn project(name: &str) -> Project {
    let project = Project::bare(name);
    project.write("recipes/t.toml", TIER);
    project.write("recipes/files/a", "one");
    project.home.must(&["keys", "generate", "--quiet"]);
    project
}

fn release(project: &Project, version: &str, more: &[&str]) -> String {
    let known = ["release", "t", "--allow-unlocked", "--quiet", "--version", version];
    project.home.record(&mut project.imgforge(&[&known[..], more].concat()))
}

fn object(project: &Project, version: &str, end: &str) -> PathBuf {
    let file = format!("t-{version}-linux-amd64.{end}");
    project.home.path("dist/store").join(project.name()).join("releases").join(version).join(file)
}

/// What cosign says of a bundle and a file.
fn cosign_accepts(project: &Project, kind: &str, bundle: &str, file: &str) -> bool {
    let key = project.home.text("keys/cosign.pub");
    let fixed = ["verify-blob-attestation", "--key", &key, "--insecure-ignore-tlog"];
    let arguments = [&fixed[..], &["--type", kind, "--bundle", bundle, file]].concat();
    run(&mut tool("cosign", &arguments)).status.success()
}

#[test]
fn what_is_published_is_what_stands_in_the_archive() {
    let project = project("t-stated");
    let said = release(&project, "1.0.0", &["--dry-run"]);
    let would = said.lines().filter_map(|line| line.strip_prefix("object ")?.split_whitespace().next());
    let would = would.filter_map(|key| key.rsplit('/').next()).collect::<Vec<_>>();
    let small = ["SHA256SUMS", "SHA256SUMS.sig", "release.sigstore.json"].map(str::to_owned);
    let words = ["tar.gz"].into_iter().map(str::to_owned);
    let words = words.chain(TYPES.map(|(_, word)| format!("{word}.sigstore.json")));
    let large = words.map(|word| format!("t-1.0.0-linux-amd64.{word}"));
    assert_eq!(would, large.chain(small).collect::<Vec<_>>());
    let record: Value = {
        let arguments = ["release", "t", "--allow-unlocked", "--quiet", "--version", "1.0.0", "--json"];
        serde_json::from_str(&must(&mut project.imgforge(&arguments))).unwrap()
    };
    let named = record["archives"][0]["statements"].as_array().unwrap().iter();
    let named: Vec<&str> = named.map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(named, TYPES.map(|(_, word)| format!("t-1.0.0-linux-amd64.{word}.sigstore.json")));
    let at = |end: &str| object(&project, "1.0.0", end).to_str().unwrap().to_owned();
    for (kind, word) in TYPES {
        let bundle = at(&format!("{word}.sigstore.json"));
        assert!(cosign_accepts(&project, kind, &bundle, &at("tar.gz")), "{word}");
        assert!(!cosign_accepts(&project, "vuln", &bundle, &at("tar.gz")), "{word} of another kind");
        assert!(!cosign_accepts(&project, kind, &bundle, &bundle), "{word} of another file");

        // What is signed is what stands in the archive.
        let paper = must(&mut tool("tar", &["-xzOf", &at("tar.gz"), &format!("imgforge/{word}.json")]));
        let paper: Value = serde_json::from_str(&paper).unwrap();
        let bundle: Value = serde_json::from_str(&fs::read_to_string(bundle).unwrap()).unwrap();
        let payload = BASE64.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let stated: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(stated["predicate"], paper, "{word}");
    }

    // Nothing is signed twice: the one that is there is as good.
    let bytes = || TYPES.map(|(_, word)| fs::read(at(&format!("{word}.sigstore.json"))).unwrap());
    let before = bytes();
    let again = release(&project, "1.0.0", &[]);
    assert!(again.contains("nothing to do"), "{again}");
    assert!(bytes() == before);

    // Another machine, another day: the same archive.
    must(&mut project.imgforge(&["export", "t", "--output", "one", "--quiet"]));
    let elsewhere = |arguments: &[&str]| {
        must(project.imgforge(arguments).env("XDG_CACHE_HOME", project.home.path("elsewhere")))
    };
    elsewhere(&["build", "t", "--quiet"]);
    elsewhere(&["export", "t", "--output", "two", "--quiet"]);
    let exported =
        |folder: &str| fs::read(project.home.path(folder).join("t-1.0.0-linux-amd64.tar.gz")).unwrap();
    assert!(exported("one") == exported("two"));
}

#[test]
fn another_statement_is_refused() {
    let project = project("t-misstated");
    for version in ["1.0.0", "1.1.0"] {
        let said = release(&project, version, &[]);
        assert!(said.starts_with("exit 0"), "{said}");
    }
    let good = object(&project, "1.1.0", "spdx.sigstore.json");
    let bytes = fs::read(&good).unwrap();
    let mirror = || {
        let _ = fs::remove_dir_all(project.home.path("usb"));
        let said = project.home.record(&mut project.imgforge(&["mirror", "usb", "--quiet"]));
        let there = crate::killed::objects(&project.home.path("usb"));
        assert!(!there.iter().any(|file| file.ends_with("release.sigstore.json")), "{there:?}");
        said
    };
    let archive = object(&project, "1.1.0", "tar.gz").to_str().unwrap().to_owned();
    let folder = good.parent().unwrap().to_str().unwrap();
    let ask = ["verify", folder, "--key", "keys/cosign.pub", "--json"];
    let verify = || project.home.record(&mut project.imgforge(&ask));
    let judged = |result: &str| {
        let fields =
            format!("\"of\": \"t-1.1.0-linux-amd64.spdx.sigstore.json\",\n      \"result\": \"{result}\"");
        format!("\"check\": \"statement says what stands in the archive\",\n      {fields}")
    };
    let said = verify();
    assert!(said.starts_with("exit 0") && said.contains(&judged("ok")), "{said}");
    let cosign = || cosign_accepts(&project, "spdxjson", good.to_str().unwrap(), &archive);

    // By the right key, about another archive.
    fs::copy(object(&project, "1.0.0", "spdx.sigstore.json"), &good).unwrap();
    assert!(!cosign());
    assert_session!(mirror(), @"
    exit 12
    --- stderr
    error: statement `t-1.1.0-linux-amd64.spdx.sigstore.json` does not say of `t-1.1.0-linux-amd64.tar.gz` what stands in it

    hint: the bundle was damaged or replaced, and nothing was done with the release; tell the project
    ");
    let said = verify();
    assert!(said.starts_with("exit 12") && said.contains(&judged("failed")), "{said}");
    // The version that was published does not change, and nobody is pointed to such a store.
    assert_session!(release(&project, "1.1.0", &[]), @"
    exit 1
    --- stderr
    error: store `dist/store` already has another `t-misstated/releases/1.1.0/t-1.1.0-linux-amd64.spdx.sigstore.json`

    hint: somebody else published meanwhile; look, then run it again
    ");
    // By the right key, about this archive, and something else.
    fs::copy(object(&project, "1.1.0", "cyclonedx.sigstore.json"), &good).unwrap();
    assert!(!cosign());
    assert_session!(mirror(), @"
    exit 12
    --- stderr
    error: statement `t-1.1.0-linux-amd64.spdx.sigstore.json` does not say of `t-1.1.0-linux-amd64.tar.gz` what stands in it

    hint: the bundle was damaged or replaced, and nothing was done with the release; tell the project
    ");

    // A package less.
    let mut bundle: Value = serde_json::from_slice(&bytes).unwrap();
    let payload = BASE64.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let changed = String::from_utf8(payload).unwrap().replace("SPDX-2.3", "SPDX-2.2");
    bundle["dsseEnvelope"]["payload"] = BASE64.encode(changed).into();
    fs::write(&good, bundle.to_string()).unwrap();
    assert!(!cosign());
    assert_session!(mirror(), @"
    exit 11
    --- stderr
    error: statement `t-1.1.0-linux-amd64.spdx.sigstore.json` carries no signature of a trusted key over what it says

    hint: the bundle was damaged or replaced, and nothing was done with the release; tell the project
    ");

    fs::write(&good, "{}").unwrap();
    assert!(!cosign());
    assert_session!(mirror(), @"
    exit 10
    --- stderr
    error: statement `t-1.1.0-linux-amd64.spdx.sigstore.json` is not signed: it is no Sigstore bundle v0.3 with one signature (missing field `mediaType` at line 1 column 2)

    hint: the bundle was damaged or replaced, and nothing was done with the release; tell the project
    ");

    let said = verify();
    assert!(said.starts_with("exit 10") && said.contains(&judged("failed")), "{said}");

    fs::remove_file(&good).unwrap();
    assert!(verify().starts_with("exit 0"), "a statement may stay away, as where nothing was published");
    assert_session!(mirror(), @"
    exit 1
    --- stderr
    error: store `dist/store` has no `t-misstated/releases/1.1.0/t-1.1.0-linux-amd64.spdx.sigstore.json`

    hint: check the store, the project, the channel and the version
    ");

    // What is missing is signed again, and then all of it is copied.
    let said = release(&project, "1.1.0", &[]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(cosign());
    let said = project.home.record(&mut project.imgforge(&["mirror", "usb", "--quiet"]));
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(fs::read(&good).unwrap() != bytes);
    let copied = good.strip_prefix(project.home.path("dist/store")).unwrap();
    assert!(fs::read(project.home.path("usb").join(copied)).unwrap() == fs::read(&good).unwrap());
}

#[test]
fn an_archive_says_what_is_in_it_and_who_vouches_for_that() {
    use crate::pushing::made_of;
    use crate::workbench::layered;

    let text = b"{\"name\":\"two\",\"version\":\"2.0.0\",\"license\":\"MIT\"}";
    let layer = layered("t-says", &[("app/node_modules/two/package.json", text.to_vec())]);
    let (home, _) = made_of("t-says", &layer);
    let archive = "dist/tiny-1.0.0-linux-amd64.tar.gz";
    let said = home.session(&["export", "tiny"]);
    assert!(said.contains("warning: nobody knows what `t-says/tiny:1.0.0` was built of"), "{said}");
    assert_session!(home.session(&["sbom", "show", archive]), @"
    exit 0
    --- stdout
    npm        two 2.0.0  MIT
    total      1 npm
    unsigned   by nobody that this machine trusts
    --- stderr
    warning: nobody vouches for `dist/tiny-1.0.0-linux-amd64.tar.gz`: no project is pinned here, and no key was named
    ");
    assert_session!(home.session(&["sbom", "--key", "keys/cosign.pub", "show", archive]), @"
    exit 10
    --- stderr
    error: `dist/tiny-1.0.0-linux-amd64.tar.gz` is no archive that carries its release

    hint: ask for an archive that `imgforge release` published
    ");

    home.must(&["sign", archive, "--quiet"]);
    home.must(&["trust", "add", "t-says", "--key", "keys/cosign.pub", "--from", "store"]);
    assert_session!(home.session(&["sbom", "show", archive]), @"
    exit 0
    --- stdout
    npm        two 2.0.0  MIT
    total      1 npm
    signed     release 1.0.0 of `t-says`, by sha256:[DIGEST]
    ");
    let shown = |image: &str, format: &str| -> Value {
        serde_json::from_str(&home.must(&["sbom", "show", image, "--format", format])).unwrap()
    };
    for format in ["spdx", "cyclonedx"] {
        assert_eq!(shown(archive, format), shown("tiny", format));
    }
    assert_session!(home.session(&["sbom", "diff", archive, "tiny"]), @"
    exit 0
    --- stdout
    equal      the same packages in the same versions
    ");
    home.must(&["keys", "generate", "--output", "evil", "--quiet"]);
    assert_session!(home.session(&["sbom", "--key", "evil/cosign.pub", "show", archive]), @"
    exit 11
    --- stderr
    error: the release is sealed by no trusted key
      cause: it says that key sha256:[DIGEST] sealed it

    hint: nothing was loaded; compare your key with the project's: `imgforge trust show`
    ");
    // An archive without papers.
    let bare = crate::workbench::Bench::new("t-says-nothing");
    let bare_archive = bare.archive("tiny", "1.0.0", "hello");
    let path = bare.home.path("dist").join(bare_archive.file);
    fs::create_dir_all(home.path("bare")).unwrap();
    fs::copy(path, home.path("bare/tiny.tar.gz")).unwrap();
    assert_session!(home.session(&["sbom", "show", "bare/tiny.tar.gz"]), @"
    exit 2
    --- stderr
    warning: nobody vouches for `bare/tiny.tar.gz`: nobody signed the archive
    error: `bare/tiny.tar.gz` holds no `cyclonedx.json`

    hint: it was packed without; ask the project for what it published
    ");
}
