//! Which files of a context folder are sent to the builder: those that a step names, and no others.

use super::ignore::{BadRule, Ignore};
use super::plan::Read;
use super::policy::secrets::{self, Secret};

/// What steps name in one context folder.
#[derive(Debug)]
pub struct Wanted<'a>(Vec<(&'a Read, Vec<String>, Ignore)>);

impl<'a> Wanted<'a> {
    /// Reads the patterns; they are those of `COPY`, which are those of `.dockerignore` as far as both go.
    pub fn new(reads: &'a [Read]) -> Result<Self, BadRule> {
        let parse = |read: &'a Read| {
            let plain = read.plain();
            let parts = plain.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            // A name may begin like a comment or an exception.
            let escape = if plain.starts_with(['#', '!']) { "\\" } else { "" };
            Ok((read, parts, Ignore::parse(&format!("{escape}{plain}"))?))
        };
        reads.iter().map(parse).collect::<Result<Vec<_>, BadRule>>().map(Self)
    }

    /// What names this path, or a folder above it.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<&'a Read> {
        let matches =
            |(_, parts, pattern): &&(&Read, Vec<String>, Ignore)| parts.is_empty() || pattern.excludes(path);
        self.0.iter().filter(matches).map(|(read, _, _)| *read).collect()
    }

    /// Whether something below this folder may be named.
    #[must_use]
    pub fn leads_on(&self, folder: &str) -> bool {
        let depth = folder.split('/').count();
        self.0.iter().any(|(_, parts, _)| {
            let above = parts.iter().take(depth).cloned().collect::<Vec<_>>().join("/");
            parts.is_empty()
                || (parts.len() > depth && Ignore::parse(&above).is_ok_and(|above| above.excludes(folder)))
        })
    }
}

/// What a file that would be sent is by its name, whatever is in it.
#[must_use]
pub fn suspicious(path: &str) -> Option<Secret> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let secret = |what| Some(Secret { what, line: None });
    let is = |ending: &str| name.rsplit_once('.').is_some_and(|(_, found)| found == ending);
    match name {
        _ if path.split('/').any(|part| part == ".git") => {
            secret("part of a Git repository with its whole history")
        }
        _ if secrets::is_environment(name) => secret("an environment file"),
        _ if is("key") => secret("named like a private key"),
        "id_rsa" | "id_ed25519" | "id_ecdsa" | "id_dsa" => secret("named like a key of SSH"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipe::tree::Place;

    #[test]
    fn only_what_is_named_is_wanted() {
        let place = Place { file: "t.toml".into(), line: 1, column: 1 };
        let reads = ["bin", "src/*.rs", "./a/b/", "#x"]
            .map(|path| Read { path: path.to_owned(), place: place.clone() });
        let wanted = Wanted::new(&reads).unwrap();
        for path in ["bin", "bin/x/y", "src/a.rs", "a/b", "a/b/c", "#x"] {
            assert!(!wanted.names(path).is_empty(), "{path}");
        }
        for path in ["binary", "src", "src/x/a.rs", "src/a.txt", "a", "a/c", "x"] {
            assert!(wanted.names(path).is_empty(), "{path}");
        }
        assert!(
            wanted.leads_on("a")
                && wanted.leads_on("src")
                && !wanted.leads_on("other")
                && !wanted.leads_on("src/x")
        );
    }

    #[test]
    fn names_that_speak_for_themselves() {
        for path in [".env", "a/.env.local", ".git/config", "sub/.git", "tls/server.key", ".ssh/id_ed25519"] {
            assert!(suspicious(path).is_some(), "{path}");
        }
        for path in [".env.example", ".gitignore", "keys.md", "server.crt", "monkey"] {
            assert!(suspicious(path).is_none(), "{path}");
        }
    }
}
