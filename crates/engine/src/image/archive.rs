//! Writes a file or directory of an image as a tar archive while reading it. Memory does not grow
//! with the tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;

use contree_sandbox::tar::{END_OF_ARCHIVE, EntryType, TarHeader, padding};
use contree_sandbox::{Entry, EntryKind, ViewError, Walk, WalkEntry};

use crate::image::view_cache::AccountNames;

/// Bytes that are read from a file at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of memory for the names of hard links. Beyond it, every name of a file gets a full copy.
const MAX_LINK_BYTES: usize = 64 << 20;

/// A tar archive that is being written.
pub(crate) struct ArchiveWriter<'a> {
    out: &'a mut dyn Write,
    names: &'a AccountNames,
    /// The path under which each file with several names was written.
    links: HashMap<(u64, u64), Vec<u8>>,
    link_bytes: usize,
    header: Vec<u8>,
    chunk: Vec<u8>,
}

impl<'a> ArchiveWriter<'a> {
    /// An archive of an image with these users and groups.
    pub(crate) fn new(out: &'a mut dyn Write, names: &'a AccountNames) -> Self {
        Self {
            out,
            names,
            links: HashMap::new(),
            link_bytes: 0,
            header: Vec::new(),
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// Writes one regular file under this name.
    pub(crate) fn file(mut self, name: &[u8], entry: &Entry, file: File) -> io::Result<()> {
        self.write_file(name, entry, file)?;
        self.finish()
    }

    /// Writes the directory where `walk` has started, and everything below it, under this name.
    /// Sockets and devices are omitted.
    pub(crate) fn directory(
        mut self,
        name: &[u8],
        entry: &Entry,
        mut walk: Walk,
    ) -> io::Result<()> {
        self.write_header(name, entry, EntryType::Directory)?;
        let mut more = walk.next(false).map_err(to_io_error)?;
        while more {
            self.write_batch(name, &walk)?;
            more = walk.next(true).map_err(to_io_error)?;
        }
        self.finish()
    }

    /// Writes a batch of entries of one directory.
    fn write_batch(&mut self, name: &[u8], walk: &Walk) -> io::Result<()> {
        let mut parent = name.to_vec();
        if !walk.directory().as_os_str().is_empty() {
            parent.push(b'/');
            parent.extend_from_slice(walk.directory().as_os_str().as_bytes());
        }
        parent.push(b'/');
        let mut open: Vec<(usize, File)> = Vec::new();
        let mut next_open = 0;
        for (at, item) in walk.entries().iter().enumerate() {
            if at == next_open {
                // Opens as many files as may be open at once, except those that are already in the
                // archive.
                let slice = &walk.entries()[at..];
                let size = slice.len().min(Walk::MAX_OPEN);
                let to_open: Vec<usize> = (at..at + size)
                    .filter(|&at| self.needs_content(&walk.entries()[at]))
                    .collect();
                next_open = at + size;
                open.clear();
                if !to_open.is_empty() {
                    for (at, file) in to_open
                        .iter()
                        .zip(walk.open(&to_open).map_err(to_io_error)?)
                    {
                        open.push((*at, file?));
                    }
                    open.reverse();
                }
            }
            let path = [&parent, item.entry.name.as_bytes()].concat();
            let file = match open.last() {
                Some((next, _)) if *next == at => open.pop().map(|(_, file)| file),
                _ => None,
            };
            self.write_item(&path, item, file)?;
        }
        Ok(())
    }

    fn needs_content(&self, item: &WalkEntry) -> bool {
        item.entry.kind == EntryKind::File && !self.links.contains_key(&item.identity)
    }

    fn write_item(&mut self, path: &[u8], item: &WalkEntry, file: Option<File>) -> io::Result<()> {
        let entry = &item.entry;
        match entry.kind {
            EntryKind::Directory => self.write_header(path, entry, EntryType::Directory),
            EntryKind::Fifo => self.write_header(path, entry, EntryType::Fifo),
            EntryKind::Symlink => {
                let target = entry.target.clone().unwrap_or_default();
                let target = target.as_bytes();
                self.write_header(path, entry, EntryType::Symlink { target })
            }
            EntryKind::File => {
                // Two names of one file may have been opened in the same batch.
                if let Some(target) = self.links.get(&item.identity).cloned() {
                    return self.write_header(path, entry, EntryType::HardLink { target: &target });
                }
                let file = file.ok_or_else(|| io::Error::other("a file was not opened"))?;
                if entry.nlink > 1 && self.link_bytes < MAX_LINK_BYTES {
                    self.link_bytes += path.len();
                    self.links.insert(item.identity, path.to_vec());
                }
                self.write_file(path, entry, file)
            }
            // A socket means nothing without its listening process, and a device nothing without
            // this machine.
            _ => Ok(()),
        }
    }

    fn write_file(&mut self, path: &[u8], entry: &Entry, mut file: File) -> io::Result<()> {
        let size = entry.size;
        self.write_header(path, entry, EntryType::File { size })?;
        let mut remaining = size;
        while remaining > 0 {
            let most =
                usize::try_from(remaining).map_or(CHUNK_BYTES, |bytes| bytes.min(CHUNK_BYTES));
            let read = match file.read(&mut self.chunk[..most]) {
                // Images are immutable. If the disk returns less anyway, an error must stop the
                // archive, because its header already states the size.
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

    fn write_header(&mut self, path: &[u8], entry: &Entry, kind: EntryType<'_>) -> io::Result<()> {
        self.header.clear();
        TarHeader {
            path,
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            user: self.names.user(entry.uid).unwrap_or_default(),
            group: self.names.group(entry.gid).unwrap_or_default(),
            attributes: &[],
        }
        .write(&mut self.header);
        self.out.write_all(&self.header)
    }

    fn finish(self) -> io::Result<()> {
        self.out.write_all(&END_OF_ARCHIVE)
    }
}

fn to_io_error(error: ViewError) -> io::Error {
    match error {
        ViewError::Io(error) => error,
        other => io::Error::other(other),
    }
}
