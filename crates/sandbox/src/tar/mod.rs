//! Reads tar archives from a stream, in constant memory: ustar, GNU (long names, sparse files) and
//! pax (POSIX.1-2017, `pax`). [`TarHeader`] writes the headers of archives.
//!
//! The reader returns a member's data unchecked. The caller decides whether a path is safe to make.

mod header;
mod pax;
mod sparse;
mod writer;

use std::io::{self, Read};

use header::{BLOCK, HeaderBlock};
pub use sparse::Sparse;
pub use writer::{BLOCK_BYTES, END_OF_ARCHIVE, EntryType, TarHeader, padding};

/// The longest extended header in bytes. It holds a path and extended attributes, which the kernel
/// limits to 64 KiB each.
const MAX_EXTENDED_SIZE: u64 = 1 << 20;
/// The most extended headers before one member.
const MAX_EXTENDED_HEADERS: u32 = 16;

/// The error of reading an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The bytes cannot be read, or end too early.
    #[error("{}", read_failure(.0))]
    Io(#[from] io::Error),
    /// A block is not a valid header.
    #[error("the tar archive is damaged: no valid header at byte {0}")]
    Header(u64),
    /// A header has an impossible value.
    #[error("the tar archive is damaged: {0}")]
    Damaged(&'static str),
    /// A member has an unsupported type.
    #[error("the tar archive holds a member of type `{}`, which is not supported", .0.escape_ascii())]
    Type(u8),
}

fn read_failure(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "the tar archive ends too early".to_owned()
    } else {
        format!("read the tar archive: {error}")
    }
}

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberKind {
    /// A regular file. [`Archive::read_data`] reads its content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Member::link`].
    Symlink,
    /// A hard link to [`Member::link`].
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The path, byte for byte.
    pub path: Vec<u8>,
    /// The type.
    pub kind: MemberKind,
    /// The permission bits, including set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// The modification time: seconds and nanoseconds since the Unix epoch.
    pub mtime: (i64, u32),
    /// The bytes of content in the archive.
    pub size: u64,
    /// The target of a link.
    pub link: Vec<u8>,
    /// The extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The positions of the content, in a file with holes.
    pub sparse: Option<Sparse>,
    /// The offset of the content in the archive.
    pub offset: u64,
}

impl Member {
    /// The bytes of the unpacked file, including holes.
    pub fn length(&self) -> u64 {
        self.sparse
            .as_ref()
            .map_or(self.size, |sparse| sparse.length)
    }
}

/// A reader of an archive, from its beginning to its end.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    position: u64,
    /// The unread bytes of the current member's content.
    unread: u64,
    /// The zeros after them, up to the next header.
    padding: u64,
    done: bool,
}

impl<R: Read> Archive<R> {
    /// Reads `source` as an archive.
    pub fn new(source: R) -> Self {
        Self {
            source,
            position: 0,
            unread: 0,
            padding: 0,
            done: false,
        }
    }

    /// Reads the next member and skips unread content of the previous one. Returns `None` at the
    /// end.
    ///
    /// # Errors
    /// When the archive is damaged or cannot be read. Reading cannot continue then.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let mut extended = pax::PaxRecords::default();
        let mut long = LongNames::default();
        for _ in 0..MAX_EXTENDED_HEADERS {
            self.skip_rest()?;
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let size = block.size()?;
            match block.kind() {
                b'x' | b'X' => extended.read(&self.extended_header(size)?)?,
                // Defaults for later members. Producers of images write nothing relevant there.
                b'g' => drop(self.extended_header(size)?),
                b'L' => long.path = Some(header::text(&self.extended_header(size)?).to_vec()),
                b'K' => long.link = Some(header::text(&self.extended_header(size)?).to_vec()),
                b'V' => drop(self.extended_header(size)?),
                kind => return self.member(&block, kind, extended, long).map(Some),
            }
        }
        Err(TarError::Damaged("too many headers before one member"))
    }

    /// Reads content of the current member. Returns 0 at its end.
    ///
    /// # Errors
    /// When the archive cannot be read, or ends within the content.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.unread)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = loop {
            match self.source.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread -= read as u64;
        self.position += read as u64;
        Ok(read)
    }

    /// Returns the source of the archive.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn member(
        &mut self,
        block: &HeaderBlock,
        kind: u8,
        extended: pax::PaxRecords,
        long: LongNames,
    ) -> Result<Member, TarError> {
        let mut size = extended.size.map_or_else(|| block.size(), Ok)?;
        let mut sparse = extended.sparse.clone();
        let path = extended
            .sparse_name
            .clone()
            .or(extended.path)
            .or(long.path)
            .unwrap_or_else(|| block.path());
        let link = extended.link.or(long.link).unwrap_or_else(|| block.link());
        let kind = match kind {
            b'0' | 0 if path.ends_with(b"/") => MemberKind::Directory,
            b'0' | 0 | b'7' => MemberKind::File,
            b'S' => {
                sparse = Some(self.read_old_sparse_map(block)?);
                MemberKind::File
            }
            b'1' => MemberKind::Hardlink,
            b'2' => MemberKind::Symlink,
            b'3' | b'4' => MemberKind::Device,
            b'5' | b'D' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => return Err(TarError::Type(other)),
        };
        // These have no content, whatever their size field says. For links it may be the target's
        // size (POSIX).
        let stored = match kind {
            MemberKind::Symlink | MemberKind::Hardlink | MemberKind::Fifo | MemberKind::Device => 0,
            // GNU incremental archives list the directory's entries as content. Other producers set
            // a size without content.
            MemberKind::Directory if block.kind() != b'D' => 0,
            _ => size,
        };
        self.set_content_size(stored)?;
        if extended.sparse_in_data {
            let length = extended
                .sparse_length
                .ok_or(TarError::Damaged("a sparse file without its size"))?;
            sparse = Some(sparse::read_map_from_data(self, length)?);
            size = self.unread;
        }
        if sparse.is_none() && extended.sparse_length.is_some() {
            // The file is a single hole.
            sparse = Some(Sparse::new(0));
        }
        if let Some(map) = &mut sparse {
            if let Some(length) = extended.sparse_length {
                map.length = length;
            }
            map.check(size)?;
        }
        Ok(Member {
            path,
            kind,
            mode: block.mode()? & 0o7777,
            uid: extended.uid.map_or_else(|| block.uid(), Ok)?,
            gid: extended.gid.map_or_else(|| block.gid(), Ok)?,
            mtime: extended
                .mtime
                .map_or_else(|| block.mtime().map(|at| (at, 0)), Ok)?,
            size: if kind == MemberKind::File { size } else { 0 },
            link,
            xattrs: extended.xattrs,
            sparse: sparse.filter(|_| kind == MemberKind::File),
            offset: self.position,
        })
    }

    /// Reads the map of an old GNU sparse file: four pieces in the header, the others in blocks
    /// after it.
    fn read_old_sparse_map(&mut self, block: &HeaderBlock) -> Result<Sparse, TarError> {
        let mut map = Sparse::new(block.number(483, 12)?);
        let mut more = map.pieces(&block.0[386..482])? && block.0[482] != 0;
        while more {
            let next = self
                .block()?
                .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
            more = map.pieces(&next.0[..504])? && next.0[504] != 0;
        }
        Ok(map)
    }

    /// Reads the next header. Returns `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<HeaderBlock>, TarError> {
        if self.done {
            return Ok(None);
        }
        let at = self.position;
        match self.block()? {
            // Two zero blocks end an archive. Some writers omit one or both.
            Some(block) if block.is_zero() => self.done = true,
            None => self.done = true,
            Some(block) if block.has_valid_checksum() => return Ok(Some(block)),
            Some(_) => return Err(TarError::Header(at)),
        }
        Ok(None)
    }

    fn block(&mut self) -> Result<Option<HeaderBlock>, TarError> {
        let mut block = HeaderBlock([0; BLOCK]);
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block.0[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads the content of an extended header.
    fn extended_header(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED_SIZE {
            return Err(TarError::Damaged("an extended header of more than 1 MiB"));
        }
        self.set_content_size(size)?;
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut filled = 0;
        while filled < content.len() {
            filled += self.read_data(&mut content[filled..])?;
        }
        Ok(content)
    }

    fn set_content_size(&mut self, size: u64) -> Result<(), TarError> {
        if size > i64::MAX as u64 {
            return Err(TarError::Damaged("a member larger than any file can be"));
        }
        self.unread = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut rest = self.unread + self.padding;
        let mut buffer = [0; 16 * BLOCK];
        while rest > 0 {
            let wanted = usize::try_from(rest)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            match self.source.read(&mut buffer[..wanted]) {
                // The padding of the last member may be missing.
                Ok(0) if rest <= self.padding => break,
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => {
                    rest -= read as u64;
                    self.position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        (self.unread, self.padding) = (0, 0);
        Ok(())
    }
}

/// The names from GNU's `L` and `K` members.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests;
