//! Decompresses archives: gzip (RFC 1952), Zstandard (RFC 8878) and xz. The first bytes of a file
//! give its format.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

/// The most memory that xz may use, in KiB. Level 9 needs 65 MiB.
const MAX_XZ_MEMORY_KIB: u32 = 256 * 1024;

/// A reader of the decompressed bytes.
pub(super) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
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
        if begins(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip(Box::new(MultiGzDecoder::new(source))));
        }
        if begins(&[0x28, 0xb5, 0x2f, 0xfd]) || (start.len() >= 4 && is_skippable(start)) {
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

/// The decoder of one Zstandard frame, whose magic number was already read.
type ZstdFrame<R> = StreamingDecoder<io::Chain<Cursor<[u8; 4]>, R>, FrameDecoder>;

/// Decodes consecutive Zstandard frames and skips the skippable ones.
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
            if source.fill_buf()?.is_empty() {
                return Ok(FrameState::End);
            }
            let mut magic = [0; 4];
            source.read_exact(&mut magic)?;
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
