//! Limits the decompressed size of archives, so that a small download cannot fill the disk.

/// The decompressed bytes that an image may have whatever the size of its archives.
const ALWAYS_ALLOWED_BYTES: u64 = 512 << 20;
/// The bytes that each byte of an archive may decompress to beyond that. Images of programs have 2
/// to 5, and text has up to 20.
const MAX_RATIO: u64 = 100;
/// The most bytes that an archive's headers may add to its files.
const MAX_HEADER_BYTES: u64 = 8 << 30;

/// The reason why an archive is too large.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SizeError {
    /// Its files are larger than an image may be.
    #[error("it is larger than {0} bytes when unpacked")]
    TooLarge(u64),
    /// Its compression ratio is higher than that of any real image.
    #[error(
        "it looks like a decompression bomb: {packed} bytes decompress to more than {unpacked}, and at most {ALWAYS_ALLOWED_BYTES} bytes and {MAX_RATIO} for each compressed byte are allowed"
    )]
    DecompressionBomb { packed: u64, unpacked: u64 },
}

/// The decompressed size of the archives of one image so far.
#[derive(Clone, Debug)]
pub(super) struct ArchiveSize {
    packed: u64,
    unpacked: u64,
    max_unpacked: u64,
}

impl ArchiveSize {
    /// For archives with `packed` bytes in all, whose files may have `max_bytes`.
    pub(super) fn new(packed: u64, max_bytes: u64) -> Self {
        Self {
            packed,
            unpacked: 0,
            max_unpacked: max_bytes,
        }
    }

    /// Counts decompressed bytes.
    ///
    /// # Errors
    /// Fails if there are too many.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), SizeError> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        if self.unpacked > self.max_unpacked.saturating_add(MAX_HEADER_BYTES) {
            return Err(SizeError::TooLarge(self.max_unpacked));
        }
        let allowed = ALWAYS_ALLOWED_BYTES.saturating_add(self.packed.saturating_mul(MAX_RATIO));
        if self.unpacked > allowed {
            return Err(SizeError::DecompressionBomb {
                packed: self.packed,
                unpacked: self.unpacked,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decompression_bombs_are_detected_early() {
        let packed = 1 << 20;
        let mut size = ArchiveSize::new(packed, u64::MAX);
        assert_eq!(size.add(ALWAYS_ALLOWED_BYTES + MAX_RATIO * packed), Ok(()));
        let error = size.add(1).unwrap_err().to_string();
        assert!(
            error.contains("bomb") && error.contains("1048576 bytes"),
            "{error}"
        );
        // Ten megabytes of a gzip bomb, which decompresses 1,000 to 1.
        let mut size = ArchiveSize::new(10 << 20, 64 << 30);
        assert!(size.add(2 << 30).is_err());
    }

    #[test]
    fn the_layers_of_an_image_count_together() {
        let mut size = ArchiveSize::new(100 * 1024, u64::MAX);
        let layer = ALWAYS_ALLOWED_BYTES / 2;
        assert_eq!((size.add(layer), size.add(layer)), (Ok(()), Ok(())));
        assert!(size.add(layer).is_err());
    }

    #[test]
    fn real_images_stay_below() {
        // A preallocated file of zeros beside a program, and a large image.
        for (packed, unpacked) in [(300 << 10, 500 << 20), (2 << 30, 40 << 30)] {
            let mut size = ArchiveSize::new(packed, 64 << 30);
            assert_eq!(size.add(unpacked), Ok(()));
        }
        let mut size = ArchiveSize::new(1 << 40, 10);
        assert_eq!(size.add(MAX_HEADER_BYTES + 10), Ok(()));
        assert_eq!(size.add(1), Err(SizeError::TooLarge(10)));
    }
}
