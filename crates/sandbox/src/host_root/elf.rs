//! Reads from an ELF file which other files it needs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, StringTable};

/// The data of a program or library that leads to its libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ElfFile {
    pub(super) machine: u16,
    pub(super) is_64: bool,
    pub(super) interpreter: Option<PathBuf>,
    pub(super) soname: Option<String>,
    pub(super) needed: Vec<String>,
    /// `DT_RPATH`, split, with `$ORIGIN` not yet expanded.
    pub(super) rpath: Vec<String>,
    /// `DT_RUNPATH`, split, with `$ORIGIN` not yet expanded.
    pub(super) runpath: Vec<String>,
}

/// The error of reading an ELF file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Parse(#[from] object::Error),
    #[error("no ELF header")]
    NoHeader,
}

impl ElfFile {
    /// Returns true if one loader accepts both files.
    pub(super) fn same_architecture(&self, other: &ElfFile) -> bool {
        self.machine == other.machine && self.is_64 == other.is_64
    }

    pub(super) fn read(path: &Path) -> Result<ElfFile, ElfError> {
        let cache = ReadCache::new(File::open(path)?);
        let file = match FileKind::parse(&cache)? {
            FileKind::Elf32 => parse::<elf::FileHeader32<Endianness>, _>(&cache),
            FileKind::Elf64 => parse::<elf::FileHeader64<Endianness>, _>(&cache),
            _ => return Err(ElfError::NoHeader),
        };
        Ok(file?)
    }
}

fn parse<'data, H, R>(data: R) -> object::Result<ElfFile>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut file = ElfFile {
        machine: header.e_machine(endian).0,
        is_64: header.is_class_64(),
        ..ElfFile::default()
    };
    let segments = header.program_headers(endian, data)?;
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, data)? {
            file.interpreter = Some(PathBuf::from(
                String::from_utf8_lossy(interpreter).into_owned(),
            ));
        }
    }
    for segment in segments {
        let Some(entries) = segment.dynamic(endian, data)? else {
            continue;
        };
        let entries: Vec<_> = entries
            .iter()
            .take_while(|entry| entry.d_tag(endian) != elf::DT_NULL)
            .collect();
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry.d_tag(endian) == tag)
                .map(|entry| entry.val(endian))
        };
        let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let Some(start) = segments
            .iter()
            .find_map(|load| offset_of::<H>(load, endian, address))
        else {
            continue;
        };
        let strings = StringTable::new(data, start, start.saturating_add(size));
        let all = |tag| -> object::Result<Vec<String>> {
            let tagged = entries.iter().filter(|entry| entry.d_tag(endian) == tag);
            tagged
                .map(|entry| {
                    Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned())
                })
                .collect()
        };
        file.needed = all(elf::DT_NEEDED)?;
        file.soname = all(elf::DT_SONAME)?.pop();
        file.rpath = split(&all(elf::DT_RPATH)?);
        file.runpath = split(&all(elf::DT_RUNPATH)?);
    }
    Ok(file)
}

/// The offset in the file of a virtual address, if this segment loads it.
fn offset_of<H: FileHeader<Endian = Endianness>>(
    segment: &H::ProgramHeader,
    endian: Endianness,
    address: u64,
) -> Option<u64> {
    if segment.p_type(endian) != elf::PT_LOAD {
        return None;
    }
    let within = address.checked_sub(segment.p_vaddr(endian).into())?;
    (within < segment.p_filesz(endian).into()).then(|| segment.p_offset(endian).into() + within)
}

fn split(lists: &[String]) -> Vec<String> {
    lists
        .iter()
        .flat_map(|list| list.split(':'))
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}
