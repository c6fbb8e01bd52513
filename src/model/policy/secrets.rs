//! Secrets, by what they look like. Precise rather than eager: a pattern that cries at every library
//! that merely *names* a private key would be allowed away, and then it finds nothing.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::bytes::{Captures, Regex};

/// A secret that was found. What it says itself is never kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// What it is.
    pub what: &'static str,
    /// The line where it begins, counted from 1; absent: the file is one by its name.
    pub line: Option<usize>,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "holds {} (line {line})", self.what),
            None => write!(f, "is {}", self.what),
        }
    }
}

/// The most that a pattern can match: pieces of a large file overlap by so many bytes.
pub const OVERLAP: usize = 8 << 10;

struct Pattern {
    what: &'static str,
    /// What it begins with; most files hold none of these, and are passed over at the speed of memory.
    text: &'static str,
    /// What it must be besides.
    proof: fn(&Captures<'_>) -> bool,
}

/// Everything that begins with something rare.
const PATTERNS: &[Pattern] = &[
    Pattern {
        what: "a private key",
        text: r"-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED |ANY )?PRIVATE KEY-----(?:\\r|\r)?(?:\\n|\n)(?:[A-Za-z-]+: [^\r\n\\]{1,100}(?:\\r|\r)?(?:\\n|\n))*(?:(?:\\r|\r)?(?:\\n|\n))?(?P<body>[A-Za-z0-9+/=]{32,100})",
        proof: is_key,
    },
    Pattern {
        what: "a key of cosign",
        text: r"-----BEGIN ENCRYPTED (?:COSIGN|SIGSTORE) PRIVATE KEY-----(?:\\r|\r)?(?:\\n|\n)[A-Za-z0-9+/=]{32}",
        proof: always,
    },
    Pattern {
        what: "a private key of PGP",
        text: r"-----BEGIN PGP PRIVATE KEY BLOCK-----\r?\n(?:[A-Za-z]+: [^\r\n]*\r?\n)*\r?\n[A-Za-z0-9+/=]{32}",
        proof: always,
    },
    Pattern { what: "a key of PuTTY", text: r"PuTTY-User-Key-File-[23]: [a-z]", proof: always },
    Pattern { what: "a key of age", text: r"AGE-SECRET-KEY-1[0-9A-Z]{58}\b", proof: always },
    Pattern {
        what: "an access key of AWS and its secret",
        text: r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b(?s:.{1,200}?)[^A-Za-z0-9/+=](?P<secret>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)",
        proof: is_mixed,
    },
    Pattern {
        what: "a secret key of AWS",
        text: r#"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey)["']?\s{0,4}[=:]\s{0,4}["']?(?P<secret>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)"#,
        proof: is_mixed,
    },
    Pattern {
        what: "a token of GitHub",
        text: r"\bgh[pousr]_(?P<secret>[A-Za-z0-9]{36})\b",
        proof: is_mixed,
    },
    Pattern {
        what: "a token of GitHub",
        text: r"\bgithub_pat_(?P<secret>[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
        proof: is_mixed,
    },
    Pattern { what: "a token of GitLab", text: r"\bglpat-(?P<secret>[A-Za-z0-9_-]{20})\b", proof: is_mixed },
    Pattern { what: "a token of npm", text: r"\bnpm_(?P<secret>[A-Za-z0-9]{36})\b", proof: is_mixed },
    Pattern {
        what: "a token of npm",
        text: r"/:_authToken\s{0,2}=\s{0,2}(?P<secret>[A-Za-z0-9_-]{20,120})",
        proof: is_mixed,
    },
    Pattern {
        what: "a token of PyPI",
        text: r"\bpypi-AgE(?P<secret>[A-Za-z0-9_-]{50,250})",
        proof: is_mixed,
    },
    Pattern {
        what: "a token of Slack",
        text: r"\bxox[bpars]-[0-9]{8,14}-(?P<secret>[A-Za-z0-9-]{20,120})",
        proof: is_mixed,
    },
    Pattern {
        what: "a key of Stripe",
        text: r"\b[sr]k_live_(?P<secret>[A-Za-z0-9]{24,120})\b",
        proof: is_mixed,
    },
    Pattern {
        what: "a private key of a wallet",
        text: r#"(?:PRIVATE_KEY|private_key|privateKey)["']?\s{0,4}[=:]\s{0,4}["']?(?:0x)?(?P<secret>[0-9a-fA-F]{64})(?:[^0-9A-Za-z]|\z)"#,
        proof: is_mixed,
    },
    Pattern {
        what: "the recovery phrase of a wallet",
        text: r#"(?:MNEMONIC|mnemonic|SEED_PHRASE|seedPhrase|seed_phrase|[Rr]ecovery[ _][Pp]hrase)["']?\s{0,4}[=:]\s{0,4}["']?(?P<words>[a-z]{3,8}(?: [a-z]{3,8}){11,23})(?:[^a-z ]|\z)"#,
        proof: is_phrase,
    },
    Pattern {
        what: "an encrypted wallet",
        text: r#""ciphertext"\s{0,8}:\s{0,8}"[0-9a-f]{64,200}"(?s:.{1,900}?)"kdfparams"\s{0,8}:"#,
        proof: always,
    },
];

static EACH: LazyLock<Vec<(&'static Pattern, Regex)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .filter_map(|pattern| Some((pattern, Regex::new(&format!("(?-u){}", pattern.text)).ok()?)))
        .collect()
});

/// The first words of the patterns: what a file must hold at least one of.
static HINTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        "(?-u)-----BEGIN |PuTTY-User|AGE-SECRET|AKIA|ASIA|aws_secret|AWS_SECRET|SecretAccess|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-|npm_|_authToken|pypi-AgE|xox[bpars]-|k_live_|PRIVATE_KEY|private_key|privateKey|MNEMONIC|mnemonic|SEED_PHRASE|seedPhrase|seed_phrase|ecovery|\"ciphertext\"",
    )
    .ok()
});

/// Secrets in a piece of a file, each with its line in the piece.
#[must_use]
pub fn scan(bytes: &[u8]) -> Vec<Secret> {
    let mut found = Vec::new();
    if HINTS.as_ref().is_some_and(|hints| !hints.is_match(bytes)) {
        return found;
    }
    for (pattern, regex) in EACH.iter() {
        if let Some(captures) = regex.captures_iter(bytes).find(|captures| (pattern.proof)(captures)) {
            let start = captures.get(0).map_or(0, |whole| whole.start());
            let line = bytes[..start].split(|byte| *byte == b'\n').count();
            if found.iter().all(|secret: &Secret| secret.what != pattern.what) {
                found.push(Secret { what: pattern.what, line: Some(line) });
            }
        }
    }
    found
}

fn always(_: &Captures<'_>) -> bool {
    true
}

/// A key is DER, which begins with a SEQUENCE, or OpenSSH's own form, which begins with its name. A text
/// that only shows what a key looks like has neither.
fn is_key(captures: &Captures<'_>) -> bool {
    let Some(body) = captures.name("body") else { return false };
    let whole = body.as_bytes();
    let start = &whole[..whole.len() - whole.len() % 4];
    STANDARD.decode(start).is_ok_and(|bytes| {
        bytes.starts_with(&[0x30]) || bytes.starts_with(b"openssh-key-v1") || holds(captures, b"ENCRYPTED")
    })
}

fn holds(captures: &Captures<'_>, text: &[u8]) -> bool {
    captures.get(0).is_some_and(|whole| whole.as_bytes().windows(text.len()).any(|window| window == text))
}

/// A real token is random: it has letters and digits, and does not say that it is an example.
fn is_mixed(captures: &Captures<'_>) -> bool {
    let Some(secret) = captures.name("secret") else { return false };
    let secret = secret.as_bytes();
    let mut kinds = [false; 256];
    for byte in secret {
        kinds[usize::from(*byte)] = true;
    }
    let different = kinds.iter().filter(|there| **there).count();
    let example = String::from_utf8_lossy(secret).to_ascii_uppercase();
    secret.iter().any(u8::is_ascii_digit)
        && secret.iter().any(u8::is_ascii_alphabetic)
        && different >= 8
        && !["EXAMPLE", "XXXX", "PLACEHOLDER"].iter().any(|word| example.contains(word))
}

/// Twelve to twenty-four words, mostly different: sentences of that form and the famous `test test
/// test .. junk` are none.
fn is_phrase(captures: &Captures<'_>) -> bool {
    let Some(words) = captures.name("words") else { return false };
    let words: Vec<&[u8]> = words.as_bytes().split(|byte| *byte == b' ').collect();
    let mut different = words.clone();
    different.sort_unstable();
    different.dedup();
    [12, 15, 18, 21, 24].contains(&words.len()) && different.len() + 3 > words.len()
}

/// What a file is by its path alone; `bytes` are its first.
#[must_use]
pub fn by_name(path: &str, bytes: &[u8]) -> Option<Secret> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let secret = |what| Some(Secret { what, line: None });
    let assigns = || {
        let assigned = |line: &[u8]| {
            let mut halves = line.splitn(2, |byte| *byte == b'=');
            let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
            !name.starts_with(b"#") && !value.trim_ascii().is_empty()
        };
        bytes.split(|byte| *byte == b'\n').any(assigned)
    };
    match name {
        "HEAD" if path.ends_with(".git/HEAD") => secret("part of a Git repository with its whole history"),
        _ if is_environment(name) && assigns() => secret("an environment file with values"),
        "id.json" | "keypair.json" | "validator-keypair.json" if is_solana(bytes) => {
            secret("a key of Solana")
        }
        _ if name.ends_with("-keypair.json") && is_solana(bytes) => secret("a key of Solana"),
        "credentials" if path.ends_with(".aws/credentials") && assigns() => {
            secret("a file with credentials of AWS")
        }
        ".netrc" | "_netrc" if holds_word(bytes, b"password") => secret("a file with passwords for servers"),
        ".pypirc" if holds_word(bytes, b"password") => secret("a file with a password for PyPI"),
        ".git-credentials" if !bytes.is_empty() => secret("a file with passwords for Git servers"),
        "config.json" if path.ends_with(".docker/config.json") && holds_word(bytes, b"\"auth\"") => {
            secret("a file with passwords for registries")
        }
        "config" if path.ends_with(".kube/config") && holds_word(bytes, b"users:") => {
            secret("a file with credentials of a Kubernetes cluster")
        }
        _ if ending == "kdbx" => secret("a database of passwords"),
        _ if ["p12", "pfx"].contains(&ending) && bytes.starts_with(&[0x30]) => secret("a key store"),
        _ => None,
    }
}

/// `.env` and `.env.production`, but not the templates that are made to be shared.
#[must_use]
pub fn is_environment(name: &str) -> bool {
    const TEMPLATES: [&str; 6] = ["example", "sample", "template", "dist", "defaults", "schema"];
    match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('.').is_some_and(|rest| !rest.split('.').any(|part| TEMPLATES.contains(&part)))
        }
        None => false,
    }
}

/// Solana writes the 64 bytes of a key pair as a list of numbers.
fn is_solana(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Vec<u8>>(bytes).is_ok_and(|key| key.len() == 64)
}

fn holds_word(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        scan(text.as_bytes()).iter().map(|secret| secret.to_string().replace("holds ", "")).collect()
    }

    fn pem(label: &str, body: &str) -> String {
        format!("# x\n-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    const DER: &str = concat!("MI", "GHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7V9rZ3T4y5oYd0aX");

    #[test]
    fn every_pattern_is_an_expression() {
        assert_eq!(EACH.len(), PATTERNS.len());
        assert!(HINTS.is_some());
    }

    #[test]
    fn keys_are_found_and_texts_about_keys_are_not() {
        assert_eq!(found(&pem("PRIVATE KEY", DER)), ["a private key (line 2)"]);
        assert_eq!(found(&pem("EC PRIVATE KEY", DER).replace('\n', "\r\n")), ["a private key (line 2)"]);
        let json = pem("PRIVATE KEY", DER).replace("# x\n", "{\"private_key\": \"").replace('\n', "\\n");
        assert_eq!(found(&json), ["a private key (line 1)"]);
        let open = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
        assert_eq!(found(&pem("OPENSSH PRIVATE KEY", open)), ["a private key (line 2)"]);
        let old =
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0011\n\nkJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3kJ3";
        assert_eq!(found(&pem("RSA PRIVATE KEY", old)), ["a private key (line 2)"]);
        assert_eq!(found(&pem("ENCRYPTED SIGSTORE PRIVATE KEY", open)), ["a key of cosign (line 2)"]);
        for harmless in [
            pem("PUBLIC KEY", DER),
            pem("CERTIFICATE", DER),
            pem("PRIVATE KEY", "..."),
            pem("PRIVATE KEY", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"),
            "looks for -----BEGIN PRIVATE KEY----- in a file".to_owned(),
            "\0-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0".to_owned(),
        ] {
            assert_eq!(found(&harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn tokens_are_found_and_examples_are_not() {
        let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzKq8uTn2Qe";
        assert_eq!(
            found(&format!("id = AKIAQ6JNVPDR27TXWLMK\nsecret = \"{key}\"\n")),
            ["an access key of AWS and its secret (line 1)"]
        );
        assert_eq!(found(&format!("\naws_secret_access_key = {key}\n")), ["a secret key of AWS (line 2)"]);
        assert_eq!(
            found(&format!(
                "//registry.npmjs.org/:_authToken={}",
                &"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"[..36]
            )),
            ["a token of npm (line 1)"]
        );
        assert_eq!(found("T = ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"), ["a token of GitHub (line 1)"]);
        let hex = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
        assert_eq!(found(&format!("WALLET_PRIVATE_KEY=0x{hex}\n")), ["a private key of a wallet (line 1)"]);
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        assert_eq!(found(&format!("mnemonic: \"{words}\"")).len(), 0, "too many words twice");
        let words = "army van defense carry jealous true garbage claim echo media make crunch";
        assert_eq!(found(&format!("mnemonic: \"{words}\"")), ["the recovery phrase of a wallet (line 1)"]);
        for harmless in [
            "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AKIAQ6JNVPDR27TXWLMK",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "npm_config_registry_and_some_more_things_here",
            "PRIVATE_KEY=",
            "mnemonic: \"test test test test test test test test test test test junk\"",
            "private_key = 0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert_eq!(found(harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn some_files_are_known_by_name() {
        let what = |path: &str, bytes: &str| by_name(path, bytes.as_bytes()).map(|secret| secret.what);
        assert_eq!(what("app/.env", "A=b\n"), Some("an environment file with values"));
        assert_eq!(what("app/.env", "# A=b\nA=\n"), None);
        assert_eq!(what("app/.env.production", "A=b"), Some("an environment file with values"));
        assert_eq!(what("app/.env.example", "A=b"), None);
        assert_eq!(what("app/.environment", "A=b"), None);
        assert_eq!(what("app/.git/HEAD", "ref"), Some("part of a Git repository with its whole history"));
        assert_eq!(what("app/HEAD", "ref"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes: Vec<u8>) {
            let _ = scan(&bytes);
        }
    }
}
