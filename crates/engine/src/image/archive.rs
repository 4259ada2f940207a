//! A file or directory of an image as a tar archive, written as it is read: memory does not grow with the tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;

use contree_sandbox::{Entry, EntryKind, ViewError, Walk, WalkEntry};

use crate::image::tar_writer::{END, Header, Type, padding};
use crate::image::views::Names;

/// How much of a file is read at once.
const CHUNK: usize = 64 * 1024;
/// The most that names of hard links take in memory. Beyond it files with several names are written whole each time.
const MOST_LINKS: usize = 64 << 20;

/// An archive being written.
pub(crate) struct Archive<'a> {
    out: &'a mut dyn Write,
    names: &'a Names,
    /// Where a file with several names was written.
    links: HashMap<(u64, u64), Vec<u8>>,
    links_held: usize,
    header: Vec<u8>,
    chunk: Vec<u8>,
}

impl<'a> Archive<'a> {
    /// Of an image with these users and groups.
    pub(crate) fn new(out: &'a mut dyn Write, names: &'a Names) -> Self {
        Self {
            out,
            names,
            links: HashMap::new(),
            links_held: 0,
            header: Vec::new(),
            chunk: vec![0; CHUNK],
        }
    }

    /// A regular file alone, under this name.
    pub(crate) fn file(mut self, name: &[u8], entry: &Entry, file: File) -> io::Result<()> {
        self.regular(name, entry, file)?;
        self.end()
    }

    /// The directory where `walk` has been started, under this name, and all below it. Sockets and devices are left out.
    pub(crate) fn directory(
        mut self,
        name: &[u8],
        entry: &Entry,
        mut walk: Walk,
    ) -> io::Result<()> {
        self.head(name, entry, Type::Directory)?;
        let mut more = walk.next(false).map_err(failed)?;
        while more {
            self.batch(name, &walk)?;
            more = walk.next(true).map_err(failed)?;
        }
        self.end()
    }

    fn batch(&mut self, name: &[u8], walk: &Walk) -> io::Result<()> {
        let mut parent = name.to_vec();
        if !walk.directory().as_os_str().is_empty() {
            parent.push(b'/');
            parent.extend_from_slice(walk.directory().as_os_str().as_bytes());
        }
        parent.push(b'/');
        let mut open: Vec<(usize, File)> = Vec::new();
        let mut from = 0;
        for (at, item) in walk.entries().iter().enumerate() {
            if at == from {
                // As many as may be open at once, and not one that is already in the archive.
                let slice = &walk.entries()[at..];
                let size = slice.len().min(Walk::MAX_OPEN);
                let which: Vec<usize> = (at..at + size)
                    .filter(|&at| self.needs_content(&walk.entries()[at]))
                    .collect();
                from = at + size;
                open.clear();
                if !which.is_empty() {
                    for (at, file) in which.iter().zip(walk.open(&which).map_err(failed)?) {
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
            self.item(&path, item, file)?;
        }
        Ok(())
    }

    fn needs_content(&self, item: &WalkEntry) -> bool {
        item.entry.kind == EntryKind::File && !self.links.contains_key(&item.identity)
    }

    fn item(&mut self, path: &[u8], item: &WalkEntry, file: Option<File>) -> io::Result<()> {
        let entry = &item.entry;
        match entry.kind {
            EntryKind::Directory => self.head(path, entry, Type::Directory),
            EntryKind::Fifo => self.head(path, entry, Type::Fifo),
            EntryKind::Symlink => {
                let target = entry.target.clone().unwrap_or_default();
                let target = target.as_bytes();
                self.head(path, entry, Type::Symlink { target })
            }
            EntryKind::File => {
                // Two names of one file can have been opened together.
                if let Some(target) = self.links.get(&item.identity).cloned() {
                    return self.head(path, entry, Type::HardLink { target: &target });
                }
                let file = file.ok_or_else(|| io::Error::other("a file was not opened"))?;
                if entry.nlink > 1 && self.links_held < MOST_LINKS {
                    self.links_held += path.len();
                    self.links.insert(item.identity, path.to_vec());
                }
                self.regular(path, entry, file)
            }
            // Sockets have no meaning without the process that listens, and devices none without this machine.
            _ => Ok(()),
        }
    }

    fn regular(&mut self, path: &[u8], entry: &Entry, mut file: File) -> io::Result<()> {
        let size = entry.size;
        self.head(path, entry, Type::File { size })?;
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let read = match file.read(&mut self.chunk[..most]) {
                // An image is immutable; should a disk think otherwise then the archive must not go out of step.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.out.write_all(&self.chunk[..read])?;
            left -= read as u64;
        }
        self.out.write_all(&END[..padding(size)])
    }

    fn head(&mut self, path: &[u8], entry: &Entry, kind: Type<'_>) -> io::Result<()> {
        self.header.clear();
        Header {
            path,
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            user: self.names.user(entry.uid).unwrap_or_default(),
            group: self.names.group(entry.gid).unwrap_or_default(),
        }
        .write(&mut self.header);
        self.out.write_all(&self.header)
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(&END)
    }
}

fn failed(error: ViewError) -> io::Error {
    match error {
        ViewError::Io(error) => error,
        other => io::Error::other(other),
    }
}
