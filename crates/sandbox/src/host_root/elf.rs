//! Reads from an ELF file which other files it needs.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, StringTable};

/// The data of a program or library that leads to its libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object {
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

impl Object {
    /// Returns true if one loader accepts both files.
    pub(super) fn same_kind(&self, other: &Object) -> bool {
        self.machine == other.machine && self.is_64 == other.is_64
    }

    pub(super) fn read(path: &Path) -> Result<Object, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let cache = ReadCache::new(file);
        let object = match FileKind::parse(&cache).map_err(|error| error.to_string())? {
            FileKind::Elf32 => parse::<elf::FileHeader32<Endianness>, _>(&cache),
            FileKind::Elf64 => parse::<elf::FileHeader64<Endianness>, _>(&cache),
            _ => return Err("no ELF header".to_owned()),
        };
        object.map_err(|error| error.to_string())
    }
}

fn parse<'data, H, R>(data: R) -> object::Result<Object>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut object = Object {
        machine: header.e_machine(endian).0,
        is_64: header.is_class_64(),
        ..Object::default()
    };
    let segments = header.program_headers(endian, data)?;
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, data)? {
            object.interpreter = Some(PathBuf::from(
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
        object.needed = all(elf::DT_NEEDED)?;
        object.soname = all(elf::DT_SONAME)?.pop();
        object.rpath = split(&all(elf::DT_RPATH)?);
        object.runpath = split(&all(elf::DT_RUNPATH)?);
    }
    Ok(object)
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
