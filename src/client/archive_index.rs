//! The files of an archive, sorted by path, with the digests of their contents.
//!
//! Records go to temporary files in sorted runs, which are merged when they are read. So memory
//! does not grow with the archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};

use contree_diff::{Digest, Node, NodeKind, sha256_of};
use tar::EntryType;

/// The bytes of the records that are sorted in memory.
const RUN_BYTES: usize = 16 * 1024 * 1024;
/// The memory that a record takes besides its path, in bytes.
const RECORD_COST: usize = 160;
/// The most hard links of an archive. Their names are held in memory.
const MAX_LINKS: usize = 1_000_000;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The path from the root of the archive, which is empty for the root itself.
    pub(crate) path: Vec<u8>,
    pub(crate) node: Node,
    /// The digest of a regular file's content.
    pub(crate) digest: Option<Digest>,
}

/// The files of an archive, sorted by path.
#[derive(Default)]
pub(crate) struct ArchiveIndex {
    runs: Vec<File>,
    pending: Vec<Record>,
    pending_bytes: usize,
}

impl ArchiveIndex {
    /// Reads an archive. `root` is the name that its entries begin with, or empty if the archive is
    /// that of a root directory.
    pub(crate) fn read(archive: impl Read, root: &[u8]) -> io::Result<Self> {
        let mut index = Self::default();
        let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = relative(&entry.path_bytes(), root);
            let header = entry.header();
            let kind = match header.entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => NodeKind::File,
                EntryType::Directory => NodeKind::Directory,
                EntryType::Symlink => NodeKind::Symlink,
                EntryType::Fifo => NodeKind::Fifo,
                EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    links.push((path, relative(&target, root)));
                    if links.len() > MAX_LINKS {
                        return Err(io::Error::other(format!(
                            "the archive has more than {MAX_LINKS} hard links; give a `path` to compare a part of the images"
                        )));
                    }
                    continue;
                }
                _ => continue,
            };
            // Some archives leave the numbers of owners blank, which means root.
            let id = |number: io::Result<u64>| u32::try_from(number.unwrap_or(0)).unwrap_or(65534);
            let mut node = Node {
                kind,
                mode: header.mode()? & 0o7777,
                uid: id(header.uid()),
                gid: id(header.gid()),
                size: 0,
                target: None,
            };
            for extension in entry.pax_extensions()?.into_iter().flatten() {
                let extension = extension?;
                let number = || extension.value().ok().and_then(|text| text.parse().ok());
                match extension.key() {
                    Ok("uid") => node.uid = number().unwrap_or(node.uid),
                    Ok("gid") => node.gid = number().unwrap_or(node.gid),
                    _ => {}
                }
            }
            if kind == NodeKind::Symlink {
                node.target = Some(entry.link_name_bytes().unwrap_or_default().into_owned());
            }
            let digest = match kind {
                NodeKind::File => {
                    let (digest, size) = sha256_of(&mut entry)?;
                    node.size = size;
                    Some(digest)
                }
                _ => None,
            };
            index.push(Record { path, node, digest })?;
        }
        index.resolve_links(links)?;
        Ok(index)
    }

    /// An index of one file.
    pub(crate) fn of(record: Record) -> Self {
        Self {
            pending: vec![record],
            ..Self::default()
        }
    }

    fn push(&mut self, record: Record) -> io::Result<()> {
        self.pending_bytes += record.path.len() + RECORD_COST;
        self.pending.push(record);
        if self.pending_bytes > RUN_BYTES {
            self.end_run()?;
        }
        Ok(())
    }

    /// Writes the pending records as a sorted run.
    fn end_run(&mut self) -> io::Result<()> {
        self.pending.sort_by(|a, b| a.path.cmp(&b.path));
        let mut run = BufWriter::new(tempfile::tempfile()?);
        for record in self.pending.drain(..) {
            record.write(&mut run)?;
        }
        self.pending_bytes = 0;
        self.runs
            .push(run.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    /// Gives each hard link the content and the attributes of its file.
    fn resolve_links(&mut self, links: Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
        if links.is_empty() {
            return Ok(());
        }
        let mut targets: HashMap<Vec<u8>, Option<Record>> = links
            .iter()
            .map(|(_, target)| (target.clone(), None))
            .collect();
        for record in self.sorted()? {
            let record = record?;
            if let Some(target) = targets.get_mut(&record.path) {
                *target = Some(record);
            }
        }
        for (path, target) in links {
            let Some(Some(file)) = targets.get(&target) else {
                return Err(io::Error::other(format!(
                    "the archive has a hard link to {}, which is not in it",
                    String::from_utf8_lossy(&target)
                )));
            };
            let record = Record {
                path,
                ..file.clone()
            };
            self.push(record)?;
        }
        Ok(())
    }

    /// The records in order of their paths. Of several with the same path, all are returned.
    pub(crate) fn sorted(&mut self) -> io::Result<SortedRecords> {
        self.pending.sort_by(|a, b| a.path.cmp(&b.path));
        let mut sources: Vec<Source> = Vec::new();
        for run in &self.runs {
            let mut run = run.try_clone()?;
            run.seek(SeekFrom::Start(0))?;
            sources.push(Source::Run(BufReader::new(run)));
        }
        sources.push(Source::Memory(self.pending.clone().into_iter()));
        let heads = sources
            .iter_mut()
            .map(Source::next)
            .collect::<io::Result<_>>()?;
        Ok(SortedRecords { sources, heads })
    }
}

/// A sorted list of records.
enum Source {
    Run(BufReader<File>),
    Memory(std::vec::IntoIter<Record>),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Self::Run(run) => Record::read(run),
            Self::Memory(records) => Ok(records.next()),
        }
    }
}

/// The records of an archive in order of their paths.
pub(crate) struct SortedRecords {
    sources: Vec<Source>,
    /// The next record of each source.
    heads: Vec<Option<Record>>,
}

impl Iterator for SortedRecords {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let heads = self.heads.iter().enumerate();
        let heads = heads.filter_map(|(at, head)| Some((at, &head.as_ref()?.path)));
        let (at, _) = heads.min_by(|(_, a), (_, b)| a.cmp(b))?;
        let record = self.heads[at].take();
        match self.sources[at].next() {
            Ok(next) => self.heads[at] = next,
            Err(error) => return Some(Err(error)),
        }
        record.map(Ok)
    }
}

impl Record {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let bytes = |out: &mut dyn Write, bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(bytes)
        };
        bytes(out, &self.path)?;
        let node = &self.node;
        let kind = match node.kind {
            NodeKind::File => 0,
            NodeKind::Directory => 1,
            NodeKind::Symlink => 2,
            NodeKind::Fifo => 3,
        };
        out.write_all(&[kind])?;
        for number in [node.mode, node.uid, node.gid] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(&node.size.to_le_bytes())?;
        bytes(out, node.target.as_deref().unwrap_or_default())?;
        out.write_all(&self.digest.unwrap_or_default())
    }

    /// Reads a record. `None` at the end of the file.
    fn read(run: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match run.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let path = read_bytes(run, u32::from_le_bytes(length))?;
        let [kind] = read_array(run)?;
        let kind = match kind {
            0 => NodeKind::File,
            1 => NodeKind::Directory,
            2 => NodeKind::Symlink,
            _ => NodeKind::Fifo,
        };
        let mut number = || Ok::<_, io::Error>(u32::from_le_bytes(read_array(run)?));
        let (mode, uid, gid) = (number()?, number()?, number()?);
        let size = u64::from_le_bytes(read_array(run)?);
        let length = u32::from_le_bytes(read_array(run)?);
        let target = read_bytes(run, length)?;
        let digest = read_array(run)?;
        Ok(Some(Self {
            path,
            node: Node {
                kind,
                mode,
                uid,
                gid,
                size,
                target: (kind == NodeKind::Symlink).then_some(target),
            },
            digest: (kind == NodeKind::File).then_some(digest),
        }))
    }
}

fn read_array<const N: usize>(run: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    run.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_bytes(run: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = run.take(length.into()).read_to_end(&mut bytes)?;
    if read as u64 == u64::from(length) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The path of an entry from the root of the archive.
pub(crate) fn relative(name: &[u8], root: &[u8]) -> Vec<u8> {
    let mut parts = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .peekable();
    if !root.is_empty() && parts.peek() == Some(&root) {
        parts.next();
    }
    parts.collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of a directory `top` with a file, a hard link to it, and a symbolic link.
    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        builder
            .append_data(&mut header, "top", io::empty())
            .unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_size(3);
        builder
            .append_data(&mut header, "top/z", &b"abc"[..])
            .unwrap();
        header.set_size(0);
        header.set_entry_type(EntryType::Link);
        builder.append_link(&mut header, "top/a", "top/z").unwrap();
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, "top/link", "z").unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn records_are_sorted_and_links_have_their_content() {
        let mut index = ArchiveIndex::read(archive().as_slice(), b"top").unwrap();
        // The same records from a run on disk.
        let in_memory: Vec<Record> = index.sorted().unwrap().map(Result::unwrap).collect();
        index.end_run().unwrap();
        let on_disk: Vec<Record> = index.sorted().unwrap().map(Result::unwrap).collect();
        assert_eq!(in_memory, on_disk);
        let paths: Vec<&[u8]> = on_disk.iter().map(|record| &record.path[..]).collect();
        assert_eq!(paths, [&b""[..], b"a", b"link", b"z"]);
        assert_eq!(on_disk[1].digest, on_disk[3].digest);
        assert_eq!((on_disk[1].node.size, on_disk[1].node.uid), (3, 7));
        assert_eq!(on_disk[2].node.target.as_deref(), Some(&b"z"[..]));
    }

    #[test]
    fn names_are_taken_from_the_root_of_the_archive() {
        for (name, root, expected) in [
            ("./etc/passwd", "", "etc/passwd"),
            ("./", "", ""),
            ("app/app", "app", "app"),
            ("app/", "app", ""),
            ("/etc", "", "etc"),
        ] {
            assert_eq!(
                relative(name.as_bytes(), root.as_bytes()),
                expected.as_bytes()
            );
        }
    }
}
