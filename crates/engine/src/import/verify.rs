//! Verifies an archive while sending it to the unpacking helper: decompresses, measures and hashes
//! it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::rc::Rc;

use super::archive_size::{ArchiveSize, SizeError};
use super::decompress::Decoder;
use super::local_file::{self, FileError};
use super::plan::ArchiveLocation;
use contree_registry::push::layer::LayerCompression;
use contree_registry::{Digest, DigestHasher};

/// The bytes of one write.
const CHUNK_BYTES: usize = 256 * 1024;

/// The digests of a verified archive.
pub(super) struct VerifiedArchive {
    /// The digest of the decompressed archive.
    pub(super) diff: Digest,
    /// The digest of the archive as stored.
    pub(super) packed: Digest,
    /// The compression of the archive, if it is one that layers in registries may have.
    pub(super) compression: Option<LayerCompression>,
}

/// The reason why an archive is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// The archive is still in the registry.
    #[error("a layer was not downloaded")]
    NotDownloaded,
    /// The archive cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// The archive is shorter than stated, or truncated.
    #[error("it ends too early")]
    EndsEarly,
    /// The archive is damaged, or its compression is unknown.
    #[error("it cannot be decompressed: {0}")]
    Unpack(#[source] io::Error),
    /// The archive does not have the stated digest.
    #[error("its content does not match its digest")]
    WrongDigest,
    /// It is too large when decompressed.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The archive cannot be written to the helper.
    #[error("it cannot be sent to the helper that unpacks it: {0}")]
    Write(#[source] io::Error),
    /// The helper has ended. Its own error gives the reason.
    #[error("the helper that unpacks it ended too early")]
    HelperEnded,
}

impl VerifyError {
    fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::EndsEarly,
            _ => Self::Unpack(error),
        }
    }
}

/// Writes the decompressed archive to `to` and verifies it. `size` counts and limits the
/// decompressed bytes.
pub(super) fn copy_verified(
    location: &ArchiveLocation,
    size: &mut ArchiveSize,
    to: &mut impl Write,
) -> Result<VerifiedArchive, VerifyError> {
    let ArchiveLocation::File {
        path,
        offset,
        length,
        digest,
    } = location
    else {
        return Err(VerifyError::NotDownloaded);
    };
    let (mut file, _) = local_file::open(path)?;
    let not_read = FileError::read(path);
    file.seek(SeekFrom::Start(*offset)).map_err(&not_read)?;
    let (count, hasher) = (
        Rc::new(Cell::new(0)),
        Rc::new(RefCell::new(DigestHasher::new())),
    );
    let disk_error = Rc::new(Cell::new(None));
    let hashing = |file: File| HashingReader {
        inner: file.take(*length),
        count: Rc::clone(&count),
        hasher: Rc::clone(&hasher),
        error: Rc::clone(&disk_error),
    };
    let mut rest = hashing(file.try_clone().map_err(&not_read)?);
    // A decoder passes on an error of the disk, or its own.
    let failed = |error| match disk_error.take() {
        Some(source) => not_read(source).into(),
        None => VerifyError::reading(error),
    };
    let mut decoder =
        Decoder::new(BufReader::with_capacity(CHUNK_BYTES, hashing(file))).map_err(failed)?;
    let compression = decoder.layer_compression();
    let diff = copy_decompressed(&mut decoder, size, to, failed)?;
    drop(decoder);
    // Both readers share one file position. The digest also covers bytes after the compressed
    // stream, which the decoder leaves unread.
    rest.inner.set_limit(length.saturating_sub(count.get()));
    io::copy(&mut rest, &mut io::sink()).map_err(failed)?;
    if count.get() < *length {
        return Err(VerifyError::EndsEarly);
    }
    let packed = hasher.borrow().clone().finish();
    if digest.as_ref().is_some_and(|digest| *digest != packed) {
        return Err(VerifyError::WrongDigest);
    }
    Ok(VerifiedArchive {
        diff,
        packed,
        compression,
    })
}

fn copy_decompressed(
    decoder: &mut impl Read,
    size: &mut ArchiveSize,
    to: &mut impl Write,
    failed: impl Fn(io::Error) -> VerifyError,
) -> Result<Digest, VerifyError> {
    let mut hasher = DigestHasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        size.add(read as u64)?;
        hasher.update(&buffer[..read]);
        match to.write_all(&buffer[..read]) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Err(VerifyError::HelperEnded);
            }
            Err(error) => return Err(VerifyError::Write(error)),
        }
    }
}

/// Counts and hashes the bytes that it reads.
struct HashingReader {
    inner: io::Take<File>,
    count: Rc<Cell<u64>>,
    hasher: Rc<RefCell<DigestHasher>>,
    /// The last error of the disk.
    error: Rc<Cell<Option<io::Error>>>,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error.set(Some(error));
            }
            io::Error::from(kind)
        })?;
        self.count.set(self.count.get() + read as u64);
        self.hasher.borrow_mut().update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, ArchiveLocation) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(b"after").unwrap();
        let location = ArchiveLocation::File {
            path: file.path().to_owned(),
            offset: 6,
            length: bytes.len() as u64,
            digest: Some(Digest::of(bytes)),
        };
        (file, location)
    }

    fn size(location: &ArchiveLocation) -> ArchiveSize {
        ArchiveSize::new(location.length(), 1 << 20)
    }

    #[test]
    fn length_and_digest_are_checked() {
        let bytes = b"some archive".repeat(1000);
        let (_file, mut location) = file(&bytes);
        let mut out = Vec::new();
        let verified = copy_verified(&location, &mut size(&location), &mut out)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(
            (out, verified.diff, verified.packed),
            (bytes.clone(), Digest::of(&bytes), Digest::of(&bytes))
        );
        if let ArchiveLocation::File { length, .. } = &mut location {
            *length -= 1;
        }
        assert!(matches!(
            copy_verified(&location, &mut size(&location), &mut Vec::new()),
            Err(VerifyError::WrongDigest)
        ));
        if let ArchiveLocation::File { length, .. } = &mut location {
            *length += 100;
        }
        let result = copy_verified(&location, &mut size(&location), &mut Vec::new());
        assert!(matches!(result, Err(VerifyError::EndsEarly)));
    }

    #[test]
    fn the_digest_covers_bytes_after_the_compressed_stream() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"text").unwrap();
        let packed = encoder.finish().unwrap();
        let (_file, location) = file(&packed);
        let mut out = Vec::new();
        let verified = copy_verified(&location, &mut size(&location), &mut out)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(
            (out.as_slice(), verified.diff),
            (&b"text"[..], Digest::of(b"text"))
        );
        assert_eq!(verified.compression, Some(LayerCompression::Gzip));
    }

    #[test]
    fn a_bomb_is_stopped_before_it_is_unpacked() {
        struct Counter(u64);
        impl Write for Counter {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 8 << 20]).unwrap();
        let (_file, location) = file(&encoder.finish().unwrap());
        let mut written = Counter(0);
        let mut size = ArchiveSize::new(location.length(), 64 << 30);
        // The layers below used up the free space.
        size.add(512 << 20).unwrap();
        let result = copy_verified(&location, &mut size, &mut written);
        assert!(
            matches!(
                result,
                Err(VerifyError::Size(SizeError::DecompressionBomb { .. }))
            ),
            "{:?}",
            result.err()
        );
        assert!(written.0 < 2 << 20, "{} bytes", written.0);
    }

    #[test]
    fn an_error_of_the_disk_is_not_one_of_the_compression() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let mut size = ArchiveSize::new(1, 1);
        let failed = |source| FileError::read("/disk".as_ref())(source).into();
        let error = copy_decompressed(&mut Failing, &mut size, &mut io::sink(), failed)
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with("cannot read /disk: "), "{error}");
    }
}
