//! Verifies an archive while sending it to the unpacking helper: decompresses, measures and hashes
//! it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::decompress::Decoder;
use super::local_file::{self, FileError};
use super::plan::ArchiveLocation;
use contree_registry::Digest;

/// The bytes of one write.
const CHUNK_BYTES: usize = 256 * 1024;
/// The decompressed size above which the compression ratio is checked. Smaller archives are
/// harmless.
const MIN_CHECKED_BYTES: u64 = 4 << 30;
/// The highest compression ratio of such an archive. Real archives stay below 20.
const MAX_RATIO: u64 = 250;
/// The most bytes that an archive's headers may add to its files.
const MAX_HEADER_BYTES: u64 = 8 << 30;

/// The digests of a verified archive.
pub(super) struct VerifiedArchive {
    /// The digest of the decompressed archive.
    pub(super) diff: Digest,
    /// The digest of the archive as stored.
    pub(super) packed: Digest,
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
    /// The archive is damaged, its compression is unknown, or it cannot be read.
    #[error("it cannot be decompressed: {0}")]
    Unpack(#[source] io::Error),
    /// The archive does not have the stated digest.
    #[error("its content does not match its digest")]
    WrongDigest,
    /// Its files are larger than an image may be.
    #[error("it is larger than {0} bytes when unpacked")]
    TooLarge(u64),
    /// Its compression ratio is higher than that of any real archive.
    #[error(
        "it looks like a decompression bomb: {packed} bytes decompress to more than {unpacked}"
    )]
    DecompressionBomb { packed: u64, unpacked: u64 },
    /// The archive cannot be written to the helper.
    #[error("it cannot be sent to the helper that unpacks it: {0}")]
    Write(#[source] io::Error),
    /// The helper has ended. Its own error gives the reason.
    #[error("the helper that unpacks it ended too early")]
    Refused,
}

impl VerifyError {
    fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::EndsEarly,
            _ => Self::Unpack(error),
        }
    }
}

/// Writes the decompressed archive to `to` and verifies it. `max_bytes` limits the size of its
/// files.
pub(super) fn copy_verified(
    location: &ArchiveLocation,
    max_bytes: u64,
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
    let failed = VerifyError::reading;
    file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
    let (count, hasher) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Sha256::new())));
    let hashing = |file: File| HashingReader {
        inner: file.take(*length),
        count: Rc::clone(&count),
        hasher: Rc::clone(&hasher),
    };
    let mut rest = hashing(file.try_clone().map_err(failed)?);
    let mut decoder =
        Decoder::new(BufReader::with_capacity(CHUNK_BYTES, hashing(file))).map_err(failed)?;
    let diff = copy_decompressed(&mut decoder, max_bytes, &count, to)?;
    drop(decoder);
    // Both readers share one file position. The digest also covers bytes after the compressed
    // stream, which the decoder leaves unread.
    rest.inner.set_limit(length.saturating_sub(count.get()));
    io::copy(&mut rest, &mut io::sink()).map_err(failed)?;
    if count.get() < *length {
        return Err(VerifyError::EndsEarly);
    }
    let packed = Digest::finish(hasher.borrow().clone());
    if digest.as_ref().is_some_and(|digest| *digest != packed) {
        return Err(VerifyError::WrongDigest);
    }
    Ok(VerifiedArchive { diff, packed })
}

fn copy_decompressed(
    decoder: &mut impl Read,
    max_bytes: u64,
    packed: &Cell<u64>,
    to: &mut impl Write,
) -> Result<Digest, VerifyError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut unpacked: u64 = 0;
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(Digest::finish(hasher)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(VerifyError::reading(error)),
        };
        unpacked += read as u64;
        if let Some(error) = size_error(unpacked, packed.get(), max_bytes) {
            return Err(error);
        }
        hasher.update(&buffer[..read]);
        match to.write_all(&buffer[..read]) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Err(VerifyError::Refused);
            }
            Err(error) => return Err(VerifyError::Write(error)),
        }
    }
}

/// Returns the error for too many decompressed bytes, if there are too many.
fn size_error(unpacked: u64, packed: u64, max_bytes: u64) -> Option<VerifyError> {
    if unpacked > max_bytes.saturating_add(MAX_HEADER_BYTES) {
        return Some(VerifyError::TooLarge(max_bytes));
    }
    (unpacked > MIN_CHECKED_BYTES && unpacked / MAX_RATIO > packed)
        .then_some(VerifyError::DecompressionBomb { packed, unpacked })
}

/// Counts and hashes the bytes that it reads.
struct HashingReader {
    inner: io::Take<File>,
    count: Rc<Cell<u64>>,
    hasher: Rc<RefCell<Sha256>>,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
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

    #[test]
    fn length_and_digest_are_checked() {
        let bytes = b"some archive".repeat(1000);
        let (_file, mut location) = file(&bytes);
        let mut out = Vec::new();
        let verified = copy_verified(&location, 1 << 20, &mut out)
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
            copy_verified(&location, 1 << 20, &mut Vec::new()),
            Err(VerifyError::WrongDigest)
        ));
        if let ArchiveLocation::File { length, .. } = &mut location {
            *length += 100;
        }
        let result = copy_verified(&location, 1 << 20, &mut Vec::new());
        assert!(matches!(result, Err(VerifyError::EndsEarly)));
    }

    #[test]
    fn the_digest_covers_bytes_after_the_compressed_stream() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"text").unwrap();
        let packed = encoder.finish().unwrap();
        let (_file, location) = file(&packed);
        let mut out = Vec::new();
        let verified = copy_verified(&location, 1 << 20, &mut out)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(
            (out.as_slice(), verified.diff),
            (&b"text"[..], Digest::of(b"text"))
        );
    }

    #[test]
    fn decompression_bombs_are_detected() {
        assert!(size_error(MIN_CHECKED_BYTES, 1, u64::MAX).is_none());
        assert!(
            size_error(MIN_CHECKED_BYTES + 250, 1, u64::MAX)
                .unwrap()
                .to_string()
                .contains("bomb")
        );
        assert!(size_error(10 * MIN_CHECKED_BYTES, MIN_CHECKED_BYTES, u64::MAX).is_none());
        assert!(
            size_error(MAX_HEADER_BYTES + 11, MAX_HEADER_BYTES, 10)
                .unwrap()
                .to_string()
                .contains("larger")
        );
    }
}
