//! Decompresses archives: gzip (RFC 1952), Zstandard (RFC 8878) and xz. The first bytes of a file
//! give its format.

use std::io::{self, BufRead, Cursor, Read};

use contree_registry::push::layer::LayerCompression;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

/// The most memory that xz may use, in KiB. Level 9 needs 65 MiB.
const MAX_XZ_MEMORY_KIB: u32 = 256 * 1024;

/// The first bytes of a gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a Zstandard frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A reader of the decompressed bytes.
pub(super) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<GzipDecoder<R>>),
    Zstd(Box<ZstdDecoder<R>>),
    Xz(Box<XzReader<R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Chooses the decoder by the first bytes of `source`.
    ///
    /// # Errors
    /// Fails if `source` cannot be read or its compression is not supported.
    pub(super) fn new(mut source: R) -> io::Result<Self> {
        // A buffered reader fills its buffer from a file in one read, so `start` has the whole
        // magic number. Input that is shorter is not compressed.
        let start = source.fill_buf()?;
        let begins = |magic: &[u8]| start.starts_with(magic);
        if begins(&GZIP_MAGIC) {
            return Ok(Self::Gzip(Box::new(GzipDecoder::new(source))));
        }
        if begins(&ZSTD_MAGIC) || (start.len() >= 4 && is_skippable(start)) {
            return Ok(Self::Zstd(Box::new(ZstdDecoder::new(source))));
        }
        if begins(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            return Ok(Self::Xz(Box::new(XzReader::new_mem_limit(
                source,
                true,
                MAX_XZ_MEMORY_KIB,
            ))));
        }
        if begins(b"BZh") {
            return Err(io::Error::other(
                "it is compressed with bzip2, which is not supported: use gzip, zstd or xz",
            ));
        }
        Ok(Self::Plain(source))
    }

    /// The compression of the input, if it is one that layers in registries may have.
    pub(super) fn layer_compression(&self) -> Option<LayerCompression> {
        match self {
            Self::Plain(_) => Some(LayerCompression::None),
            Self::Gzip(_) => Some(LayerCompression::Gzip),
            Self::Zstd(_) => Some(LayerCompression::Zstd),
            Self::Xz(_) => None,
        }
    }

    /// Returns whether the input is not compressed.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// Decodes consecutive gzip members, and skips zeros after the last one.
pub(super) struct GzipDecoder<R: BufRead> {
    state: MemberState<R>,
}

/// The position of a decoder among the members.
enum MemberState<R: BufRead> {
    InFirst(GzDecoder<R>),
    InLater(GzDecoder<R>),
    End,
}

impl<R: BufRead> GzipDecoder<R> {
    fn new(source: R) -> Self {
        Self {
            state: MemberState::InFirst(GzDecoder::new(source)),
        }
    }

    fn next_member(mut source: R) -> io::Result<MemberState<R>> {
        match next_byte(&mut source)? {
            None => Ok(MemberState::End),
            // The decoder checks the rest of the header.
            Some(first) if first == GZIP_MAGIC[0] => {
                Ok(MemberState::InLater(GzDecoder::new(source)))
            }
            Some(_) => Err(bytes_after_end()),
        }
    }
}

impl<R: BufRead> Read for GzipDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.state {
                MemberState::InFirst(member) => member.read(buffer)?,
                MemberState::InLater(member) => {
                    let has_header = member.header().is_some();
                    member.read(buffer).map_err(|error| match error.kind() {
                        io::ErrorKind::InvalidInput if !has_header => bytes_after_end(),
                        _ => error,
                    })?
                }
                MemberState::End => 0,
            };
            if read > 0 {
                return Ok(read);
            }
            self.state = match std::mem::replace(&mut self.state, MemberState::End) {
                MemberState::InFirst(member) | MemberState::InLater(member) => {
                    Self::next_member(member.into_inner())?
                }
                MemberState::End => return Ok(0),
            };
        }
    }
}

/// Skips zeros with which a compressed file is padded. Returns the next byte, which stays unread,
/// or `None` at the end of the file.
///
/// # Errors
/// Fails if zeros are followed by something else.
fn next_byte(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    let mut is_padded = false;
    loop {
        let next = match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        match next.iter().position(|byte| *byte != 0) {
            _ if next.is_empty() => return Ok(None),
            Some(0) if !is_padded => return Ok(next.first().copied()),
            Some(_) => return Err(bytes_after_end()),
            None => {
                is_padded = true;
                let zeros = next.len();
                source.consume(zeros);
            }
        }
    }
}

fn bytes_after_end() -> io::Error {
    io::Error::other(
        "other bytes follow the end of the compressed data, where only more of it or zeros may be: \
         the file is damaged, or two files were joined",
    )
}

/// The decoder of one Zstandard frame, whose magic number was already read.
type ZstdFrame<R> = StreamingDecoder<io::Chain<Cursor<[u8; 4]>, R>, FrameDecoder>;

/// Decodes consecutive Zstandard frames. It skips the skippable ones, and zeros after the last one.
pub(super) struct ZstdDecoder<R: BufRead> {
    state: FrameState<R>,
}

/// The position of a decoder among the frames.
enum FrameState<R: BufRead> {
    BetweenFrames(R),
    InFrame(Box<ZstdFrame<R>>),
    End,
}

impl<R: BufRead> ZstdDecoder<R> {
    fn new(source: R) -> Self {
        Self {
            state: FrameState::BetweenFrames(source),
        }
    }

    fn open_next_frame(mut source: R) -> io::Result<FrameState<R>> {
        loop {
            let Some(first) = next_byte(&mut source)? else {
                return Ok(FrameState::End);
            };
            if first != ZSTD_MAGIC[0] && first & 0xf0 != 0x50 {
                return Err(bytes_after_end());
            }
            let mut magic = [0; 4];
            source.read_exact(&mut magic)?;
            if !is_skippable(&magic) && magic != ZSTD_MAGIC {
                return Err(bytes_after_end());
            }
            if is_skippable(&magic) {
                let mut length = [0; 4];
                source.read_exact(&mut length)?;
                let length = u64::from(u32::from_le_bytes(length));
                if io::copy(&mut (&mut source).take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            return StreamingDecoder::new(Cursor::new(magic).chain(source))
                .map(|frame| FrameState::InFrame(Box::new(frame)))
                .map_err(io::Error::other);
        }
    }
}

impl<R: BufRead> Read for ZstdDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.state = match std::mem::replace(&mut self.state, FrameState::End) {
                FrameState::End => return Ok(0),
                FrameState::BetweenFrames(source) => Self::open_next_frame(source)?,
                FrameState::InFrame(mut frame) => match frame.read(buffer)? {
                    0 => FrameState::BetweenFrames(frame.into_inner().into_inner().1),
                    read => {
                        self.state = FrameState::InFrame(frame);
                        return Ok(read);
                    }
                },
            };
        }
    }
}

/// Returns whether these bytes begin a skippable frame (RFC 8878, section 3.1.2).
fn is_skippable(start: &[u8]) -> bool {
    start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18]
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use super::*;

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        // With small reads, a magic number or the end of a frame may lie in two of them.
        let mut out = Vec::new();
        let mut decoder = Decoder::new(BufReader::with_capacity(16, bytes))?;
        decoder.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn consecutive_streams_are_joined() {
        let (one, two) = (b"one ".repeat(5000), b"two".to_vec());
        let whole = [one.clone(), two.clone()].concat();
        assert_eq!(unpack(&whole).unwrap(), whole);
        assert_eq!(unpack(&[gzip(&one), gzip(&two)].concat()).unwrap(), whole);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let frames = [
            skipped.clone(),
            zstd(&one),
            skipped.clone(),
            zstd(&two),
            skipped,
        ]
        .concat();
        assert_eq!(unpack(&frames).unwrap(), whole);
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    /// The word "text", compressed with xz.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\
        \x00\x00\x74\x2f\xe5\xa3\x01\x00\x03\x74\x65\x78\x74\x00\x55\xcd\xe8\x33\
        \xff\x4a\x0c\x17\x00\x01\x1c\x04\x6f\x2c\x9c\xc1\x1f\xb6\xf3\x7d\x01\x00\
        \x00\x00\x00\x04\x59\x5a";

    #[test]
    fn zeros_after_the_end_are_padding() {
        for packed in [gzip(b"text"), zstd(b"text"), XZ.to_vec()] {
            // xz is padded with multiples of four bytes.
            for padding in [4, 512, 10_240] {
                let padded = [packed.clone(), vec![0; padding]].concat();
                assert_eq!(unpack(&padded).unwrap(), b"text", "{padding}");
            }
        }
        let twice = [gzip(b"one "), gzip(b"two"), vec![0; 7]].concat();
        assert_eq!(unpack(&twice).unwrap(), b"one two");
    }

    #[test]
    fn other_bytes_after_the_end_are_an_error() {
        for packed in [gzip(b"text"), zstd(b"text")] {
            for rest in [
                &b"garbage"[..],
                b"x",
                b"\x1f\x1f garbage that begins like gzip",
                b"\0\0\0\0garbage",
                &[vec![0; 100], packed.clone()].concat()[..],
            ] {
                let error = unpack(&[&packed, rest].concat()).unwrap_err();
                let shown = error.to_string();
                assert!(shown.contains("follow the end"), "{shown}");
            }
        }
        // A member that is damaged further on is not taken for other bytes.
        let mut damaged = gzip(&b"text".repeat(1000));
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        let error = unpack(&[gzip(b"text"), damaged].concat()).unwrap_err();
        assert!(!error.to_string().contains("follow the end"), "{error}");
        assert!(unpack(&[XZ, b"garbage"].concat()).is_err());
    }

    #[test]
    fn truncated_or_unknown_input_is_an_error() {
        for packed in [gzip(&b"text".repeat(1000)), zstd(&b"text".repeat(1000))] {
            for cut in [packed.len() - 1, packed.len() / 2, 6] {
                assert!(unpack(&packed[..cut]).is_err(), "{cut} of {}", packed.len());
            }
        }
        assert!(
            unpack(b"BZh9xxxx")
                .unwrap_err()
                .to_string()
                .contains("bzip2")
        );
        assert!(unpack(b"\xfd7zXZ\0garbage").is_err());
    }
}
