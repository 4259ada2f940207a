//! Writes layers as one tar archive in the form of an OCI layer (OCI image-spec, layer.md).
//!
//! It reads the directories of the layers as overlayfs does, and mounts nothing. The marks of
//! overlayfs become whiteouts and opaque whiteouts. The archive depends on nothing but the files:
//! names are sorted, times are whole seconds, and attributes of this machine are left out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, major, minor, openat,
    readlinkat,
};
use rustix::io::Errno;

use super::marks::is_whiteout;
use super::squash::{
    LayerEntry, first_directory, is_visible, lookup_entry, merged_directories, open_layer,
};
use crate::init::error::InitError;
use crate::os::tree::is_dot;
use crate::protocol::boot::PackBoot;
use crate::protocol::pack::PackReport;
use crate::protocol::reply::Reply;
use crate::protocol::request::FirstStageRequest;
use crate::protocol::step::Step;
use crate::protocol::step_failure::StepContext;
use crate::protocol::wire;
use crate::tar::{END_OF_ARCHIVE, EntryType, TarHeader, padding};

/// The prefix of the name of a whiteout.
const WHITEOUT: &[u8] = b".wh.";
/// The name of the member that hides a directory's content in lower layers.
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
/// The bytes that are written at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of memory for the names of hard links. Beyond it, every name of a file gets a full copy.
const MAX_LINK_BYTES: usize = 64 << 20;
/// The prefix of overlayfs' own attributes.
const OVERLAY_PREFIX: &[u8] = b"user.overlay.";
/// The prefix of escaped attributes, which belong to the image.
const ESCAPED_PREFIX: &[u8] = b"user.overlay.overlay.";
/// The prefixes of attributes that belong to this machine or to its security modules.
const FOREIGN_ATTRIBUTES: [&[u8]; 5] = [
    b"trusted.",
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"security.SMACK64",
];

/// Packs layers into the stream that comes with a message, and reports the result.
pub(crate) fn serve(socket: &OwnedFd, store: &OwnedFd, boot: &PackBoot) -> Result<(), InitError> {
    wire::send(socket, &Reply::Ready, &[])?;
    let (FirstStageRequest::Pack, files) = wire::receive::<FirstStageRequest>(socket, None)? else {
        return Err(InitError::Lost);
    };
    let [target] = wire::exact_files(files)?;
    let report = pack(store, boot, File::from(target)).at_step(Step::Pack)?;
    wire::send(socket, &Reply::Packed(report), &[])?;
    Ok(())
}

fn pack(store: &OwnedFd, boot: &PackBoot, target: File) -> io::Result<PackReport> {
    let open = |paths: &[PathBuf]| -> io::Result<Vec<OwnedFd>> {
        paths.iter().map(|path| open_layer(store, path)).collect()
    };
    let (layers, below) = (open(&boot.layers)?, open(&boot.below)?);
    let mut packer = Packer {
        out: BufWriter::with_capacity(CHUNK_BYTES, target),
        links: HashMap::new(),
        link_bytes: 0,
        chunk: vec![0; CHUNK_BYTES],
        report: PackReport::default(),
    };
    let Some(top) = layers.first() else {
        return Err(Errno::INVAL.into());
    };
    let attributes = attributes(top)?;
    packer.header(b".", &fstat(top)?, EntryType::Directory, &attributes)?;
    packer.directory(&layers, &below, b"")?;
    packer.out.write_all(&END_OF_ARCHIVE)?;
    packer.out.flush()?;
    Ok(packer.report)
}

struct Packer {
    out: BufWriter<File>,
    /// The path under which each file with several names was written.
    links: HashMap<(u64, u64), Vec<u8>>,
    link_bytes: usize,
    chunk: Vec<u8>,
    report: PackReport,
}

impl Packer {
    /// Writes the merged content of the directories `layers`, the topmost first. `below` has the
    /// directories of lower layers that a reader of the archive merges with them. `parent` is the
    /// path of the directory, with a slash at its end.
    fn directory(
        &mut self,
        layers: &[OwnedFd],
        below: &[OwnedFd],
        parent: &[u8],
    ) -> io::Result<()> {
        for (name, index) in names(layers)? {
            let directory = &layers[index];
            let path = [parent, name.to_bytes()].concat();
            match lookup_entry(directory, &name)? {
                LayerEntry::Missing => return Err(Errno::STALE.into()),
                LayerEntry::Directory(top) => {
                    self.merged_directory(top, &layers[index + 1..], below, &name, &path)?;
                }
                LayerEntry::Other(stat) if is_whiteout(&stat) => {
                    // Without a file below, there is nothing to remove.
                    if is_visible(below, &name)? {
                        let path = [parent, WHITEOUT, name.to_bytes()].concat();
                        self.mark(&path)?;
                    }
                }
                LayerEntry::Other(stat) => self.other(directory, &name, &path, &stat)?,
            }
        }
        Ok(())
    }

    /// Writes a directory and everything in it.
    fn merged_directory(
        &mut self,
        top: OwnedFd,
        lower: &[OwnedFd],
        below: &[OwnedFd],
        name: &CStr,
        path: &[u8],
    ) -> io::Result<()> {
        let (parts, hides_lower) = merged_directories(top, lower, name)?;
        let under = first_directory(below, name)?;
        let attributes = attributes(&parts[0])?;
        self.header(path, &fstat(&parts[0])?, EntryType::Directory, &attributes)?;
        let inside = [path, b"/"].concat();
        let under = match under {
            Some(_) if hides_lower => {
                self.mark(&[inside.as_slice(), OPAQUE_WHITEOUT].concat())?;
                Vec::new()
            }
            Some((next, rest)) => merged_directories(next, rest, name)?.0,
            None => Vec::new(),
        };
        self.directory(&parts, &under, &inside)
    }

    /// Writes any file but a directory.
    fn other(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            // It means nothing without its listening process.
            self.report.sockets += 1;
            return Ok(());
        }
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(target) = self.links.get(&identity).cloned() {
            return self.header(path, stat, EntryType::HardLink { target: &target }, &[]);
        }
        if stat.st_nlink > 1 && self.link_bytes < MAX_LINK_BYTES {
            self.link_bytes += path.len();
            self.links.insert(identity, path.to_vec());
        }
        let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
        match kind {
            FileType::RegularFile => self.file(directory, name, path),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())?;
                let target = target.as_bytes();
                self.header(path, stat, EntryType::Symlink { target }, &[])
            }
            FileType::Fifo => self.header(path, stat, EntryType::Fifo, &[]),
            FileType::CharacterDevice => {
                self.header(path, stat, EntryType::CharacterDevice { numbers }, &[])
            }
            FileType::BlockDevice => {
                self.header(path, stat, EntryType::BlockDevice { numbers }, &[])
            }
            _ => Err(Errno::OPNOTSUPP.into()),
        }
    }

    fn file(&mut self, directory: &OwnedFd, name: &CStr, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
        let stat = fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let attributes = attributes(&file)?;
        self.header(path, &stat, EntryType::File { size }, &attributes)?;
        let mut remaining = size;
        while remaining > 0 {
            let most =
                usize::try_from(remaining).map_or(CHUNK_BYTES, |bytes| bytes.min(CHUNK_BYTES));
            let read = match file.read(&mut self.chunk[..most]) {
                // A layer never changes. If the disk returns less anyway, the archive is wrong.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.out.write_all(&self.chunk[..read])?;
            remaining -= read as u64;
        }
        self.out.write_all(&END_OF_ARCHIVE[..padding(size)])
    }

    /// Writes an empty file that is a mark for readers of the archive.
    fn mark(&mut self, path: &[u8]) -> io::Result<()> {
        self.write_header(&TarHeader {
            path,
            kind: EntryType::File { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            user: "",
            group: "",
            attributes: &[],
        })
    }

    fn header(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: EntryType<'_>,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<()> {
        self.write_header(&TarHeader {
            path,
            kind,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            user: "",
            group: "",
            attributes,
        })
    }

    fn write_header(&mut self, header: &TarHeader<'_>) -> io::Result<()> {
        self.report.entries += 1;
        let mut block = Vec::new();
        header.write(&mut block);
        self.out.write_all(&block)
    }
}

/// The names in directories, in order, each with the number of the topmost directory that has it.
fn names(layers: &[OwnedFd]) -> io::Result<BTreeMap<CString, usize>> {
    let mut names = BTreeMap::new();
    for (index, directory) in layers.iter().enumerate() {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if !is_dot(entry.file_name()) {
                names.entry(entry.file_name().to_owned()).or_insert(index);
            }
        }
    }
    Ok(names)
}

/// The extended attributes of an open file that belong to the image, in order. Only files and
/// directories have any.
fn attributes(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0_u8; 64 * 1024];
    let size = match flistxattr(&file, list.as_mut_slice()) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP | Errno::PERM) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut attributes = BTreeMap::new();
    for name in list[..size].split(|&byte| byte == 0) {
        let escaped = name.strip_prefix(ESCAPED_PREFIX);
        let is_foreign = FOREIGN_ATTRIBUTES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if name.is_empty() || is_foreign || (name.starts_with(OVERLAY_PREFIX) && escaped.is_none())
        {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let size = match fgetxattr(&file, name, value.as_mut_slice()) {
            Ok(size) => size,
            // Some attributes are listed, but cannot be read inside a user namespace.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => continue,
            Err(error) => return Err(error.into()),
        };
        value.truncate(size);
        let name = match escaped {
            Some(rest) => [OVERLAY_PREFIX, rest].concat(),
            None => name.to_vec(),
        };
        attributes.insert(name, value);
    }
    Ok(attributes.into_iter().collect())
}
