//! Vulnerabilities that are known, and what they stop. The records are made for these tests, in the form of
//! osv.dev and of Debian's security tracker; none of them is true.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::assert_session;
use crate::attesting::{DATABASES, PROGRAMS};
use crate::building::{Project, shared_cache};
use crate::harness::{Home, run};
use crate::pushing::made_of;
use crate::schemas::verdict;
use crate::web::Web;
use crate::workbench::layered;

const HIGH: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N";
const MEDIUM: &str = "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:L/A:L";

/// A record about versions of one package before the one that mends it.
fn record(id: &str, alias: &str, (ecosystem, name): (&str, &str), fixed: &str, vector: &str) -> Value {
    let severity =
        if vector.is_empty() { json!(null) } else { json!([{"type": "CVSS_V3", "score": vector}]) };
    json!({
        "schema_version": "1.7.0", "id": id, "aliases": [alias], "modified": "2026-01-02T03:04:05Z",
        "severity": severity,
        "affected": [{
            "package": {"ecosystem": ecosystem, "name": name},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
        }],
    })
}

/// A project with an image of all that there is, and data about it.
fn home(name: &str) -> Home {
    let mut files = DATABASES.map(|(path, text)| (path, text.as_bytes().to_vec())).to_vec();
    files[0].1 = b"ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n".to_vec();
    files.extend(PROGRAMS.map(|(path, bytes)| (path, bytes.into())));
    let (home, _) = made_of(name, &layered(name, &files));
    fs::create_dir(home.path("osv")).unwrap();
    let write = |file: &str, records: &[Value]| {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        fs::write(home.path(&format!("osv/{file}")), lines.join("\n")).unwrap();
    };
    let stdlib = ("Go", "stdlib");
    write(
        "go.json",
        &[
            record("GO-2024-0001", "CVE-2024-0001", stdlib, "1.19.9", ""),
            record("GO-2024-0002", "CVE-2024-0002", ("Go", "example.org/fixture/after"), "0.3.8", HIGH),
            record("GO-2024-0003", "CVE-2024-0003", ("Go", "example.org/fixture/local"), "2.0.0", MEDIUM),
        ],
    );
    write(
        "crates.json",
        &[record("RUSTSEC-2024-0001", "CVE-2024-0005", ("crates.io", "memchr"), "2.7.5", HIGH)],
    );
    let npm = record("GHSA-xxxx-0001", "CVE-2024-0006", ("npm", "@scope/one"), "1.0.0", MEDIUM);
    let mut withdrawn = record("GHSA-xxxx-0002", "CVE-2024-0007", ("npm", "@scope/one"), "9.0.0", HIGH);
    withdrawn["withdrawn"] = json!("2026-01-02T03:04:05Z");
    write("npm.json", &[npm, withdrawn]);
    // The same as one of Go's, with a severity.
    let zip = File::create(home.path("osv/ghsa.zip")).unwrap();
    let mut zip = zip::ZipWriter::new(zip);
    zip.start_file("GHSA-xxxx-0003.json", zip::write::SimpleFileOptions::default()).unwrap();
    let ghsa = record("GHSA-xxxx-0003", "CVE-2024-0001", stdlib, "1.19.10", MEDIUM);
    zip.write_all(ghsa.to_string().as_bytes()).unwrap();
    zip.finish().unwrap();
    let release = |status: &str, fixed: Option<&str>, urgency: &str| {
        json!({"releases": {
            "bookworm": {"status": "open", "repositories": {}, "urgency": "high"},
            "trixie": {"status": status, "repositories": {}, "fixed_version": fixed, "urgency": urgency},
        }})
    };
    let tracker = json!({
        "gcc-14": {
            "CVE-2024-0010": release("resolved", Some("14.2.0-19"), "high"),
            "CVE-2024-0011": release("resolved", Some("0"), "high"),
            "CVE-2024-0012": release("open", None, "unimportant"),
        },
        "libc6": {"CVE-2024-0013": release("resolved", Some("2.41-12+deb13u1"), "not yet assigned")},
    });
    fs::write(home.path("tracker.json"), tracker.to_string()).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_hours(491_000);
    File::options().write(true).open(home.path("tracker.json")).unwrap().set_modified(then).unwrap();
    home
}

/// What a command says, with ages that grow from day to day left out.
fn steady(said: &str) -> String {
    let line = |line: &str| match line.rsplit_once(", ") {
        Some((rest, age)) if age.ends_with(" ago") => format!("{rest}, [AGE] ago\n"),
        _ => format!("{line}\n"),
    };
    said.lines().map(line).collect()
}

const DATA: [&str; 4] = ["--db", "osv", "--db", "tracker.json"];

#[test]
fn what_is_too_bad_stops_an_image() {
    let home = home("t-scan");
    let scan = |more: &[&str]| steady(&home.session(&[&["scan", "--quiet"], more].concat()));
    assert_session!(scan(&[&["tiny"], &DATA[..]].concat()), @"
    exit 3
    --- stdout
    image      t-scan/tiny:1.0.0  sha256:[DIGEST]
    high       CVE-2024-0005 (RUSTSEC-2024-0001)  memchr 2.7.4 in /usr/bin/rust
                 mended in 2.7.5: build the program again with that version
    unknown    CVE-2024-0013  libc6 2.41-12
                 mended in 2.41-12+deb13u1: lock again (`imgforge recipe lock`) and build
    medium     CVE-2024-0006 (GHSA-xxxx-0001)  @scope/one 1.0.0-beta.1+x in /app/node_modules/@scope/one/package.json
                 mended in 1.0.0: require that version, and build again
    medium     CVE-2024-0003 (GO-2024-0003)  example.org/fixture/local (devel) in /usr/bin/go
                 not known whether this version is affected; mended in 2.0.0: build the program again with that version
    medium     CVE-2024-0001 (GHSA-xxxx-0003, GO-2024-0001)  stdlib 1.19.8 in /usr/bin/go
                 mended in 1.19.10 or 1.19.9: build the program again with that version
    trivial    CVE-2024-0012  gcc-14 14.2.0-19 in g++-14
                 no version is known that mends it: leave the package out, or except it for a while
    found      2 that stop the image, 4 that do not, 0 excepted, in 13 packages
    uncovered  2 apk: busybox, musl
    uncovered  2 pypi: Odd_Name, Ünï
    data       osv  7 records, newest of [TIME], [AGE] ago
    data       tracker.json  4 records, newest of [TIME], [AGE] ago
    --- stderr
    error: 2 vulnerabilities are of severity high or worse, or of unknown severity

    hint: mend what can be mended; what must be borne for a while goes below `[[scan.except]]` in imgforge.toml, see docs/scanning.md
    ");
    // An archive holds the same image.
    home.must(&["export", "tiny", "--quiet"]);
    let archive = "dist/tiny-1.0.0-linux-amd64.tar.gz";
    assert_eq!(scan(&[&[archive], &DATA[..]].concat()), scan(&[&["tiny"], &DATA[..]].concat()));
    // Nothing of this is about a critical one, but for those of unknown severity.
    let critical = scan(&[&["tiny", "--fail-on", "critical"], &DATA[..]].concat());
    assert!(critical.contains("error: 1 vulnerability is of severity critical or worse"), "{critical}");
    let json = |more: &[&str]| -> Value {
        let output = run(&mut home.imgforge(&[&["scan", "tiny", "--json"], more].concat()));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let failed = json(&DATA);
    assert_eq!(verdict("scan.json", &failed), [""; 0], "{failed:#}");
    assert_eq!(failed["error"]["code"], 3);
    assert_eq!(failed["checks"]["images"][0]["findings"].as_array().unwrap().len(), 6);
    let passed = json(&["--db", "osv/npm.json"]);
    assert_eq!(verdict("scan.json", &passed), [""; 0], "{passed:#}");
    assert_eq!(passed["images"][0]["not_covered"].as_array().unwrap().len(), 5);
    let mut neither = passed.clone();
    neither.as_object_mut().unwrap().remove("threshold");
    assert!(!verdict("scan.json", &neither).is_empty());
}

#[test]
fn exceptions_have_a_reason_and_an_end() {
    let home = home("t-except");
    let write = |text: &str| fs::write(home.path("imgforge.toml"), text).unwrap();
    let scan = || steady(&home.session(&["scan", "tiny", "--quiet"]));
    write(
        r#"
[scan]
db = ["osv", "tracker.json"]

[[scan.except]]
id = "CVE-2024-0005"
reason = "memchr is given no foreign text"
expires = 2999-12-31

[[scan.except]]
id = "CVE-2024-0013"
package = "libc6"
reason = "the point release comes in May"
expires = 2020-05-31

[[scan.except]]
id = "GHSA-gone-0001"
package = "two"
reason = "it was there once"
expires = 2999-12-31
"#,
    );
    assert_session!(scan(), @"
    exit 3
    --- stdout
    image      t-except/tiny:1.0.0  sha256:[DIGEST]
    high       CVE-2024-0005 (RUSTSEC-2024-0001)  memchr 2.7.4 in /usr/bin/rust
                 excepted until 2999-12-31: memchr is given no foreign text
    unknown    CVE-2024-0013  libc6 2.41-12
                 mended in 2.41-12+deb13u1: lock again (`imgforge recipe lock`) and build
    medium     CVE-2024-0006 (GHSA-xxxx-0001)  @scope/one 1.0.0-beta.1+x in /app/node_modules/@scope/one/package.json
                 mended in 1.0.0: require that version, and build again
    medium     CVE-2024-0003 (GO-2024-0003)  example.org/fixture/local (devel) in /usr/bin/go
                 not known whether this version is affected; mended in 2.0.0: build the program again with that version
    medium     CVE-2024-0001 (GHSA-xxxx-0003, GO-2024-0001)  stdlib 1.19.8 in /usr/bin/go
                 mended in 1.19.10 or 1.19.9: build the program again with that version
    trivial    CVE-2024-0012  gcc-14 14.2.0-19 in g++-14
                 no version is known that mends it: leave the package out, or except it for a while
    found      1 that stop the image, 4 that do not, 1 excepted, in 13 packages
    uncovered  2 apk: busybox, musl
    uncovered  2 pypi: Odd_Name, Ünï
    data       osv  7 records, newest of [TIME], [AGE] ago
    data       tracker.json  4 records, newest of [TIME], [AGE] ago
    expired    CVE-2024-0013 of `libc6` was excepted until 2020-05-31: it counts again
    unused     GHSA-gone-0001 of `two` is excepted, and no image has it: remove the exception
    --- stderr
    error: 1 vulnerability is of severity high or worse, or of unknown severity

    hint: mend what can be mended; what must be borne for a while goes below `[[scan.except]]` in imgforge.toml, see docs/scanning.md
    ");
    write(
        r#"
[scan]
db = ["osv"]
fail-on = "critical"
except = [{ id = "CVE-2024-0001", package = "memchr", reason = "of another package", expires = 2999-12-31 }]
"#,
    );
    assert_session!(scan(), @"
    exit 0
    --- stdout
    image      t-except/tiny:1.0.0  sha256:[DIGEST]
    high       CVE-2024-0005 (RUSTSEC-2024-0001)  memchr 2.7.4 in /usr/bin/rust
                 mended in 2.7.5: build the program again with that version
    medium     CVE-2024-0006 (GHSA-xxxx-0001)  @scope/one 1.0.0-beta.1+x in /app/node_modules/@scope/one/package.json
                 mended in 1.0.0: require that version, and build again
    medium     CVE-2024-0003 (GO-2024-0003)  example.org/fixture/local (devel) in /usr/bin/go
                 not known whether this version is affected; mended in 2.0.0: build the program again with that version
    medium     CVE-2024-0001 (GHSA-xxxx-0003, GO-2024-0001)  stdlib 1.19.8 in /usr/bin/go
                 mended in 1.19.10 or 1.19.9: build the program again with that version
    found      0 that stop the image, 4 that do not, 0 excepted, in 11 packages
    uncovered  2 apk: busybox, musl
    uncovered  2 deb: g++-14, libc6
    uncovered  2 pypi: Odd_Name, Ünï
    data       osv  7 records, newest of [TIME], [AGE] ago
    unused     CVE-2024-0001 of `memchr` is excepted, and no image has it: remove the exception
    ");
    for (text, reason) in [
        ("id = \"a\"\nreason = \"b\"", "expires"),
        ("id = \"a\"\nreason = \" \"\nexpires = 2999-12-31", "an exception needs a reason"),
        ("id = \"a\"\nreason = \"b\"\nexpires = \"soon\"", "expires"),
        ("id = \"a\"\nreason = \"b\"\nexpires = 2999-12-31T00:00:00Z", "is more than a date"),
    ] {
        write(&format!("[[scan.except]]\n{text}\n"));
        let said = scan();
        assert!(said.starts_with("exit 2") && said.contains(reason), "{said}");
    }
}

#[test]
fn data_that_cannot_be_believed_is_refused() {
    let home = home("t-baddata");
    let scan = |db: &str| steady(&home.session(&["scan", "tiny", "--quiet", "--db", db]));
    assert_session!(steady(&home.session(&["scan", "tiny"])), @"
    exit 2
    --- stderr
    error: there is no data about vulnerabilities to compare with

    hint: name it with `--db FILE|URL`, or as `db` below `[scan]` in imgforge.toml; docs/scanning.md says where to get it
    ");
    let mut wrong = record("GHSA-wrong", "CVE-1", ("npm", "two"), "1.0.0", HIGH);
    wrong["affected"][0]["versions"] = json!("1.0.0");
    fs::write(home.path("wrong.json"), wrong.to_string()).unwrap();
    assert_session!(scan("wrong.json"), @r#"
    exit 2
    --- stderr
    error: `wrong.json` cannot be believed
      cause: it is not data about vulnerabilities in a form that is known
      cause: record `GHSA-wrong`: invalid type: string "1.0.0", expected a sequence

    hint: download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where
    "#);
    fs::write(
        home.path("wrong.json"),
        r#"{"bash": {"CVE-1": {"releases": {"trixie": {"status": "maybe", "urgency": "low"}}}}}"#,
    )
    .unwrap();
    assert_session!(scan("wrong.json"), @"
    exit 2
    --- stderr
    error: `wrong.json` cannot be believed
      cause: it is not data about vulnerabilities in a form that is known
      cause: package `bash`: unknown variant `maybe`, expected one of `resolved`, `open`, `undetermined` at line 1 column 52

    hint: download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where
    ");
    fs::write(home.path("wrong.json"), "<html>").unwrap();
    assert_session!(scan("wrong.json"), @"
    exit 2
    --- stderr
    error: `wrong.json` cannot be believed
      cause: it is not data about vulnerabilities in a form that is known
      cause: expected value at line 1 column 1

    hint: download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where
    ");
    fs::create_dir(home.path("empty")).unwrap();
    assert_session!(scan("empty"), @"
    exit 2
    --- stderr
    error: `empty` holds no data about vulnerabilities

    hint: download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where
    ");
    assert_session!(scan("http://example.org/all.zip"), @"
    exit 2
    --- stderr
    error: `http://example.org/all.zip` is no address that begins with `https://`

    hint: name an address that begins with `https://`: whoever changes the data on its way opens the gate
    ");
    // A record that is small only as long as it is packed.
    let mut zip = zip::ZipWriter::new(File::create(home.path("bomb.zip")).unwrap());
    zip.start_file("GHSA-bomb.json", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&vec![b' '; 33 << 20]).unwrap();
    zip.finish().unwrap();
    assert!(fs::metadata(home.path("bomb.zip")).unwrap().len() < 1 << 20);
    assert_session!(scan("bomb.zip"), @"
    exit 2
    --- stderr
    error: `bomb.zip/GHSA-bomb.json` holds more than 33554432 bytes

    hint: download it again, from osv.dev or Debian's security tracker; docs/scanning.md says where
    ");
    fs::write(home.path("bomb.zip"), b"PK\x03\x04 and nothing more").unwrap();
    assert!(scan("bomb.zip").starts_with("exit 2"));
}

#[test]
fn data_may_come_from_an_address() {
    let home = home("t-fetchdata");
    let server = Web::serve(&home.path("osv"));
    let said = home.session(&["scan", "tiny", "--quiet", "--db", &format!("{}/npm.json", server.url())]);
    assert!(
        said.starts_with("exit 0") && said.contains("medium     CVE-2024-0006 (GHSA-xxxx-0001)"),
        "{said}"
    );
    let said = home.session(&["scan", "tiny", "--quiet", "--db", &format!("{}/gone.json", server.url())]);
    assert!(said.starts_with("exit 1") && said.contains("404"), "{said}");
}

#[test]
fn a_release_passes_the_gate_or_is_not_published() {
    shared_cache();
    let project = Project::new("t-gate", "");
    let tier = "base = \"scratch\"\ncontext = \"files\"\n\
                [[steps]]\ncopy = { paths = [\"node_modules\"], to = \"/app/node_modules/\" }\n\
                [user]\nname = \"root\"\nuid = 0\ngid = 0\n";
    project.write("recipes/odd.toml", tier);
    project.write("recipes/files/node_modules/two/package.json", "{\"name\":\"two\",\"version\":\"2.0.0\"}");
    let two = record("GHSA-xxxx-0007", "CVE-2024-0007", ("npm", "two"), "2.0.1", HIGH);
    project.write("osv.json", &two.to_string());
    project.home.must(&["keys", "generate", "--quiet"]);
    let release = || {
        let arguments = ["release", "odd", "--version", "1.0.0", "--allow-unlocked", "--quiet"];
        project.home.record(&mut project.imgforge(&arguments))
    };
    project.write("imgforge.toml", "[scan]\ndb = [\"osv.json\"]\n");
    assert_session!(release(), @"
    exit 3
    --- stderr
    error: known vulnerabilities stop the release; nothing was published
      cause: CVE-2024-0007 (GHSA-xxxx-0007)  two 2.0.0 in /app/node_modules/two/package.json: mended in 2.0.1: require that version, and build again

    hint: mend what can be mended; what must be borne for a while goes below `[[scan.except]]` in imgforge.toml, see docs/scanning.md
    ");
    assert!(!project.home.path("dist/store/t-gate").exists());
    let except = "id = \"CVE-2024-0007\"\nreason = \"it is not called\"\nexpires = 2999-12-31\n";
    project.write("imgforge.toml", &format!("[scan]\ndb = [\"osv.json\"]\n[[scan.except]]\n{except}"));
    let said = release();
    assert!(said.starts_with("exit 0"), "{said}");
}
