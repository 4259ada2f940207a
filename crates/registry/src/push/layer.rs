//! Compresses the archive of a layer. The same archive gives the same bytes.

use std::io::{self, BufWriter, Read, Write};

use flate2::{Compression as Level, GzBuilder};
use ruzstd::encoding::{CompressionLevel, FrameCompressor};

use crate::{Digest, DigestHasher};

/// The level of gzip. It is a part of the digests of pushed layers, so it stays as it is.
const GZIP_LEVEL: u32 = 3;
/// The number of bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The compression of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerCompression {
    /// No compression.
    None,
    /// gzip, which every program reads.
    #[default]
    Gzip,
    /// Zstandard, which only newer programs read.
    Zstd,
}

impl LayerCompression {
    /// The media type of a layer with this compression.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// The archive of a layer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedLayer {
    /// The media type, which names the compression.
    pub media_type: String,
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The number of stored bytes.
    pub size: u64,
    /// The digest of the decompressed archive.
    pub diff_id: Digest,
}

/// Compresses the archive of a layer from `source` to `target`, in constant memory.
///
/// # Errors
/// Fails if the archive cannot be read, or the target cannot be written.
pub fn compress(
    source: &mut impl Read,
    target: &mut impl Write,
    compression: LayerCompression,
) -> io::Result<PackedLayer> {
    let mut source = HashingReader {
        inner: source,
        hasher: DigestHasher::new(),
        error: None,
    };
    let mut target = HashingWriter {
        inner: BufWriter::with_capacity(CHUNK_BYTES, target),
        hasher: DigestHasher::new(),
        size: 0,
        error: None,
    };
    match compression {
        LayerCompression::None => copy(&mut source, &mut target)?,
        LayerCompression::Gzip => {
            // The header has no name, no time and no operating system.
            let mut encoder = GzBuilder::new()
                .mtime(0)
                .operating_system(255)
                .write(&mut target, Level::new(GZIP_LEVEL));
            copy(&mut source, &mut encoder)?;
            encoder.finish()?;
        }
        LayerCompression::Zstd => {
            let mut encoder = FrameCompressor::new(CompressionLevel::Fastest);
            // The encoder panics on an error, so `ErrorKeeper` keeps it and ignores the rest.
            encoder.set_source(ErrorKeeper(&mut source));
            encoder.set_drain(ErrorKeeper(&mut target));
            encoder.compress();
        }
    }
    if let Some(error) = source.error.take().or(target.error.take()) {
        return Err(error);
    }
    target.inner.flush()?;
    Ok(PackedLayer {
        media_type: compression.media_type().to_owned(),
        digest: target.hasher.finish(),
        size: target.size,
        diff_id: source.hasher.finish(),
    })
}

fn copy(source: &mut impl Read, target: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        target.write_all(&buffer[..read])?;
    }
}

struct HashingReader<'a, R> {
    inner: &'a mut R,
    hasher: DigestHasher,
    /// The error that ended the archive, for a compressor that cannot report one.
    error: Option<io::Error>,
}

impl<R: Read> Read for HashingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

struct HashingWriter<W: Write> {
    inner: BufWriter<W>,
    hasher: DigestHasher,
    size: u64,
    /// The first error, for a compressor that cannot report one. Nothing is written after it.
    error: Option<io::Error>,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A stream that keeps its first error. After it, reads return nothing and writes do nothing.
struct ErrorKeeper<'a, T>(&'a mut T);

impl<R: Read> Read for ErrorKeeper<'_, HashingReader<'_, R>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The compressor expects full buffers, except at the end.
        let mut filled = 0;
        while filled < buffer.len() && self.0.error.is_none() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.0.error = Some(error),
            }
        }
        Ok(filled)
    }
}

impl<W: Write> Write for ErrorKeeper<'_, HashingWriter<W>> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.error.is_none()
            && let Err(error) = self.0.write_all(bytes)
        {
            self.0.error = Some(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Vec<u8> {
        (0..150_000_u32)
            .flat_map(|at| (at / 7).to_le_bytes())
            .collect()
    }

    #[test]
    fn every_compression_gives_the_archive_back_and_the_same_bytes_again() {
        let content = content();
        for compression in [
            LayerCompression::None,
            LayerCompression::Gzip,
            LayerCompression::Zstd,
        ] {
            let mut packed = Vec::new();
            let layer = compress(&mut content.as_slice(), &mut packed, compression).unwrap();
            assert_eq!(layer.diff_id, Digest::of(&content));
            assert_eq!(layer.digest, Digest::of(&packed));
            assert_eq!(layer.size, packed.len() as u64);
            let mut unpacked = Vec::new();
            match compression {
                LayerCompression::None => unpacked.clone_from(&packed),
                LayerCompression::Gzip => {
                    flate2::read::GzDecoder::new(packed.as_slice())
                        .read_to_end(&mut unpacked)
                        .unwrap();
                }
                LayerCompression::Zstd => {
                    ruzstd::decoding::StreamingDecoder::new(packed.as_slice())
                        .unwrap()
                        .read_to_end(&mut unpacked)
                        .unwrap();
                }
            }
            assert_eq!(Digest::of(&unpacked), layer.diff_id, "{compression:?}");
            let again = compress(&mut content.as_slice(), &mut Vec::new(), compression).unwrap();
            assert_eq!(again, layer);
        }
    }

    #[test]
    fn an_error_of_either_side_is_the_result() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for compression in [
            LayerCompression::None,
            LayerCompression::Gzip,
            LayerCompression::Zstd,
        ] {
            let read = compress(&mut Broken, &mut Vec::new(), compression).unwrap_err();
            assert_eq!(read.to_string(), "broken", "{compression:?}");
            let content = content();
            let written = compress(&mut content.as_slice(), &mut Broken, compression).unwrap_err();
            assert_eq!(written.to_string(), "broken", "{compression:?}");
        }
    }
}
