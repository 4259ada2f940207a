//! Writes headers of tar archives in the pax interchange format (POSIX.1-2017, `pax`). A ustar
//! header describes an entry. An extended header before it holds the values that do not fit into
//! ustar.

/// The size of a tar block in bytes.
pub const BLOCK_BYTES: usize = 512;

/// The largest value of an octal field with 8 bytes.
const MAX_ID: u64 = 0o7_777_777;
/// The largest value of an octal field with 12 bytes.
const MAX_SIZE: u64 = 0o77_777_777_777;

/// The type of an entry, with its type-specific values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType<'a> {
    /// A regular file.
    File {
        /// The size of its content in bytes.
        size: u64,
    },
    /// Another name of an earlier file in the archive.
    HardLink {
        /// The name of the earlier file.
        target: &'a [u8],
    },
    /// A symbolic link.
    Symlink {
        /// The path to which it leads.
        target: &'a [u8],
    },
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// A character device.
    CharacterDevice {
        /// Its major and minor number.
        numbers: (u32, u32),
    },
    /// A block device.
    BlockDevice {
        /// Its major and minor number.
        numbers: (u32, u32),
    },
}

/// The header of an entry.
#[derive(Debug, Clone, Copy)]
pub struct TarHeader<'a> {
    /// The path, without a slash at either end.
    pub path: &'a [u8],
    /// The type.
    pub kind: EntryType<'a>,
    /// The permission bits, including set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The modification time in seconds since 1970.
    pub mtime: i64,
    /// The name of the user, or an empty text if the id has no name.
    pub user: &'a str,
    /// The name of the group, or an empty text if the id has no name.
    pub group: &'a str,
    /// The extended attributes with their full names, in order.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

impl TarHeader<'_> {
    /// Appends the header's blocks. The caller writes a file's content and its [`padding`] after
    /// them.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (letter, size, target): (u8, u64, &[u8]) = match self.kind {
            EntryType::File { size } => (b'0', size, b""),
            EntryType::HardLink { target } => (b'1', 0, target),
            EntryType::Symlink { target } => (b'2', 0, target),
            EntryType::Directory => (b'5', 0, b""),
            EntryType::CharacterDevice { .. } => (b'3', 0, b""),
            EntryType::BlockDevice { .. } => (b'4', 0, b""),
            EntryType::Fifo => (b'6', 0, b""),
        };
        let mut path = self.path.to_vec();
        if self.kind == EntryType::Directory {
            path.push(b'/');
        }
        let records = self.pax_records(&path, size, target);
        if !records.is_empty() {
            let mut block = HeaderBlock::new(b"PaxHeaders/entry", b'x');
            block.write_octal(100, 8, 0o644);
            block.write_octal(108, 8, 0);
            block.write_octal(116, 8, 0);
            block.write_octal(124, 12, records.len() as u64);
            block.write_octal(136, 12, 0);
            block.finish(out);
            out.extend_from_slice(&records);
            out.resize(out.len() + padding(records.len() as u64), 0);
        }
        let mut block = HeaderBlock::new(&path, letter);
        block.write_octal(100, 8, u64::from(self.mode & 0o7777));
        block.write_octal(108, 8, u64::from(self.uid).min(MAX_ID));
        block.write_octal(116, 8, u64::from(self.gid).min(MAX_ID));
        block.write_octal(124, 12, size.min(MAX_SIZE));
        let mtime = u64::try_from(self.mtime).unwrap_or_default();
        block.write_octal(136, 12, mtime.min(MAX_SIZE));
        block.write_text(157, 100, target);
        block.write_text(265, 32, self.user.as_bytes());
        block.write_text(297, 32, self.group.as_bytes());
        if let EntryType::CharacterDevice { numbers } | EntryType::BlockDevice { numbers } =
            self.kind
        {
            block.write_octal(329, 8, u64::from(numbers.0).min(MAX_ID));
            block.write_octal(337, 8, u64::from(numbers.1).min(MAX_ID));
        }
        block.finish(out);
    }

    /// The pax records for values that do not fit into the ustar header.
    fn pax_records(&self, path: &[u8], size: u64, target: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        if [path, target]
            .iter()
            .any(|name| std::str::from_utf8(name).is_err())
        {
            push_record(&mut records, "hdrcharset", b"BINARY");
        }
        if !fits(path, 100) {
            push_record(&mut records, "path", path);
        }
        if !fits(target, 100) {
            push_record(&mut records, "linkpath", target);
        }
        if !fits(self.user.as_bytes(), 31) {
            push_record(&mut records, "uname", self.user.as_bytes());
        }
        if !fits(self.group.as_bytes(), 31) {
            push_record(&mut records, "gname", self.group.as_bytes());
        }
        for (name, value, limit) in [
            ("uid", u64::from(self.uid), MAX_ID),
            ("gid", u64::from(self.gid), MAX_ID),
            ("size", size, MAX_SIZE),
        ] {
            if value > limit {
                push_record(&mut records, name, value.to_string().as_bytes());
            }
        }
        if u64::try_from(self.mtime).map_or(true, |mtime| mtime > MAX_SIZE) {
            push_record(&mut records, "mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in self.attributes {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            push_record(&mut records, &key, value);
        }
        records
    }
}

/// The two blocks of zeros that end an archive.
pub const END_OF_ARCHIVE: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// The number of zero bytes after content of this size.
pub fn padding(size: u64) -> usize {
    let remainder = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
    if remainder == 0 {
        0
    } else {
        BLOCK_BYTES - remainder
    }
}

/// Returns whether a ustar field of this length can hold the text. Ustar states no encoding, so
/// only ASCII is portable.
fn fits(text: &[u8], length: usize) -> bool {
    text.len() <= length && text.is_ascii()
}

/// Appends a record `LENGTH NAME=VALUE\n`. The length includes its own digits.
fn push_record(records: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    // A space, an equals sign and a newline.
    let rest = 3 + name.len() + value.len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(name);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A header block of 512 bytes. The offsets and lengths of its fields are those of the "ustar
/// Interchange Format" (POSIX.1-2017, `pax`).
struct HeaderBlock([u8; BLOCK_BYTES]);

impl HeaderBlock {
    fn new(path: &[u8], letter: u8) -> Self {
        let mut block = Self([0; BLOCK_BYTES]);
        block.write_text(0, 100, path);
        block.0[156] = letter;
        block.write_text(257, 8, b"ustar\x0000");
        block.write_octal(329, 8, 0);
        block.write_octal(337, 8, 0);
        block
    }

    fn write_text(&mut self, at: usize, length: usize, text: &[u8]) {
        let used = text.len().min(length);
        self.0[at..at + used].copy_from_slice(&text[..used]);
    }

    fn write_octal(&mut self, at: usize, length: usize, value: u64) {
        let digits = format!("{value:0width$o}", width = length - 1);
        self.write_text(at, length - 1, digits.as_bytes());
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        self.write_text(148, 8, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.write_text(148, 8, format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(path: &'a [u8], kind: EntryType<'a>) -> TarHeader<'a> {
        TarHeader {
            path,
            kind,
            mode: 0o100_644,
            uid: 0,
            gid: 5,
            mtime: 1_700_000_000,
            user: "root",
            group: "",
            attributes: &[],
        }
    }

    #[test]
    fn an_entry_that_fits_ustar_is_one_block() {
        let mut out = Vec::new();
        header(b"etc/hosts", EntryType::File { size: 5 }).write(&mut out);
        assert_eq!(out.len(), BLOCK_BYTES);
        assert_eq!(&out[..10], b"etc/hosts\0");
        assert_eq!(&out[100..108], b"0000644\0");
        assert_eq!(&out[116..124], b"0000005\0");
        assert_eq!(&out[124..136], b"00000000005\0");
        assert_eq!(&out[156..158], b"0\0");
        assert_eq!(&out[257..265], b"ustar\x0000");
        let sum: u32 = out
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        assert_eq!(&out[148..156], format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn larger_values_are_records_before_the_header() {
        let long = [b'x'; 300];
        let mut out = Vec::new();
        TarHeader {
            uid: u32::MAX - 1,
            mtime: -5,
            ..header(&long, EntryType::File { size: MAX_SIZE + 1 })
        }
        .write(&mut out);
        assert_eq!((out.len(), out[156]), (3 * BLOCK_BYTES, b'x'));
        let records = String::from_utf8_lossy(&out[BLOCK_BYTES..2 * BLOCK_BYTES]);
        for line in [
            format!("310 path={}\n", "x".repeat(300)),
            "18 uid=4294967294\n".into(),
            "19 size=8589934592\n".into(),
            "12 mtime=-5\n".into(),
        ] {
            assert!(records.contains(&line), "{records}");
        }
        let mut out = Vec::new();
        header(b"caf\xe9", EntryType::Symlink { target: b"to" }).write(&mut out);
        let records = String::from_utf8_lossy(&out[BLOCK_BYTES..]);
        assert!(
            records.starts_with("21 hdrcharset=BINARY\n13 path=caf"),
            "{records}"
        );
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in 1..2000 {
            let mut records = Vec::new();
            push_record(&mut records, "path", &vec![b'y'; length]);
            let text = String::from_utf8(records.clone()).unwrap();
            let stated: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, records.len());
        }
    }
}
