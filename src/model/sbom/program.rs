//! What programs say about what is inside them: a section that a linker put there for this very purpose.
//!
//! `cargo auditable` writes the crates, Go its modules. Only section headers lead there, so a program
//! without any says nothing; it is found all the same when a package database names it. Every section
//! is bounded before it is read.

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader as _};
use object::read::{FileKind, ReadRef};

use super::{Package, cargo, golang};

/// The sections of one program that tell of packages, as they lie in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// `.dep-v0`: a list of crates, compressed.
    pub cargo: Option<Vec<u8>>,
    /// `.go.buildinfo`: the version of Go, and the modules.
    pub go: Option<Vec<u8>>,
}

/// Why it is not known what is inside a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The headers of sections are cut off, or lead out of the file.
    #[error("its section headers are damaged")]
    Headers,
    /// A section that no linker writes so large.
    #[error("its section `{0}` is larger than any that is written by a linker")]
    TooLarge(&'static str),
    /// A section that leads out of the file, or holds something else.
    #[error("its section `{0}` is damaged")]
    Damaged(&'static str),
    /// Go before 1.18 wrote addresses instead of texts.
    #[error("it was built by a Go before 1.18, which wrote no list of modules that can be read")]
    OldGo,
    /// Programs before it have so many that no list should grow further.
    #[error("the programs of the image hold more packages than any image should")]
    TooMany,
}

pub(super) const CARGO: &str = ".dep-v0";
pub(super) const GO: &str = ".go.buildinfo";

/// The largest section that is read. Kubernetes has a `.go.buildinfo` of 20 KB; the longest real
/// `.dep-v0` has a few.
const MAX_SECTION: u64 = 1 << 20;

/// Finds the sections in a program or a library; other files have none.
pub fn notes<'d, R: ReadRef<'d>>(data: R) -> Result<Notes, Unread> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => sections::<FileHeader32<Endianness>, R>(data),
        Ok(FileKind::Elf64) => sections::<FileHeader64<Endianness>, R>(data),
        _ => Ok(Notes::default()),
    }
}

fn sections<'d, H: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(data: R) -> Result<Notes, Unread> {
    let header = H::parse(data).map_err(|_| Unread::Headers)?;
    let endian = header.endian().map_err(|_| Unread::Headers)?;
    let table = header.sections(endian, data).map_err(|_| Unread::Headers)?;
    let section = |name: &'static str| -> Result<Option<Vec<u8>>, Unread> {
        let Some((_, section)) = table.section_by_name(endian, name.as_bytes()) else { return Ok(None) };
        if section.sh_size(endian).into() > MAX_SECTION {
            return Err(Unread::TooLarge(name));
        }
        let bytes = section.data(endian, data).map_err(|_| Unread::Damaged(name))?;
        // The files that hold only debugging symbols keep the header of the section, without its bytes.
        Ok(Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty()))
    };
    Ok(Notes { cargo: section(CARGO)?, go: section(GO)? })
}

/// The packages inside a program, each once.
pub fn packages(path: &str, notes: &Notes) -> Result<Vec<Package>, Unread> {
    let mut found = match &notes.cargo {
        Some(section) => cargo::packages(path, section)?,
        None => Vec::new(),
    };
    if let Some(section) = &notes.go {
        found.extend(golang::packages(path, section)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the real tools: tests/fixtures/README.md.
    const RUST: &[u8] = include_bytes!("../../../tests/fixtures/auditable.elf");
    const GOLANG: &[u8] = include_bytes!("../../../tests/fixtures/golang.elf");

    fn lines(path: &str, program: &[u8]) -> String {
        let found = packages(path, &notes(program).unwrap()).unwrap();
        let line = |package: &Package| {
            let needs: Vec<&str> = package.needs.iter().map(String::as_str).collect();
            let source = package.source.as_deref().unwrap_or("-");
            format!(
                "{:?} {} {} from {source} needs [{}]",
                package.ecosystem,
                package.name,
                package.version,
                needs.join(", ")
            )
        };
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn crates_and_modules_are_found() {
        insta::assert_snapshot!(lines("app", RUST), @"
        Cargo fixture-app 0.4.2 from local needs [fixture-beside, itoa]
        Cargo fixture-beside 0.1.0-alpha.1 from local needs [memchr]
        Cargo itoa 1.0.11 from - needs []
        Cargo memchr 2.7.4 from - needs []
        ");
        insta::assert_snapshot!(lines("app", GOLANG), @"
        Golang example.org/fixture/Used v1.2.0 from - needs []
        Golang example.org/fixture/after v0.3.8 from - needs []
        Golang example.org/fixture/app (devel) from - needs []
        Golang example.org/fixture/local (devel) from - needs []
        Golang stdlib 1.19.8 from - needs []
        ");
    }

    #[test]
    fn a_program_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
        proptest::proptest!(|(program in 0..2_usize, at: proptest::sample::Index, value: u8, end: proptest::sample::Index)| {
            let mut bytes = [RUST, GOLANG][program].to_vec();
            let at = at.index(bytes.len());
            bytes[at] = value;
            for bytes in [&bytes[..], &bytes[..end.index(bytes.len())]] {
                if let Ok(notes) = notes(bytes) {
                    let _ = packages("x", &notes);
                }
            }
        });
    }

    #[test]
    fn what_no_linker_writes_is_named() {
        let mut bytes = GOLANG.to_vec();
        let at = bytes.windows(14).position(|window| window == golang::MAGIC).unwrap();
        bytes[at + 15] = 0;
        assert_eq!(packages("x", &notes(bytes.as_slice()).unwrap()), Err(Unread::OldGo));
        bytes[at] = 0;
        assert_eq!(packages("x", &notes(bytes.as_slice()).unwrap()), Err(Unread::Damaged(GO)));
        assert_eq!(notes(&RUST[..200]), Err(Unread::Headers));
        assert_eq!(notes(&b"#!/bin/sh\n"[..]), Ok(Notes::default()));
    }
}
