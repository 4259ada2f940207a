//! A captured stream.

use std::{borrow::Cow, fmt, str::Utf8Error};

use bytes::Bytes;

/// The recorded part of a command's output to one of its streams.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Captured {
    bytes: Bytes,
    total: u64,
    truncated: bool,
}

/// A captured stream is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output is not UTF-8 text ({0}); use `bytes()`, or `text_lossy()`")]
pub struct NotUtf8(#[source] Utf8Error);

impl Captured {
    pub(crate) fn new(bytes: impl Into<Bytes>, total: u64, truncated: bool) -> Self {
        Self {
            bytes: bytes.into(),
            total,
            truncated,
        }
    }

    /// The recorded bytes, exactly as written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The recorded bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The recorded bytes as text. If the record ends within a character, the text ends before it.
    ///
    /// # Errors
    /// [`NotUtf8`] if the stream is not UTF-8.
    pub fn text(&self) -> Result<&str, NotUtf8> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(text),
            Err(error) if self.truncated && error.error_len().is_none() => {
                let (complete, _) = self.bytes.split_at(error.valid_up_to());
                std::str::from_utf8(complete).map_err(NotUtf8)
            }
            Err(error) => Err(NotUtf8(error)),
        }
    }

    /// The recorded bytes as text, with `�` in place of everything that is not UTF-8.
    pub fn text_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Whether the command wrote more than was recorded.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Number of recorded bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no bytes were recorded.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of bytes that the command wrote. It is the number of recorded bytes unless the
    /// backend reports a larger one.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captured")
            .field("bytes", &self.bytes)
            .field("total", &self.total)
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// Writes the text, with `�` in place of everything that is not UTF-8.
impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text_lossy())
    }
}

impl AsRef<[u8]> for Captured {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_before_a_character_that_was_cut() {
        let cut = |truncated| Captured::new(&"aä".as_bytes()[..2], 3, truncated);
        assert_eq!(cut(true).text(), Ok("a"));
        assert!(cut(false).text().is_err());
        let binary = Captured::new(&b"a\xffb"[..], 3, true);
        assert!(binary.text().is_err());
        assert_eq!(binary.text_lossy(), "a\u{fffd}b");
    }
}
