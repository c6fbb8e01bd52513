//! Every program finds its loader and its libraries, in the versions it was linked against.
//!
//! The rules of `ld.so(8)`: `DT_RPATH` of the object and of those that led to it, `LD_LIBRARY_PATH`,
//! `DT_RUNPATH`, `/etc/ld.so.cache`, the loader's own folders. `ld.so.conf` is not among them: only
//! `ldconfig` reads it, and a folder that it did not visit is not searched when the program starts.
//! musl's loader has `/etc/ld-musl-*.path` instead of the cache.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::elf::{Elf, Machine};
use super::{Charter, Evidence, Finding, Rule};
use crate::model::listing::{What, join};

/// The file in which `ldconfig` says where libraries are.
pub const CACHE: &str = "etc/ld.so.cache";

/// Separated debug information looks like programs and is never loaded.
const DEBUG: &str = "usr/lib/debug/";

pub(super) fn check(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let system = System::of(evidence);
    let mut findings = Vec::new();
    let mut reached = BTreeSet::new();
    let mine = |path: &str, elf: &Elf| {
        let same = evidence.machine().is_none_or(|machine| elf.machine == machine);
        same && !path.starts_with(DEBUG)
    };
    let fix = "install the library, or build in a stage from the same base as the image";
    for (path, elf) in evidence.elves.iter().filter(|(path, elf)| mine(path, elf)) {
        let Some(interpreter) = &elf.interpreter else { continue };
        if evidence.files.follow(interpreter).is_none() {
            findings.push(charter.error(
                Rule::Interpreter,
                &["steps"],
                Some(path),
                format!("the program `/{path}` needs the loader `{interpreter}`, which is not in the image"),
                "build in a stage from the same base as the image: it was linked for another libc",
            ));
            continue;
        }
        for (object, lacks) in system.load(path, elf, &mut reached) {
            let led =
                if object == *path { String::new() } else { format!("the program `/{path}` loads it; ") };
            findings.push(charter.error(
                Rule::Library,
                &["steps"],
                Some(&object),
                format!("`/{object}` cannot be loaded: {led}{}", lacks.join("; ")),
                fix,
            ));
        }
    }
    // Libraries that no program names are loaded by path, when a script asks: what they need may be
    // loaded already, so it only has to be somewhere.
    for (path, elf) in evidence.elves.iter().filter(|(path, elf)| mine(path, elf)) {
        if elf.interpreter.is_some() || reached.contains(path) || system.is_for_musl(path, elf) {
            continue;
        }
        let lacks = system.lacks_anywhere(path, elf);
        if !lacks.is_empty() {
            findings.push(charter.error(
                Rule::Library,
                &["steps"],
                Some(path),
                format!("`/{path}` cannot be loaded: {}", lacks.join("; ")),
                fix,
            ));
        }
    }
    for (path, malformed) in &evidence.malformed {
        findings.push(charter.error(
            Rule::Library,
            &["steps"],
            Some(path),
            format!("`/{path}` cannot be loaded: {malformed}"),
            "copy it again from where it was built, or leave it out",
        ));
    }
    findings.sort_by(|one, other| (one.rule, &one.subject).cmp(&(other.rule, &other.subject)));
    findings.dedup_by(|one, other| (one.rule, &one.subject) == (other.rule, &other.subject));
    findings
}

impl Evidence {
    fn machine(&self) -> Option<Machine> {
        Machine::of(&self.settings.architecture)
    }
}

/// Where libraries are in an image.
struct System<'a> {
    evidence: &'a Evidence,
    /// `LD_LIBRARY_PATH` of the image.
    environment: Vec<String>,
    /// `/etc/ld.so.cache`.
    cache: BTreeMap<String, Vec<String>>,
    /// Folders that musl's loader searches.
    musl: Vec<String>,
    /// Paths of all libraries, by the name under which they can be asked for.
    anywhere: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> System<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let environment = evidence.settings.env.iter().find_map(|text| text.strip_prefix("LD_LIBRARY_PATH="));
        let folders = |text: &str| -> Vec<String> {
            text.split([':', '\n']).filter(|folder| !folder.is_empty()).map(str::to_owned).collect()
        };
        let path = evidence.contents.iter().find(|(path, _)| is_musl_path(path));
        let musl =
            path.map_or("/lib:/usr/local/lib:/usr/lib".into(), |(_, text)| String::from_utf8_lossy(text));
        let mut anywhere: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (path, elf) in &evidence.elves {
            let file = path.rsplit('/').next().unwrap_or(path);
            for name in [Some(file), elf.soname.as_deref()].into_iter().flatten() {
                anywhere.entry(name).or_default().push(path);
            }
        }
        for (path, node) in evidence.files.iter() {
            if let What::Link(_) = node.what
                && let Some((target, _)) = evidence.files.follow(path)
                && let Some((target, _)) = evidence.elves.get_key_value(&target)
            {
                anywhere.entry(path.rsplit('/').next().unwrap_or(path)).or_default().push(target);
            }
        }
        Self {
            evidence,
            environment: environment.map(folders).unwrap_or_default(),
            cache: evidence.contents.get(CACHE).map(|bytes| cache(bytes)).unwrap_or_default(),
            musl: folders(&musl),
            anywhere,
        }
    }

    /// Loads a program as its loader would; what each object lacks, by path.
    fn load(
        &self,
        path: &str,
        program: &Elf,
        reached: &mut BTreeSet<String>,
    ) -> BTreeMap<String, Vec<String>> {
        let musl = program.interpreter.as_ref().is_some_and(|loader| loader.contains("ld-musl"));
        let mut lacks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut loaded: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting = VecDeque::from([(path.to_owned(), program, Vec::new())]);
        while let Some((path, elf, above)) = waiting.pop_front() {
            // `DT_RPATH` counts for everything below. An object with a `DT_RUNPATH` has no use for any.
            let modern = !elf.runpath.is_empty();
            let own = elf.rpath.iter().filter(|_| !modern).map(|folder| expand(folder, &path));
            let above: Vec<String> = own.chain(above).collect();
            let chain = if modern { Vec::new() } else { above.clone() };
            for name in &elf.needed {
                if loaded.contains_key(name) {
                    continue;
                }
                let Some(found) = self.search(name, &path, elf, &chain, musl) else {
                    lacks.entry(path.clone()).or_default().push(self.missing(name));
                    continue;
                };
                let Some(library) = self.evidence.elves.get(&found) else { continue };
                loaded.insert(name.clone(), found.clone());
                loaded.extend(library.soname.clone().map(|soname| (soname, found.clone())));
                reached.insert(found.clone());
                waiting.push_back((found, library, above.clone()));
            }
            for (file, version) in &elf.requires {
                let library = loaded.get(file).and_then(|path| self.evidence.elves.get(path));
                if let Some(lack) = library.and_then(|library| outdated(file, version, library)) {
                    lacks.entry(path.clone()).or_default().push(lack);
                }
            }
        }
        lacks
    }

    fn search(&self, name: &str, path: &str, elf: &Elf, chain: &[String], musl: bool) -> Option<String> {
        if name.contains('/') {
            return self.library(&expand(name, path), elf.machine);
        }
        let own: Vec<String> = elf.runpath.iter().map(|folder| expand(folder, path)).collect();
        let system = if musl { self.musl.clone() } else { elf.machine.folders() };
        let cached = if musl { None } else { self.cache.get(name) };
        let at = |folder: &String| self.library(&join(folder, name), elf.machine);
        chain
            .iter()
            .chain(&self.environment)
            .chain(&own)
            .find_map(at)
            .or_else(|| cached?.iter().find_map(|path| self.library(path, elf.machine)))
            .or_else(|| system.iter().find_map(at))
    }

    /// The library at a path, if it is one for this machine; the loader goes on looking otherwise.
    fn library(&self, path: &str, machine: Machine) -> Option<String> {
        let (path, _) = self.evidence.files.follow(path)?;
        self.evidence.elves.get(&path).filter(|elf| elf.machine == machine).map(|_| path)
    }

    fn missing(&self, name: &str) -> String {
        match self.anywhere.get(name).and_then(|paths| paths.first()) {
            Some(path) => format!(
                "it needs `{name}`; there is `/{path}`, where the loader does not look (run `ldconfig`)"
            ),
            None => format!("it needs `{name}`, which is not in the image"),
        }
    }

    fn lacks_anywhere(&self, path: &str, elf: &Elf) -> Vec<String> {
        let chain: Vec<String> = elf.rpath.iter().map(|folder| expand(folder, path)).collect();
        let mut lacks = Vec::new();
        for name in &elf.needed {
            let found = [false, true].into_iter().find_map(|musl| self.search(name, path, elf, &chain, musl));
            let elsewhere =
                self.anywhere.get(name.as_str()).into_iter().flatten().map(|path| (*path).to_owned());
            let candidates: Vec<String> = found.into_iter().chain(elsewhere).collect();
            let known = candidates.iter().filter_map(|path| self.evidence.elves.get(path));
            let known: Vec<&Elf> = known.filter(|library| library.machine == elf.machine).collect();
            if known.is_empty() {
                lacks.push(format!("it needs `{name}`, which is not in the image"));
                continue;
            }
            let versions = elf.requires.iter().filter(|(file, _)| file == name);
            lacks.extend(versions.filter_map(|(file, version)| {
                let all: Option<Vec<String>> =
                    known.iter().map(|library| outdated(file, version, library)).collect();
                all?.into_iter().next()
            }));
        }
        lacks
    }

    /// Packages bring a library for each libc and load the right one: the other is no fault.
    fn is_for_musl(&self, path: &str, elf: &Elf) -> bool {
        path.contains("musl")
            && elf
                .needed
                .iter()
                .any(|name| name.starts_with("libc.musl-") && !self.anywhere.contains_key(name.as_str()))
    }
}

/// A loader only warns about a library without any versions; one with others it refuses.
fn outdated(file: &str, version: &str, library: &Elf) -> Option<String> {
    if library.provides.is_empty() || library.provides.contains(version) {
        return None;
    }
    let family = version.split('_').next().unwrap_or(version);
    let newest =
        library.provides.iter().filter(|known| is_number(known, family)).max_by_key(|known| numbers(known));
    let has = newest.map_or_else(|| "none of that kind".to_owned(), |newest| format!("at most `{newest}`"));
    Some(format!("it needs `{version}` of `{file}`, and the image's has {has}"))
}

/// `GLIBC_2.38` is one of GLIBC's, `GLIBC_ABI_DT_RELR` is a mark and no number.
fn is_number(version: &str, family: &str) -> bool {
    let number = version.strip_prefix(family).and_then(|rest| rest.strip_prefix('_'));
    number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// `GLIBC_2.38` sorts after `GLIBC_2.4`.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// `$ORIGIN` is the folder of the object itself. `$LIB` and `$PLATFORM` name folders that are not used.
fn expand(folder: &str, object: &str) -> String {
    let origin = object.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("/{folder}"));
    folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)
}

/// Whether a path is the list of folders of a musl loader.
#[must_use]
pub fn is_musl_path(path: &str) -> bool {
    let machine = path.strip_prefix("etc/ld-musl-").and_then(|rest| rest.strip_suffix(".path"));
    machine.is_some_and(|machine| !machine.contains('/'))
}

/// The paths of libraries by name, out of an `ld.so.cache` (glibc's `dl-cache.h`). What cannot be read is
/// left out: the library is then not found.
fn cache(bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Older caches have a table in an older form before it.
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else { return found };
    let bytes = &bytes[start..];
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let text = |at: usize| {
        let text = bytes.get(at..)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    };
    for entry in
        bytes.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).enumerate().map(|(index, _)| index)
    {
        if Some(entry) >= number(MAGIC.len()) {
            break;
        }
        let at = HEADER + entry * ENTRY;
        if let (Some(key), Some(value)) = (number(at + 4).and_then(text), number(at + 8).and_then(text)) {
            found.entry(key).or_default().push(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::tests::listing;

    const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

    fn elf(needed: &[&str]) -> Elf {
        let machine = Machine::of("amd64").unwrap();
        Elf { machine, needed: needed.iter().map(|&name| name.to_owned()).collect(), ..Elf::default() }
    }

    fn program(needed: &[&str]) -> Elf {
        Elf { interpreter: Some(format!("/{LOADER}")), ..elf(needed) }
    }

    /// What is wrong with an image of these objects.
    fn reasons(objects: &[(&str, Elf)]) -> String {
        let mut evidence = Evidence::default();
        evidence.settings.architecture = "amd64".to_owned();
        let mut paths: Vec<&str> = objects.iter().map(|(path, _)| *path).collect();
        paths.push(LOADER);
        evidence.files = listing(&[&paths]);
        evidence.elves = objects.iter().map(|(path, elf)| ((*path).to_owned(), elf.clone())).collect();
        let findings = check(&Charter::sample(""), &evidence);
        let reasons: Vec<String> = findings.into_iter().map(|finding| finding.reason).collect();
        reasons.join("\n")
    }

    #[test]
    fn libraries_are_found_as_the_loader_finds_them() {
        assert_eq!(reasons(&[("bin/x", program(&["liba.so"])), ("usr/lib/liba.so", elf(&[]))]), "");
        let origin = Elf { runpath: vec!["$ORIGIN/../own".to_owned()], ..program(&["liba.so"]) };
        assert_eq!(reasons(&[("app/bin/x", origin), ("app/own/liba.so", elf(&[]))]), "");
        // A RUNPATH does not count for what the library needs; an RPATH does.
        let own = vec!["/own".to_owned()];
        let objects = |x: Elf| [("bin/x", x), ("own/liba.so", elf(&["libb.so"])), ("own/libb.so", elf(&[]))];
        assert_eq!(reasons(&objects(Elf { rpath: own.clone(), ..program(&["liba.so"]) })), "");
        insta::assert_snapshot!(reasons(&objects(Elf { runpath: own, ..program(&["liba.so"]) })), @"`/own/liba.so` cannot be loaded: the program `/bin/x` loads it; it needs `libb.so`; there is `/own/libb.so`, where the loader does not look (run `ldconfig`)");
        insta::assert_snapshot!(reasons(&[("bin/x", program(&["liba.so"]))]), @"`/bin/x` cannot be loaded: it needs `liba.so`, which is not in the image");
    }

    #[test]
    fn a_newer_libc_than_the_images_is_caught() {
        let libc = Elf {
            provides: ["GLIBC_2.2.5", "GLIBC_2.4", "GLIBC_2.36"].map(str::to_owned).into(),
            ..elf(&[])
        };
        let x = Elf {
            requires: vec![("libc.so.6".to_owned(), "GLIBC_2.38".to_owned())],
            ..program(&["libc.so.6"])
        };
        insta::assert_snapshot!(reasons(&[("bin/x", x.clone()), ("lib/libc.so.6", libc.clone())]), @"`/bin/x` cannot be loaded: it needs `GLIBC_2.38` of `libc.so.6`, and the image's has at most `GLIBC_2.36`");
        let plugin = Elf { interpreter: None, ..x };
        insta::assert_snapshot!(reasons(&[("app/plugin.node", plugin), ("lib/libc.so.6", libc)]), @"`/app/plugin.node` cannot be loaded: it needs `GLIBC_2.38` of `libc.so.6`, and the image's has at most `GLIBC_2.36`");
    }

    #[test]
    fn a_program_for_musl_lacks_its_loader() {
        let x = Elf {
            interpreter: Some("/lib/ld-musl-x86_64.so.1".to_owned()),
            ..elf(&["libc.musl-x86_64.so.1"])
        };
        insta::assert_snapshot!(reasons(&[("bin/x", x)]), @"the program `/bin/x` needs the loader `/lib/ld-musl-x86_64.so.1`, which is not in the image");
        let addon = elf(&["libc.musl-x86_64.so.1"]);
        assert_eq!(reasons(&[("app/node.napi.musl.node", addon)]), "");
    }

    #[test]
    fn the_cache_is_read_and_never_a_panic() {
        let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
        bytes.extend(1u32.to_ne_bytes());
        bytes.resize(48, 0);
        for number in [0u32, 72, 80] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.resize(72, 0);
        bytes.extend(b"liba.so\0/opt/liba.so\0");
        assert_eq!(cache(&bytes)["liba.so"], ["/opt/liba.so"]);
        proptest::proptest!(|(at in 0..90_usize, value: u8, end in 0..95_usize)| {
            let mut bytes = bytes.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            cache(&bytes[..end.min(bytes.len())]);
        });
    }
}
