//! Keys: ours in cosign, cosign's in imgforge, and those that are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::assert_session;
use crate::harness::{Home, must, run, tool};
use crate::workbench::Bench;

#[test]
fn generate_writes_a_pair_that_cosign_uses() {
    let home = Home::new();
    assert_session!(home.session(&["keys", "generate"]), @"
    exit 0
    --- stdout
    private key  keys/cosign.key  keep it secret and backed up
    public key   keys/cosign.pub  give it to operators
    fingerprint  sha256:[DIGEST]
    ");
    let mode = fs::metadata(home.path("keys/cosign.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = home.text("keys/cosign.key");
    let theirs = must(&mut tool("cosign", &["public-key", "--key", &key]));
    let ours = home.must(&["keys", "public"]);
    assert_eq!(theirs.trim(), ours.trim());
    assert_eq!(ours, fs::read_to_string(home.path("keys/cosign.pub")).unwrap());
    assert!(!fs::read_to_string(home.path("keys/cosign.key")).unwrap().contains('\r'));
    // Never replaced.
    assert_session!(home.session(&["keys", "generate"]), @"
    exit 2
    --- stderr
    error: `keys/cosign.pub` exists already, and a key is never replaced

    hint: choose another name with `--name NAME`, or move the old key away
    ");
}

#[test]
fn a_key_that_cosign_made_signs_here() {
    let bench = Bench::new("t-cosign-key");
    must(tool("cosign", &["generate-key-pair"]).current_dir(bench.home.path("")));
    let mut open = bench.home.imgforge(&["keys", "public", "cosign.key"]);
    assert_eq!(must(&mut open), fs::read_to_string(bench.home.path("cosign.pub")).unwrap());
    let key =
        imgforge::step::keyring::open(&bench.home.path("cosign.key"), crate::harness::PASSWORD.as_bytes())
            .unwrap();
    let signed = imgforge::step::sign::detached(b"hello", &key).unwrap();
    fs::write(bench.home.path("file"), "hello").unwrap();
    fs::write(bench.home.path("file.sig"), signed).unwrap();
    let arguments =
        ["verify-blob", "--key", "cosign.pub", "--signature", "file.sig", "--insecure-ignore-tlog", "file"];
    must(tool("cosign", &arguments).current_dir(bench.home.path("")));
}

#[test]
fn passwords() {
    let home = Home::new();
    let mut empty = home.imgforge(&["keys", "generate"]);
    assert!(run(empty.env("COSIGN_PASSWORD", "")).status.success());
    // Set but empty is a password, and the wrong one is called wrong.
    let mut public = home.imgforge(&["keys", "public"]);
    assert!(run(public.env("COSIGN_PASSWORD", "")).status.success());
    assert_session!(home.session(&["keys", "public"]), @"
    exit 2
    --- stderr
    error: the password does not open `keys/cosign.key`, or the file is damaged

    hint: set `COSIGN_PASSWORD`, or name a file with `--password-file FILE`
    ");
    let mut unset = home.imgforge(&["keys", "public"]);
    assert_session!(home.record(unset.env_remove("COSIGN_PASSWORD")), @"
    exit 2
    --- stderr
    error: the private key needs a password, and there is no terminal to ask on

    hint: set `COSIGN_PASSWORD`, or name a file with `--password-file FILE`
    ");
    fs::write(home.path("password"), "\n").unwrap();
    home.must(&["keys", "public", "--password-file", "password"]);
}

/// Makes keys with openssl, one after the other, and imports them as `key1`, `key2`, ...
struct Imports {
    home: Home,
    number: std::cell::Cell<usize>,
}

impl Imports {
    fn new() -> Self {
        Self { home: Home::new(), number: std::cell::Cell::new(0) }
    }

    fn import(&self, arguments: &[&str]) -> String {
        let number = self.number.get() + 1;
        self.number.set(number);
        let (source, name) = (format!("source{number}.pem"), format!("key{number}"));
        let arguments = [&arguments[..1], &["-out", &source], &arguments[1..]].concat();
        must(tool("openssl", &arguments).current_dir(self.home.path("")));
        self.home.session(&["keys", "import", &source, "--name", &name])
    }

    /// Cosign reads the good ones, and nothing else was written.
    fn good(&self, good: &[usize]) {
        for number in 1..=self.number.get() {
            let (path, public) = (format!("keys/key{number}.key"), format!("keys/key{number}.pub"));
            assert_eq!(self.home.path(&path).exists(), good.contains(&number), "key {number}");
            if good.contains(&number) {
                let theirs = must(&mut tool("cosign", &["public-key", "--key", &self.home.text(&path)]));
                assert_eq!(theirs.trim(), fs::read_to_string(self.home.path(&public)).unwrap().trim());
            }
        }
    }
}

#[test]
fn import_takes_p256_and_rsa_and_says_why_not_the_others() {
    let imports = Imports::new();
    let import = |arguments: &[&str]| imports.import(arguments);
    let home = &imports.home;
    assert_session!(import(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]), @"
    exit 0
    --- stdout
    private key  keys/key1.key  keep it secret and backed up
    public key   keys/key1.pub  give it to operators
    fingerprint  sha256:[DIGEST]
    ");
    assert_session!(import(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), @"
    exit 0
    --- stdout
    private key  keys/key2.key  keep it secret and backed up
    public key   keys/key2.pub  give it to operators
    fingerprint  sha256:[DIGEST]
    ");
    assert_session!(import(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]), @"
    exit 2
    --- stderr
    error: the key in `source3.pem` cannot be used
      cause: ECDSA P-384 keys are refused: cosign 3 cannot verify the bundles that it signs with them

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    assert_session!(import(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]), @"
    exit 2
    --- stderr
    error: the key in `source4.pem` cannot be used
      cause: ECDSA P-521 keys are refused: cosign 3 cannot verify the bundles that it signs with them

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    assert_session!(import(&["genpkey", "-algorithm", "ed25519"]), @"
    exit 2
    --- stderr
    error: the key in `source5.pem` cannot be used
      cause: Ed25519 keys are refused: cosign 3 cannot verify the bundles that it signs with them

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    assert_session!(import(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]), @"
    exit 2
    --- stderr
    error: the key in `source6.pem` cannot be used
      cause: RSA keys of 2048 to 8192 bits are accepted; this one has 1024

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    must(
        tool("openssl", &["pkey", "-in", "source6.pem", "-pubout", "-out", "short.pub"])
            .current_dir(home.path("")),
    );
    assert_session!(home.session(&["trust", "add", "p", "--key", "short.pub", "--from", "s"]), @"
    exit 2
    --- stderr
    error: the key in `short.pub` cannot be used
      cause: RSA keys of 2048 to 8192 bits are accepted; this one has 1024

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    // The same for a key that is to be pinned, and none is pinned then.
    for (number, algorithm) in [(3, "ECDSA P-384"), (4, "ECDSA P-521"), (5, "Ed25519")] {
        let source = format!("source{number}.pem");
        let public = ["pkey", "-in", &source, "-pubout", "-out", "refused.pub"];
        must(tool("openssl", &public).current_dir(home.path("")));
        for arguments in [
            &["trust", "add", "p", "--key", "refused.pub", "--from", "s"][..],
            &["verify", ".", "--key", "refused.pub"],
        ] {
            let said = home.session(arguments);
            assert!(
                said.starts_with("exit 2") && said.contains(&format!("{algorithm} keys are refused")),
                "{said}"
            );
        }
    }
    assert!(!home.path(".config/imgforge/trust/p.toml").exists());
    imports.good(&[1, 2]);
}

#[test]
fn import_reads_what_openssl_writes() {
    let imports = Imports::new();
    let import = |arguments: &[&str]| imports.import(arguments);
    // What `openssl ecparam` writes: SEC1, after the curve's name.
    assert_session!(import(&["ecparam", "-genkey", "-name", "prime256v1"]), @"
    exit 0
    --- stdout
    private key  keys/key1.key  keep it secret and backed up
    public key   keys/key1.pub  give it to operators
    fingerprint  sha256:[DIGEST]
    ");
    assert_session!(import(&["ecparam", "-genkey", "-noout", "-name", "secp384r1"]), @"
    exit 2
    --- stderr
    error: the key in `source2.pem` cannot be used
      cause: ECDSA P-384 keys are refused: cosign 3 cannot verify the bundles that it signs with them

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    assert_session!(import(&["ecparam", "-genkey", "-noout", "-name", "secp256k1"]), @"
    exit 2
    --- stderr
    error: `source3.pem` holds no private key that imgforge reads: its algorithm is not known

    hint: name a private key: `imgforge keys generate` writes `cosign.key`
    ");
    assert_session!(import(&["genrsa", "-traditional", "2048"]), @"
    exit 0
    --- stdout
    private key  keys/key4.key  keep it secret and backed up
    public key   keys/key4.pub  give it to operators
    fingerprint  sha256:[DIGEST]
    ");
    assert_session!(import(&["genrsa", "-traditional", "1024"]), @"
    exit 2
    --- stderr
    error: the key in `source5.pem` cannot be used
      cause: RSA keys of 2048 to 8192 bits are accepted; this one has 1024

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
    assert_session!(import(&["genrsa", "-aes256", "-passout", "pass:x", "2048"]), @"
    exit 2
    --- stderr
    error: `source6.pem` holds no private key that imgforge reads: openssl encrypted it; `openssl pkey -in source6.pem` prints it plain

    hint: name a private key: `imgforge keys generate` writes `cosign.key`
    ");
    assert_session!(import(&["genrsa", "-aes256", "-traditional", "-passout", "pass:x", "2048"]), @"
    exit 2
    --- stderr
    error: `source7.pem` holds no private key that imgforge reads: openssl encrypted it; `openssl pkey -in source7.pem` prints it plain

    hint: name a private key: `imgforge keys generate` writes `cosign.key`
    ");
    imports.good(&[1, 4]);
}

#[test]
fn show_says_what_people_compare() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    assert_session!(home.session(&["keys", "show"]), @"
    exit 0
    --- stdout
    algorithm    ECDSA P-256
    fingerprint  sha256:[DIGEST]
    short        [SHORT]
    ");
    assert_eq!(home.must(&["keys", "show"]), home.must(&["keys", "show", "keys/cosign.key"]));
    let said: serde_json::Value = serde_json::from_str(&home.must(&["keys", "public", "--json"])).unwrap();
    let script = "openssl pkey -pubin -in keys/cosign.pub -outform DER | sha256sum | cut -c 1-64";
    let theirs = must(tool("sh", &["-c", script]).current_dir(home.path("")));
    assert_eq!(said["fingerprint"], format!("sha256:{}", theirs.trim()));
    assert_eq!(said["short"], theirs[..12]);
    assert_eq!(said["publicKey"], fs::read_to_string(home.path("keys/cosign.pub")).unwrap());
    // One key, one spelling: a second one would be counted as a second key.
    let compress =
        ["pkey", "-pubin", "-in", "keys/cosign.pub", "-ec_conv_form", "compressed", "-out", "c.pub"];
    must(tool("openssl", &compress).current_dir(home.path("")));
    assert_session!(home.session(&["keys", "show", "c.pub"]), @"
    exit 2
    --- stderr
    error: the key in `c.pub` cannot be used
      cause: the key is not in its usual form, which `openssl pkey -pubin -ec_conv_form uncompressed` writes

    hint: use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one
    ");
}

#[test]
fn a_private_key_that_others_can_read_is_said_to_be_one() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    fs::set_permissions(home.path("keys/cosign.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_session!(home.session(&["keys", "show", "keys/cosign.key"]), @"
    exit 0
    --- stdout
    algorithm    ECDSA P-256
    fingerprint  sha256:[DIGEST]
    short        [SHORT]
    --- stderr
    warning: others can read `keys/cosign.key`; `chmod 600 keys/cosign.key` stops that
    ");
    // Bytes of a Windows editor are no other key.
    let text = fs::read_to_string(home.path("keys/cosign.key")).unwrap();
    fs::write(home.path("crlf.key"), text.replace('\n', "\r\n")).unwrap();
    assert_eq!(home.must(&["keys", "public", "crlf.key", "-q"]), home.must(&["keys", "public", "-q"]));
    let text = fs::read_to_string(home.path("keys/cosign.pub")).unwrap();
    fs::write(home.path("crlf.pub"), text.replace('\n', "\r\n")).unwrap();
    home.must(&["trust", "add", "p", "--key", "keys/cosign.pub", "--from", "store"]);
    home.must(&["trust", "add", "p", "--key", "crlf.pub", "--from", "store"]);
}

#[test]
fn a_public_key_is_not_a_private_one() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    assert_session!(home.session(&["keys", "public", "keys/cosign.pub"]), @"
    exit 2
    --- stderr
    error: `keys/cosign.pub` holds no private key that imgforge reads: it holds a `PUBLIC KEY`

    hint: name a private key: `imgforge keys generate` writes `cosign.key`
    ");
    assert_session!(home.session(&["trust", "add", "p", "--key", "keys/cosign.key", "--from", "store"]), @"
    exit 2
    --- stderr
    error: the key in `keys/cosign.key` cannot be used
      cause: this is a PEM file of `ENCRYPTED SIGSTORE PRIVATE KEY`, not of `PUBLIC KEY`

    hint: name a public key, `cosign.pub`; `imgforge keys public FILE` prints the one of a private key
    ");
    fs::write(home.path("junk"), "junk").unwrap();
    assert_session!(home.session(&["keys", "public", "junk"]), @"
    exit 2
    --- stderr
    error: `junk` holds no private key that imgforge reads: it is not a PEM file

    hint: name a private key: `imgforge keys generate` writes `cosign.key`
    ");
    assert_session!(home.session(&["keys", "public", "absent"]), @"
    exit 2
    --- stderr
    error: cannot access `absent`
      cause: No such file or directory (os error 2)

    hint: check the path and its permissions
    ");
}

#[test]
fn a_pin_changes_its_store_but_never_its_key() {
    let home = Home::new();
    home.must(&["keys", "generate"]);
    home.must(&["keys", "generate", "--name", "other"]);
    home.must(&["trust", "add", "p", "--key", "keys/cosign.pub", "--from", "one"]);
    home.must(&["trust", "add", "p", "--key", "keys/cosign.pub", "--from", "two"]);
    assert_session!(home.session(&["trust", "add", "p", "--key", "keys/other.pub", "--from", "two"]), @"
    exit 11
    --- stderr
    error: project `p` is already trusted with another key, sha256:[DIGEST]

    hint: ask the project over another way whether its key changed; `imgforge trust show` shows yours
    ");
    assert_session!(home.session(&["trust", "show"]), @"
    exit 0
    --- stdout
    project    p
    key        sha256:[DIGEST]
    store      [HOME]/two
    ");
}
