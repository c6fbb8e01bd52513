//! `.dep-v0` of `cargo auditable`: JSON, compressed by zlib.
//! <https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};
use serde::Deserialize;

use super::program::{CARGO, Unread};
use super::{Ecosystem, Package};

/// The largest list that is read: what the tools of the format's authors allow too.
const MAX_JSON: usize = 8 << 20;

#[derive(Deserialize)]
struct Written {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    source: String,
    #[serde(default)]
    kind: Kind,
    /// Places in the list.
    #[serde(default)]
    dependencies: Vec<usize>,
}

#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Ran when the program was built, and is not in it.
    Build,
    #[default]
    Runtime,
}

/// The crates in a program, its own among them.
pub(super) fn packages(path: &str, section: &[u8]) -> Result<Vec<Package>, Unread> {
    let damaged = Unread::Damaged(CARGO);
    let written: Written = serde_json::from_slice(&inflate(section)?).map_err(|_| damaged)?;
    let mut found: BTreeMap<(&str, &str), Package> = BTreeMap::new();
    for one in written.packages.iter().filter(|one| one.kind == Kind::Runtime) {
        // One crate in one version may come from two places.
        let package = found.entry((&one.name, &one.version)).or_insert_with(|| Package {
            ecosystem: Ecosystem::Cargo,
            name: one.name.clone(),
            version: one.version.clone(),
            architecture: None,
            source: Some(one.source.clone()).filter(|source| source != "crates.io"),
            licenses: [].into(),
            needs: [].into(),
            path: path.to_owned(),
        });
        for needed in &one.dependencies {
            let needed = written.packages.get(*needed).ok_or(damaged)?;
            if needed.kind == Kind::Runtime {
                package.needs.insert(needed.name.clone());
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The whole content, which must end where its section ends.
fn inflate(section: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut zlib = Decompress::new(true);
    let mut plain = Vec::with_capacity((section.len() * 4).clamp(1 << 12, MAX_JSON));
    loop {
        let before = plain.len();
        let status = zlib.decompress_vec(&section[read(&zlib)..], &mut plain, FlushDecompress::Finish);
        match status.map_err(|_| Unread::Damaged(CARGO))? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError if plain.len() < plain.capacity() && plain.len() == before => {
                return Err(Unread::Damaged(CARGO));
            }
            Status::Ok | Status::BufError => {}
        }
        if plain.len() >= MAX_JSON {
            return Err(Unread::TooLarge(CARGO));
        }
        plain.reserve_exact(plain.len().clamp(1, MAX_JSON - plain.len()));
    }
    // A linker may fill up a section with zeros.
    if section[read(&zlib)..].iter().any(|byte| *byte != 0) {
        return Err(Unread::Damaged(CARGO));
    }
    Ok(plain)
}

fn read(zlib: &Decompress) -> usize {
    usize::try_from(zlib.total_in()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(plain).unwrap();
        zlib.finish().unwrap()
    }

    #[test]
    fn only_what_is_in_the_program_is_listed_and_once() {
        let list = r#"{"packages":[
            {"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1,2,3]},
            {"name":"x","version":"1.0.0","source":"crates.io"},
            {"name":"x","version":"1.0.0","source":"git"},
            {"name":"cc","version":"1.2.0","source":"crates.io","kind":"build"}]}"#;
        let found = packages("p", &zlib(list.as_bytes())).unwrap();
        let names: Vec<&str> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["app", "x"]);
        assert_eq!(found[0].needs, ["x".to_owned()].into());
        assert_eq!(found[0].source.as_deref(), Some("local"));
    }

    #[test]
    fn bombs_ends_and_lies_are_refused() {
        let refused = |plain: &[u8]| packages("p", &zlib(plain)).unwrap_err();
        assert_eq!(refused(&vec![b' '; MAX_JSON + 1]), Unread::TooLarge(CARGO));
        assert_eq!(refused(b"{"), Unread::Damaged(CARGO));
        assert_eq!(
            refused(br#"{"packages":[{"name":"a","version":"1.0.0","source":"","dependencies":[7]}]}"#),
            Unread::Damaged(CARGO)
        );
        let whole = zlib(br#"{"packages":[]}"#);
        assert_eq!(packages("p", &[&whole[..], &[0; 3]].concat()), Ok(Vec::new()));
        assert!(packages("p", &[&whole[..], b"x"].concat()).is_err());
        for end in 0..whole.len() {
            assert!(packages("p", &whole[..end]).is_err(), "{end}");
        }
        let long = [br#"{"packages":[]}"#, &vec![b' '; MAX_JSON - 100][..]].concat();
        assert_eq!(packages("p", &zlib(&long)), Ok(Vec::new()));
    }
}
