//! `go.sum`: the modules that `go build` downloads, and the hash that Go gives what is in each. Go reads
//! them again in the build, from files in the order of its module proxies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::model::digest::Digest;

/// One line of `go.sum`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// The module's path.
    pub module: String,
    /// Its version, or only its `go.mod` where that is appended.
    pub version: String,
    /// `h1:<base64>`
    pub integrity: String,
}

/// What a version ends with where only the module's `go.mod` is meant.
const GO_MOD: &str = "/go.mod";

/// Asked where `GOPROXY` says nothing.
pub const PROXY: &str = "https://proxy.golang.org";

/// Every file that `go.sum` has a hash of.
pub fn needed(sums: &[u8]) -> Result<Vec<Needed>, String> {
    let text = std::str::from_utf8(sums).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [module, version, integrity] = words[..] else {
            if words.is_empty() {
                continue;
            }
            return Err(format!("line {} is no `module version hash`", number + 1));
        };
        let wrong = |what: &str| Err(format!("line {}: `{what}` is not what Go writes", number + 1));
        if path(module, version).is_none() {
            return wrong(&format!("{module} {version}"));
        }
        if !is_hash(integrity) {
            return wrong(integrity);
        }
        let [module, version, integrity] = [module, version, integrity].map(str::to_owned);
        found.push(Needed { module, version, integrity });
    }
    found.sort();
    found.dedup();
    if let Some([one, other]) = found.array_windows().find(|[one, other]| one.is_as(other)) {
        let Needed { module, version, .. } = one;
        return Err(format!("`{module} {version}` is {} and {}", one.integrity, other.integrity));
    }
    Ok(found)
}

impl Needed {
    fn is_as(&self, other: &Self) -> bool {
        (&self.module, &self.version) == (&other.module, &other.version)
    }

    /// Whether only the module's `go.mod` is meant.
    #[must_use]
    pub fn only_go_mod(&self) -> bool {
        self.version.ends_with(GO_MOD)
    }

    /// Where a proxy has it.
    #[must_use]
    pub fn url(&self, proxy: &str) -> String {
        let path = path(&self.module, &self.version).unwrap_or_default();
        format!("{proxy}/{path}")
    }
}

/// Where a proxy, and a folder that is used as one, has a module or its `go.mod`. Nothing that could lead
/// out of the folder has such a place.
#[must_use]
pub fn path(module: &str, version: &str) -> Option<String> {
    let (number, kind) = match version.strip_suffix(GO_MOD) {
        Some(number) => (number, "mod"),
        None => (version, "zip"),
    };
    let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && plain(part, "-._~");
    let sound = module.split('/').all(part) && number.starts_with('v') && plain(number, "-._+");
    sound.then(|| format!("{}/@v/{}.{kind}", escaped(module), escaped(number)))
}

/// For file systems that do not know upper case.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('!');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

/// Whether this is a hash as Go writes it: the only kind that there is so far.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.strip_prefix("h1:").is_some_and(|hash| STANDARD.decode(hash).is_ok_and(|bytes| bytes.len() == 32))
}

/// The hash of a module, from the files in it.
#[must_use]
pub fn hash(mut files: Vec<(String, Digest)>) -> String {
    files.sort();
    let mut all = Sha256::new();
    for (name, digest) in files {
        all.update(format!("{}  {name}\n", digest.hex()));
    }
    format!("h1:{}", STANDARD.encode(all.finalize()))
}

/// The proxies of a `GOPROXY`, in order. Go's other words in it, `direct` and `off`, name none.
pub fn proxies(setting: &str) -> Result<Vec<String>, String> {
    let words = setting.split([',', '|']).map(|word| word.trim().trim_end_matches('/'));
    let proxies = words.filter(|word| word.starts_with("https://") || word.starts_with("http://"));
    let proxies: Vec<String> = proxies.map(str::to_owned).collect();
    if proxies.is_empty() {
        return Err(format!("`GOPROXY={setting}` names no server, and modules are only pinned from one"));
    }
    if proxies.iter().any(|proxy| proxy.contains(['@', '?', '#'])) {
        return Err(
            "a server in `GOPROXY` has more than a host and a path, and its address would stand in the lock"
                .to_owned(),
        );
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by Go 1.19.
    const SUMS: &str = include_str!("../../../tests/fixtures/languages/relay/go.sum");

    #[test]
    fn what_go_wrote_is_read() {
        let found = needed(SUMS.as_bytes()).unwrap();
        let urls: Vec<String> = found.iter().map(|one| one.url("https://proxy.golang.org")).collect();
        insta::assert_snapshot!(urls.join("\n"), @"
        https://proxy.golang.org/example.test/!greet/@v/v1.2.0.zip
        https://proxy.golang.org/example.test/!greet/@v/v1.2.0.mod
        https://proxy.golang.org/example.test/words/@v/v0.1.0.zip
        https://proxy.golang.org/example.test/words/@v/v0.1.0.mod
        ");
    }

    #[test]
    fn a_go_mod_has_the_hash_that_go_wrote() {
        let text = include_str!("../../../tests/fixtures/languages/modules/example.test/words@v0.1.0/go.mod");
        let hash = hash(vec![("go.mod".to_owned(), Digest::of(text.as_bytes()))]);
        assert!(SUMS.contains(&format!("example.test/words v0.1.0/go.mod {hash}\n")), "{hash}");
    }

    #[test]
    fn what_go_would_not_write_is_refused() {
        let hash = hash(Vec::new());
        let other = super::hash(vec![("x".to_owned(), Digest::of(b""))]);
        let reason = |text: String| needed(text.as_bytes()).unwrap_err();
        insta::assert_snapshot!(reason(format!("a.b/../c v1.0.0 {hash}")), @"line 1: `a.b/../c v1.0.0` is not what Go writes");
        insta::assert_snapshot!(reason("a.b v1.0.0 h1:AAAA".to_owned()), @"line 1: `h1:AAAA` is not what Go writes");
        insta::assert_snapshot!(reason("\na.b v1.0.0".to_owned()), @"line 2 is no `module version hash`");
        insta::assert_snapshot!(reason(format!("a.b v1.0.0 {hash}\na.b v1.0.0 {other}")), @"`a.b v1.0.0` is h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= and h1:8SycVIuU1fH/1G2VHzsokpuA+UdqODTVXPAfUfOl1PQ=");
        assert!(needed(format!("a.b v1.0.0 {hash}\na.b v1.0.0 {hash}\n\n").as_bytes()).is_ok());
    }

    #[test]
    fn servers_are_found_in_what_go_is_told() {
        assert_eq!(proxies("https://a/, http://b|direct").unwrap(), ["https://a", "http://b"]);
        insta::assert_snapshot!(proxies("direct").unwrap_err(), @"`GOPROXY=direct` names no server, and modules are only pinned from one");
        insta::assert_snapshot!(proxies("https://me:secret@a").unwrap_err(), @"a server in `GOPROXY` has more than a host and a path, and its address would stand in the lock");
    }

    proptest! {
        #[test]
        fn no_line_leads_out_of_a_folder(module in "[a-zA-Z./!@%~_-]{0,12}", version in "v?[a-zA-Z0-9./+-]{0,9}") {
            if let Some(path) = path(&module, &version) {
                prop_assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
