//! Statements about images, as stock cosign reads them.

use std::fs;

use base64::Engine as _;

use crate::assert_session;
use crate::building::{Project, shared_cache};
use crate::harness::{must, run, tool};
use crate::pushing::made_of;
use crate::workbench::layered;

/// What a bundle states. Its signature is cosign's business.
fn stated(project: &Project, file: &str) -> serde_json::Value {
    let bundle: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(project.home.path(file)).unwrap()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn cosign_accepts_what_is_stated() {
    shared_cache();
    let project = Project::new("t-attest", "");
    // Without a base there is nothing of today in it, so what is stated never changes.
    let tier = "base = \"scratch\"\ncontext = \"files\"\n[[steps]]\ncopy = { paths = [\"a.txt\"], to = \"/\" }\n\
                [user]\nname = \"root\"\nuid = 0\ngid = 0\n";
    project.write("recipes/golden.toml", tier);
    project.write("recipes/files/a.txt", "a");
    project.home.must(&["keys", "generate", "--quiet"]);
    let attest = |more: &[&str]| {
        let mut command = project.imgforge(&[&["attest", "golden", "--quiet"], more].concat());
        project.home.record(&mut command)
    };
    assert_session!(attest(&[]), @"
    exit 0
    --- stdout
    image      t-attest/golden:1.0.0  sha256:[DIGEST]
    archive    not here, so the statements name only the image
    wrote      dist/golden-1.0.0-linux-amd64.cyclonedx.sigstore.json  https://cyclonedx.org/bom
    wrote      dist/golden-1.0.0-linux-amd64.provenance.sigstore.json  https://slsa.dev/provenance/v1
    wrote      dist/golden-1.0.0-linux-amd64.spdx.sigstore.json  https://spdx.dev/Document
    wrote      dist/golden-1.0.0-linux-amd64.cosign.tar  https://sigstore.dev/cosign/sign/v1
    ");
    must(&mut project.imgforge(&["export", "golden", "--quiet"]));
    assert_session!(attest(&[]), @"
    exit 0
    --- stdout
    image      t-attest/golden:1.0.0  sha256:[DIGEST]
    archive    golden-1.0.0-linux-amd64.tar.gz  named too
    wrote      dist/golden-1.0.0-linux-amd64.cyclonedx.sigstore.json  https://cyclonedx.org/bom
    wrote      dist/golden-1.0.0-linux-amd64.provenance.sigstore.json  https://slsa.dev/provenance/v1
    wrote      dist/golden-1.0.0-linux-amd64.spdx.sigstore.json  https://spdx.dev/Document
    wrote      dist/golden-1.0.0-linux-amd64.cosign.tar  https://sigstore.dev/cosign/sign/v1
    ");

    let at = |word: &str| project.home.text(&format!("dist/golden-1.0.0-linux-amd64.{word}"));
    let key = project.home.text("keys/cosign.pub");
    let verify = |kind: &str, word: &str, file: &str| {
        let bundle = at(&format!("{word}.sigstore.json"));
        let fixed = ["verify-blob-attestation", "--key", &key, "--insecure-ignore-tlog"];
        tool("cosign", &[&fixed[..], &["--type", kind, "--bundle", &bundle, file]].concat())
    };
    let archive = at("tar.gz");
    for (kind, word) in [("spdxjson", "spdx"), ("cyclonedx", "cyclonedx"), ("slsaprovenance1", "provenance")]
    {
        must(&mut verify(kind, word, &archive));
        assert!(
            !run(&mut verify("vuln", word, &archive)).status.success(),
            "{word} is taken for another kind"
        );
        assert!(!run(&mut verify(kind, word, &key)).status.success(), "{word} is taken for another file's");
    }

    // The archive unpacked, and what `cosign verify --local-image` looks for unpacked over it.
    let layout = project.home.text("layout");
    fs::create_dir(&layout).unwrap();
    let unpack = |word: &str| drop(must(&mut tool("tar", &["-xf", &at(word), "-C", &layout])));
    let fixed = ["verify", "--key", &key, "--insecure-ignore-tlog", "--local-image", &layout];
    unpack("tar.gz");
    assert!(!run(&mut tool("cosign", &fixed)).status.success(), "no signature is taken for one");
    unpack("cosign.tar");
    must(&mut tool("cosign", &fixed));

    // Signatures differ from run to run, statements do not.
    let file = "dist/golden-1.0.0-linux-amd64.provenance.sigstore.json";
    let before = stated(&project, file);
    attest(&[]);
    assert_eq!(stated(&project, file), before);
    let build = &before["predicate"]["buildDefinition"];
    assert_eq!(build["externalParameters"]["recipe"]["user"]["name"], "root");
    assert_eq!(build["internalParameters"]["locked"], false);
    let materials = build["resolvedDependencies"].as_array().unwrap();
    assert_eq!(
        materials.iter().map(|material| &material["name"]).collect::<Vec<_>>(),
        ["Dockerfile", "context"]
    );
    // Another file is another context, and so other materials.
    project.write("recipes/files/a.txt", "b");
    attest(&[]);
    let now = stated(&project, file);
    let materials =
        |stated: &serde_json::Value| stated["predicate"]["buildDefinition"]["resolvedDependencies"].clone();
    assert_eq!(materials(&now)[0], materials(&before)[0]);
    assert_ne!(materials(&now)[1], materials(&before)[1]);
}

/// Databases of every package manager, with what makes documents invalid when it is taken as it is.
pub(crate) const DATABASES: [(&str, &str); 8] = [
    ("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n"),
    (
        "var/lib/dpkg/status",
        "Package: g++-14\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-14 (14.2.0-19)\n\
         Version: 1:14.2.0~rc1+dfsg-19\nDepends: libc6 (>= 2.35), libc6\n\nPackage: libc6\n\
         Status: install ok installed\nArchitecture: all\nVersion: 2.41-12\n",
    ),
    (
        "usr/share/doc/libc6/copyright",
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
         License: LGPL-2.1+ and BSD-3-clause~with words, or \"none\"\n\nFiles: x\nLicense: GPL-2+ or Artistic\n",
    ),
    (
        "lib/apk/db/installed",
        "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT AND (GPL-2.0-only OR custom:odd)\n\nP:busybox\nV:1.37\nA:x86_64\nL:\n",
    ),
    (
        "app/node_modules/@scope/one/package.json",
        "{\"name\":\"@scope/one\",\"version\":\"1.0.0-beta.1+x\",\"license\":\"SEE LICENSE IN ../<x>\"}",
    ),
    (
        "app/node_modules/two/package.json",
        "{\"name\":\"two\",\"version\":\"\",\"license\":[{\"type\":\"MIT\"}]}",
    ),
    (
        "usr/lib/python3/dist-packages/Odd_Name-1.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: Odd_Name\nVersion: 1!2.0.post1\nLicense: a line\nClassifier: License :: OSI Approved :: MIT License\n",
    ),
    (
        "usr/lib/python3/dist-packages/Ünï-2.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: Ünï\nVersion: 2\n",
    ),
];

/// Made by the real tools: tests/fixtures/README.md.
pub(crate) const PROGRAMS: [(&str, &[u8]); 2] = [
    ("usr/bin/rust", include_bytes!("../fixtures/auditable.elf")),
    ("usr/bin/go", include_bytes!("../fixtures/golang.elf")),
];

#[test]
fn documents_are_valid_to_those_who_wrote_the_standards() {
    let mut files = DATABASES.map(|(path, text)| (path, text.into())).to_vec();
    files.extend(PROGRAMS.map(|(path, bytes)| (path, bytes.into())));
    // What says of itself that it was built by Go, and then nothing more.
    files.push((
        "usr/bin/odd",
        PROGRAMS[1].1.iter().map(|byte| if *byte == 0xff { 0 } else { *byte }).collect(),
    ));
    let (home, _) = made_of("t-sbom", &layered("t-sbom", &files));
    assert_session!(home.session(&["sbom", "show", "tiny"]), @r#"
    exit 0
    --- stdout
    apk        busybox 1.37
    apk        musl 1.2.5-r0  MIT AND (GPL-2.0-only OR custom:odd)
    cargo      fixture-app 0.4.2
    cargo      fixture-beside 0.1.0-alpha.1
    cargo      itoa 1.0.11
    cargo      memchr 2.7.4
    deb        g++-14 1:14.2.0~rc1+dfsg-19
    deb        libc6 2.41-12  GPL-2+ or Artistic, LGPL-2.1+ and BSD-3-clause~with words, or "none"
    golang     example.org/fixture/Used v1.2.0
    golang     example.org/fixture/after v0.3.8
    golang     example.org/fixture/app (devel)
    golang     example.org/fixture/local (devel)
    golang     stdlib 1.19.8
    npm        @scope/one 1.0.0-beta.1+x  SEE LICENSE IN ../<x>
    npm        two
    pypi       Odd_Name 1!2.0.post1  a line
    pypi       Ünï 2
    total      2 apk, 4 cargo, 2 deb, 5 golang, 2 npm, 2 pypi
    unread     /usr/bin/odd: its section `.go.buildinfo` is damaged
    "#);
    for format in ["spdx", "cyclonedx"] {
        let document = home.must(&["sbom", "show", "tiny", "--format", format]);
        fs::write(home.path(&format!("{format}.json")), document).unwrap();
    }
    let said = must(&mut tool("sbom-check", &[&home.text("spdx.json"), &home.text("cyclonedx.json")]));
    assert_session!(said, @"18 packages");
    // The check can fail.
    let broken = fs::read_to_string(home.path("spdx.json")).unwrap().replace("CC0-1.0", "MIT");
    fs::write(home.path("spdx.json"), broken).unwrap();
    let mut check = tool("sbom-check", &[&home.text("spdx.json"), &home.text("cyclonedx.json")]);
    assert!(!run(&mut check).status.success());
}

#[test]
fn licences_that_are_not_wanted() {
    let package = "{\"name\":\"two\",\"version\":\"2.0.0\",\"license\":\"MIT AND AGPL-3.0-only\"}";
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [("app/node_modules/two/package.json", package), DATABASES[1], DATABASES[2]] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let (home, _) = made_of("t-licences", &tar.into_inner().unwrap());
    assert_session!(home.session(&["sbom", "licenses", "tiny", "--deny", "SSPL-*"]), @r#"
    exit 0
    --- stdout
    1          GPL-2+ or Artistic
    1          LGPL-2.1+ and BSD-3-clause~with words, or "none"
    1          MIT AND AGPL-3.0-only
    1          (names none that a program can read)
    "#);
    fs::write(home.path("imgforge.toml"), "[licenses]\ndeny = [\"AGPL-*\"]\n").unwrap();
    assert_session!(home.session(&["sbom", "licenses", "tiny"]), @r#"
    exit 3
    --- stdout
    1          GPL-2+ or Artistic
    1          LGPL-2.1+ and BSD-3-clause~with words, or "none"
    1          MIT AND AGPL-3.0-only
    1          (names none that a program can read)
    DENIED     two 2.0.0  MIT AND AGPL-3.0-only
    --- stderr
    error: 1 package has a licence that is denied

    hint: leave the package out, or the licence out of `deny` below `[licenses]` in imgforge.toml
    "#);
    fs::write(home.path("imgforge.toml"), "[licenses]\ndeny = [\"no licence\"]\n").unwrap();
    assert_session!(home.session(&["sbom", "licenses", "tiny"]), @"
    exit 2
    --- stderr
    error: imgforge.toml:2:9: `no licence` names no licence: write one as SPDX does, such as `AGPL-3.0-only`, or `AGPL-*`

    hint: change the file, and run the same command again
    ");
}

#[test]
fn an_image_with_a_denied_licence_goes_nowhere() {
    shared_cache();
    let project = Project::new("t-denied", "");
    let tier = "base = \"scratch\"\ncontext = \"files\"\n\
                [[steps]]\ncopy = { paths = [\"node_modules\"], to = \"/app/node_modules/\" }\n\
                [user]\nname = \"root\"\nuid = 0\ngid = 0\n";
    project.write("recipes/odd.toml", tier);
    let package = "{\"name\":\"two\",\"version\":\"2.0.0\",\"license\":\"AGPL-3.0-only\"}";
    project.write("recipes/files/node_modules/two/package.json", package);
    let imgforge = |arguments: &[&str]| project.home.record(&mut project.imgforge(arguments));
    let build = || imgforge(&["build", "odd", "--quiet"]);
    assert!(build().starts_with("exit 0"), "nothing is denied yet");
    // What was fine before is judged again by what is denied now.
    project.write("imgforge.toml", "[licenses]\ndeny = [\"AGPL-*\"]\n");
    assert_session!(build(), @"
    exit 3
    --- stderr
    error: the policy refuses `t-denied/odd:1.0.0`; the image is neither listed nor loaded
      recipes/odd.toml:3: license: `two` 2.0.0, in `/app/node_modules/two/package.json`, has a licence that imgforge.toml denies: AGPL-3.0-only
        fix: leave the package out, or the licence out of `deny` below `[licenses]` in imgforge.toml

    hint: docs/policy.md explains each rule and its exceptions
    ");
    // Nor is one listed that was never there.
    assert!(imgforge(&["build", "odd", "--version", "1.1.0", "--quiet"]).starts_with("exit 3"));
    let export = imgforge(&["export", "odd", "--version", "1.1.0", "--quiet"]);
    assert!(export.contains("there is no image"), "{export}");
    let allowed =
        format!("{tier}[policy]\nallow = [{{ rule = \"license\", path = \"two\", reason = \"ours\" }}]\n");
    project.write("recipes/odd.toml", &allowed);
    assert!(build().starts_with("exit 0"), "{}", build());
    project.write("recipes/odd.toml", tier);
    project.write("imgforge.toml", "[licenses]\ndeny = [\"SSPL-*\"]\n");
    assert!(build().starts_with("exit 0"), "{}", build());
}
