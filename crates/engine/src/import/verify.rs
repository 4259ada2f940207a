//! Checking an archive on its way to the helper that unpacks it: decoded, measured and hashed.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::decompress::Decoder;
use super::local_file::{self, FileError};
use super::plan::Content;
use contree_registry::Digest;

/// How much is handed over at once.
const CHUNK: usize = 256 * 1024;
/// From here on the ratio of packing counts: what is smaller harms nobody.
const LARGE: u64 = 4 << 30;
/// How many times larger than when it was packed a large archive may be. Real ones stay below 20.
const RATIO: u64 = 250;
/// What the headers of an archive may take besides its files.
const HEADERS: u64 = 8 << 30;

/// The digests of an archive that went through.
pub(super) struct VerifiedArchive {
    /// Of the unpacked archive.
    pub(super) diff: Digest,
    /// Of the archive as it was.
    pub(super) packed: Digest,
}

/// Why an archive did not go through.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// Its content is still in the registry.
    #[error("a layer was not downloaded")]
    NotDownloaded,
    /// It cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is shorter than was promised, or cut.
    #[error("it ends too early")]
    EndsEarly,
    /// It is damaged, packed in an unknown way, or cannot be read.
    #[error("it cannot be unpacked: {0}")]
    Unpack(#[source] io::Error),
    /// It is not what was promised.
    #[error("it holds something else than its digest says")]
    WrongDigest,
    /// Its files are larger than an image may be.
    #[error("unpacked it is larger than {0} bytes")]
    TooLarge(u64),
    /// It is packed more tightly than any real archive.
    #[error("it looks like a decompression bomb: {packed} bytes give more than {unpacked}")]
    Bomb { packed: u64, unpacked: u64 },
    /// It cannot be handed over.
    #[error("{0}")]
    Write(#[source] io::Error),
    /// The other side has ended, and knows why.
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

/// Writes the unpacked archive to `to`, and checks that it is what was promised. `bytes` bounds the files of the archive.
pub(super) fn copy_verified(
    content: &Content,
    bytes: u64,
    to: &mut impl Write,
) -> Result<VerifiedArchive, VerifyError> {
    let Content::File {
        path,
        offset,
        length,
        digest,
    } = content
    else {
        return Err(VerifyError::NotDownloaded);
    };
    let (mut file, _) = local_file::open(path)?;
    let failed = VerifyError::reading;
    file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
    let (count, hasher) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Sha256::new())));
    let meter = |file: File| Meter {
        inner: file.take(*length),
        count: Rc::clone(&count),
        hasher: Rc::clone(&hasher),
    };
    let mut rest = meter(file.try_clone().map_err(failed)?);
    let mut decoder = Decoder::new(BufReader::with_capacity(CHUNK, meter(file))).map_err(failed)?;
    let diff = pour(&mut decoder, bytes, &count, to)?;
    drop(decoder);
    // Both share one position: what the decoder did not want belongs to the digest as well.
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

fn pour(
    decoder: &mut impl Read,
    bytes: u64,
    packed: &Cell<u64>,
    to: &mut impl Write,
) -> Result<Digest, VerifyError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut unpacked: u64 = 0;
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(Digest::finish(hasher)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(VerifyError::reading(error)),
        };
        unpacked += read as u64;
        if let Some(why) = excess(unpacked, packed.get(), bytes) {
            return Err(why);
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

/// Why so many unpacked bytes are too many.
fn excess(unpacked: u64, packed: u64, bytes: u64) -> Option<VerifyError> {
    if unpacked > bytes.saturating_add(HEADERS) {
        return Some(VerifyError::TooLarge(bytes));
    }
    (unpacked > LARGE && unpacked / RATIO > packed)
        .then_some(VerifyError::Bomb { packed, unpacked })
}

/// Counts and hashes what is read.
struct Meter {
    inner: io::Take<File>,
    count: Rc<Cell<u64>>,
    hasher: Rc<RefCell<Sha256>>,
}

impl Read for Meter {
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

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, Content) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(b"after").unwrap();
        let content = Content::File {
            path: file.path().to_owned(),
            offset: 6,
            length: bytes.len() as u64,
            digest: Some(Digest::of(bytes)),
        };
        (file, content)
    }

    #[test]
    fn what_is_promised_is_checked() {
        let bytes = b"some archive".repeat(1000);
        let (_kept, mut content) = file(&bytes);
        let mut out = Vec::new();
        let fed = copy_verified(&content, 1 << 20, &mut out)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(
            (out, fed.diff, fed.packed),
            (bytes.clone(), Digest::of(&bytes), Digest::of(&bytes))
        );
        if let Content::File { length, .. } = &mut content {
            *length -= 1;
        }
        assert!(matches!(
            copy_verified(&content, 1 << 20, &mut Vec::new()),
            Err(VerifyError::WrongDigest)
        ));
        if let Content::File { length, .. } = &mut content {
            *length += 100;
        }
        let cut = copy_verified(&content, 1 << 20, &mut Vec::new());
        assert!(matches!(cut, Err(VerifyError::EndsEarly)));
    }

    #[test]
    fn what_follows_packed_bytes_belongs_to_the_digest() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"text").unwrap();
        let packed = encoder.finish().unwrap();
        let (_kept, content) = file(&packed);
        let mut out = Vec::new();
        let fed = copy_verified(&content, 1 << 20, &mut out)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(
            (out.as_slice(), fed.diff),
            (&b"text"[..], Digest::of(b"text"))
        );
    }

    #[test]
    fn bombs() {
        assert!(excess(LARGE, 1, u64::MAX).is_none());
        assert!(
            excess(LARGE + 250, 1, u64::MAX)
                .unwrap()
                .to_string()
                .contains("bomb")
        );
        assert!(excess(10 * LARGE, LARGE, u64::MAX).is_none());
        assert!(
            excess(HEADERS + 11, HEADERS, 10)
                .unwrap()
                .to_string()
                .contains("larger")
        );
    }
}
