//! What a program or a shared library asks of the system that loads it.
//!
//! Only what the kernel and the dynamic loader themselves read is read: program headers and the dynamic
//! segment. Section headers may be stripped or lie. Every table and text is bounded.

use std::collections::BTreeSet;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::read::{FileKind, ReadRef};

/// A program or a shared library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// Processor and word size: what is built for another pair is not loaded.
    pub machine: Machine,
    /// The dynamic loader that a program names.
    pub interpreter: Option<String>,
    /// The name under which others ask for this library.
    pub soname: Option<String>,
    /// Libraries that it needs.
    pub needed: Vec<String>,
    /// Where it has them looked for (`DT_RPATH`); also counts for what it loads.
    pub rpath: Vec<String>,
    /// The same (`DT_RUNPATH`), for its own needs only; with it, [`Elf::rpath`] is ignored.
    pub runpath: Vec<String>,
    /// Versions of symbols that it needs, with the library that must have them.
    pub requires: Vec<(String, String)>,
    /// Versions of symbols that it has.
    pub provides: BTreeSet<String>,
}

/// Processor (`e_machine`) and word size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// `EM_X86_64` and so on.
    pub processor: u16,
    /// 64-bit.
    pub wide: bool,
}

impl Machine {
    /// The machine of an image, by Docker's name of its architecture.
    #[must_use]
    pub fn of(architecture: &str) -> Option<Self> {
        let (processor, wide) = match architecture {
            "amd64" => (elf::EM_X86_64, true),
            "arm64" => (elf::EM_AARCH64, true),
            "arm" => (elf::EM_ARM, false),
            "386" => (elf::EM_386, false),
            "riscv64" => (elf::EM_RISCV, true),
            "ppc64le" => (elf::EM_PPC64, true),
            "s390x" => (elf::EM_S390, true),
            _ => return None,
        };
        Some(Self { processor: processor.0, wide })
    }

    /// Where loaders look by themselves: Debian's folder, then those of the others.
    #[must_use]
    pub fn folders(self) -> Vec<String> {
        let triplet = match elf::Machine(self.processor) {
            elf::EM_X86_64 => "x86_64-linux-gnu",
            elf::EM_AARCH64 => "aarch64-linux-gnu",
            elf::EM_ARM => "arm-linux-gnueabihf",
            elf::EM_386 => "i386-linux-gnu",
            elf::EM_RISCV => "riscv64-linux-gnu",
            elf::EM_PPC64 => "powerpc64le-linux-gnu",
            elf::EM_S390 => "s390x-linux-gnu",
            _ => "",
        };
        let wide = if self.wide { &["/lib64", "/usr/lib64"][..] } else { &[] };
        let own = [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")];
        own.into_iter().chain(wide.iter().chain(&["/lib", "/usr/lib"]).map(|&f| f.to_owned())).collect()
    }
}

/// Why a file that begins like one is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// The longest name or path in a dynamic segment that is read; Linux's `PATH_MAX`.
const MAX_TEXT: u64 = 4096;

/// The most entries of a table that are read; `node` has some 300.
const MAX_ENTRIES: usize = 1 << 16;

/// Reads a program or a library; `None` for other kinds, such as object files.
pub fn read<'d, R: ReadRef<'d>>(data: R) -> Result<Option<Elf>, Malformed> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => parse::<FileHeader32<Endianness>, R>(data, false),
        Ok(FileKind::Elf64) => parse::<FileHeader64<Endianness>, R>(data, true),
        Ok(_) => Ok(None),
        Err(_) => Err(Malformed("its header is cut off")),
    }
}

/// Strings and tables of the dynamic segment are named by address.
struct Image<'d, R> {
    data: R,
    /// Address, offset and bytes of each loaded segment.
    segments: Vec<(u64, u64, u64)>,
    strings: (u64, u64),
    endian: Endianness,
    _data: std::marker::PhantomData<&'d ()>,
}

fn parse<'d, H: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    data: R,
    wide: bool,
) -> Result<Option<Elf>, Malformed> {
    let header = H::parse(data).map_err(|_| Malformed("its header is cut off"))?;
    let endian = header.endian().map_err(|_| Malformed("its byte order is unknown"))?;
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
        return Ok(None);
    }
    let mut found =
        Elf { machine: Machine { processor: header.e_machine(endian).0, wide }, ..Elf::default() };
    let headers =
        header.program_headers(endian, data).map_err(|_| Malformed("its program headers are cut off"))?;
    let mut image =
        Image { data, segments: Vec::new(), strings: (0, 0), endian, _data: std::marker::PhantomData };
    let mut dynamic = None;
    for program in headers {
        if program.p_type(endian) == elf::PT_LOAD {
            let (address, offset) = (program.p_vaddr(endian).into(), program.p_offset(endian).into());
            image.segments.push((address, offset, program.p_filesz(endian).into()));
        }
        if program.p_type(endian) == elf::PT_INTERP {
            let range = program.p_offset(endian).into();
            let text = text(data, range, range.saturating_add(program.p_filesz(endian).into()));
            found.interpreter = Some(text.ok_or(Malformed("its interpreter is cut off"))?);
        }
        if let Some(entries) =
            program.dynamic(endian, data).map_err(|_| Malformed("its dynamic segment is cut off"))?
        {
            dynamic = Some(entries);
        }
    }
    let entries: Vec<(i64, u64)> = dynamic
        .unwrap_or_default()
        .iter()
        .map(|entry| (entry.tag(endian).0, entry.val(endian)))
        .take_while(|(tag, _)| *tag != elf::DT_NULL.0)
        .take(MAX_ENTRIES)
        .collect();
    let value = |tag: elf::DynamicTag| entries.iter().find(|entry| entry.0 == tag.0).map(|entry| entry.1);
    if let Some(address) = value(elf::DT_STRTAB) {
        let (offset, left) = image.offset(address).ok_or(Malformed("its names are outside of it"))?;
        image.strings = (offset, value(elf::DT_STRSZ).unwrap_or(0).min(left));
    }
    let lost = Malformed("a name in its dynamic segment is cut off");
    for (tag, at) in &entries {
        let name = || image.string(*at).ok_or(lost);
        let folders = || name().map(|text| text.split(':').map(str::to_owned).collect());
        match elf::DynamicTag(*tag) {
            elf::DT_NEEDED => found.needed.push(name()?),
            elf::DT_SONAME => found.soname = Some(name()?),
            elf::DT_RPATH => found.rpath = folders()?,
            elf::DT_RUNPATH => found.runpath = folders()?,
            _ => {}
        }
    }
    let lost = Malformed("its table of symbol versions is cut off");
    if let (Some(at), Some(count)) = (value(elf::DT_VERNEED), value(elf::DT_VERNEEDNUM)) {
        found.requires = image.requires(at, count).ok_or(lost)?;
    }
    if let (Some(at), Some(count)) = (value(elf::DT_VERDEF), value(elf::DT_VERDEFNUM)) {
        found.provides = image.provides(at, count).ok_or(lost)?;
    }
    Ok(Some(found))
}

/// A text that ends with a zero byte before `end`.
fn text<'d, R: ReadRef<'d>>(data: R, start: u64, end: u64) -> Option<String> {
    let end = end.min(start.checked_add(MAX_TEXT)?).min(data.len().ok()?);
    let bytes = data.read_bytes_at_until(start..end, 0).ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

impl<'d, R: ReadRef<'d>> Image<'d, R> {
    /// Where an address is in the file, and how many bytes of its segment follow.
    fn offset(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|(start, offset, size)| {
            let into = address.checked_sub(*start).filter(|into| into < size)?;
            Some((offset.checked_add(into)?, size - into))
        })
    }

    fn string(&self, at: u64) -> Option<String> {
        let (start, size) = self.strings;
        if at >= size {
            return None;
        }
        text(self.data, start.checked_add(at)?, start.checked_add(size)?)
    }

    /// `DT_VERNEED`: a list for each library, in which weak needs do not count.
    fn requires(&self, address: u64, count: u64) -> Option<Vec<(String, String)>> {
        let (mut at, _) = self.offset(address)?;
        let mut found = Vec::new();
        for _ in 0..count.min(MAX_ENTRIES as u64) {
            let need: &elf::Verneed<Endianness> = self.data.read_at(at).ok()?;
            let file = self.string(need.vn_file.get(self.endian).into())?;
            let mut aux_at = at.checked_add(need.vn_aux.get(self.endian).into())?;
            for _ in 0..need.vn_cnt.get(self.endian) {
                let aux: &elf::Vernaux<Endianness> = self.data.read_at(aux_at).ok()?;
                if aux.vna_flags.get(self.endian) & elf::VER_FLG_WEAK == elf::VersionFlags(0) {
                    found.push((file.clone(), self.string(aux.vna_name.get(self.endian).into())?));
                }
                if found.len() > MAX_ENTRIES {
                    return None;
                }
                aux_at = aux_at.checked_add(aux.vna_next.get(self.endian).into())?;
            }
            match need.vn_next.get(self.endian) {
                0 => break,
                next => at = at.checked_add(next.into())?,
            }
        }
        Some(found)
    }

    /// `DT_VERDEF`: the first name of each definition is its own, the others are its parents'.
    fn provides(&self, address: u64, count: u64) -> Option<BTreeSet<String>> {
        let (mut at, _) = self.offset(address)?;
        let mut found = BTreeSet::new();
        for _ in 0..count.min(MAX_ENTRIES as u64) {
            let define: &elf::Verdef<Endianness> = self.data.read_at(at).ok()?;
            let aux: &elf::Verdaux<Endianness> =
                self.data.read_at(at.checked_add(define.vd_aux.get(self.endian).into())?).ok()?;
            found.insert(self.string(aux.vda_name.get(self.endian).into())?);
            match define.vd_next.get(self.endian) {
                0 => break,
                next => at = at.checked_add(next.into())?,
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_read() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = read(bytes.as_slice()).unwrap().unwrap();
        assert!(found.interpreter.unwrap().starts_with("/lib"));
        assert!(found.needed.iter().any(|name| name == "libc.so.6"));
        assert!(
            found.requires.iter().any(|(file, version)| file == "libc.so.6" && version.starts_with("GLIBC_"))
        );
    }

    #[test]
    fn a_program_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for end in [0, 4, 16, 63, 64, 200, 1000, bytes.len() / 2] {
            let _ = read(&bytes[..end]);
        }
        proptest::proptest!(proptest::test_runner::Config::with_cases(200), |(at in 0..4096_usize, value: u8)| {
            let mut bytes = bytes[..(1 << 16).min(bytes.len())].to_vec();
            bytes[at] = value;
            let _ = read(bytes.as_slice());
        });
    }
}
