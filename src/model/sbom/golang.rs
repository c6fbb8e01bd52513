//! `.go.buildinfo`: the version of Go that built a program, and the modules in it, as lines of text.
//! Written by Go since 1.18 in this form; its own reader is `debug/buildinfo`.

use std::collections::BTreeMap;

use super::program::{GO, Unread};
use super::{Ecosystem, Package};

/// How the section begins.
pub(super) const MAGIC: &[u8; 14] = b"\xff Go buildinf:";

/// Where the texts begin: after the magic, the size of a pointer, flags, and room for two addresses.
const HEADER: usize = 32;

/// The flag that says that texts follow, and not their addresses.
const INLINE: u8 = 2;

/// The list of modules stands between two of these, which are noise to everybody else.
const SENTINEL: usize = 16;

/// The version of a module that has none: the program's own, or a folder in the place of another.
const NONE: &str = "(devel)";

/// The modules in a program, its own and Go's standard library among them.
pub(super) fn packages(path: &str, section: &[u8]) -> Result<Vec<Package>, Unread> {
    let damaged = Unread::Damaged(GO);
    if section.len() < HEADER || !section.starts_with(MAGIC) {
        return Err(damaged);
    }
    if section[MAGIC.len() + 1] & INLINE == 0 {
        return Err(Unread::OldGo);
    }
    let (version, rest) = text(&section[HEADER..]).ok_or(damaged)?;
    let (modules, _) = text(rest).ok_or(damaged)?;
    let modules = match modules.len().checked_sub(2 * SENTINEL) {
        Some(length) => &modules[SENTINEL..][..length],
        // Built without modules.
        None => &[],
    };
    let version = std::str::from_utf8(version).map_err(|_| damaged)?;
    let modules = read(std::str::from_utf8(modules).map_err(|_| damaged)?).ok_or(damaged)?;
    // `go1.26.1 X:experiment`; a Go from its repository is `devel go1.27-0123456`.
    let go = version.split(' ').find_map(|word| word.strip_prefix("go")).unwrap_or(version);
    let all = modules.into_iter().chain([("stdlib".to_owned(), (go.to_owned(), None))]);
    let package = |(name, (version, source))| Package {
        ecosystem: Ecosystem::Golang,
        name,
        version,
        architecture: None,
        source,
        licenses: [].into(),
        needs: [].into(),
        path: path.to_owned(),
    };
    Ok(all.filter(|(name, (version, _))| !name.is_empty() && !version.is_empty()).map(package).collect())
}

/// A text after its length, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    // Seven bits a byte, the lowest first; four of them hold any length that a section can have.
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(length);
        }
    }
    None
}

/// Names, versions and revisions. Of a module in the place of another, the one that is really there counts.
fn read(text: &str) -> Option<BTreeMap<String, (String, Option<String>)>> {
    let mut modules: Vec<(&str, &str)> = Vec::new();
    let mut main = None;
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next();
        let mut field = || fields.next();
        match kind {
            Some("mod") => {
                main = Some(modules.len());
                modules.push((field()?, field()?));
            }
            Some("dep") => modules.push((field()?, field()?)),
            Some("=>") => {
                let (name, version) = (field()?, field()?);
                let replaced = modules.last_mut()?;
                // A folder has no name that others know: it is some version of what it replaces.
                let folder = name.starts_with(['.', '/']);
                *replaced = if folder { (replaced.0, NONE) } else { (name, version) };
            }
            Some("build") => {
                let (key, value) = field()?.split_once('=')?;
                settings.insert(key, value);
            }
            _ => {}
        }
    }
    let revision = settings.get("vcs.revision").map(|revision| {
        let changed = settings.get("vcs.modified").is_some_and(|modified| *modified == "true");
        let system = settings.get("vcs").unwrap_or(&"revision");
        format!("{system} {revision}{}", if changed { ", changed" } else { "" })
    });
    let module = |(at, (name, version)): (usize, (&str, &str))| {
        let version = if version.is_empty() { NONE } else { version };
        (name.to_owned(), (version.to_owned(), revision.clone().filter(|_| main == Some(at))))
    };
    Some(modules.into_iter().enumerate().map(module).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(version: &str, modules: &str) -> Vec<u8> {
        let byte = |number: usize| u8::try_from(number).unwrap();
        let length = |text: &[u8]| vec![byte(text.len() & 0x7f | 0x80), byte(text.len() >> 7)];
        let mut bytes = [&MAGIC[..], &[8, INLINE], &[0; 16]].concat();
        let modules = [&[0xff; SENTINEL][..], modules.as_bytes(), &[0xff; SENTINEL]].concat();
        for text in [version.as_bytes(), &modules] {
            bytes.extend(length(text));
            bytes.extend(text);
        }
        bytes
    }

    fn lines(section: &[u8]) -> Vec<String> {
        let line = |package: Package| {
            format!("{} {} {}", package.name, package.version, package.source.unwrap_or_default())
        };
        packages("p", section).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn what_is_really_there_counts() {
        let text = "path\tx.org/app\nmod\tx.org/app\t(devel)\t\ndep\tx.org/a\tv1.0.0\n=>\tx.org/b\tv1.0.1\th1:x=\n\
                    dep\tx.org/c\tv2.0.0\n=>\t./c\t(devel)\t\nbuild\tvcs=git\nbuild\tvcs.revision=0123\nbuild\tvcs.modified=true\n";
        assert_eq!(
            lines(&section("go1.26.1 X:none", text)),
            ["x.org/app (devel) git 0123, changed", "x.org/b v1.0.1 ", "x.org/c (devel) ", "stdlib 1.26.1 "]
        );
        assert_eq!(lines(&section("devel go1.27-0123 Mon", "")), ["stdlib 1.27-0123 "]);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = section("go1.26", "mod\ta\tv1\n");
        for end in 0..whole.len() {
            assert_eq!(packages("p", &whole[..end]), Err(Unread::Damaged(GO)), "{end}");
        }
        for text in ["=>\ta\tv1", "mod\ta", "build\tx"] {
            assert_eq!(packages("p", &section("go1.26", text)), Err(Unread::Damaged(GO)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((mod|dep|=>|build)\t?[a-z=./]*\t?[a-z0-9.]*\n?){0,8}", noise: Vec<u8>) {
            if let Ok(found) = packages("p", &section("go1.26", &text)) {
                prop_assert!(found.iter().all(|package| !package.name.is_empty()));
            }
            let _ = packages("p", &[&section("go", "")[..HEADER], &noise].concat());
        }
    }
}
