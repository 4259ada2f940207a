//! SHA-256 digests of contents.

use std::io::{self, Read};

use ring::digest::{Context, Digest as Sum, SHA256};

use crate::Digest;

/// How many bytes are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The SHA-256 digest of a content.
pub fn sha256(content: &[u8]) -> Digest {
    bytes(&ring::digest::digest(&SHA256, content))
}

/// The SHA-256 digest and the size of a content.
///
/// # Errors
/// If the content cannot be read.
pub fn sha256_of(content: &mut impl Read) -> io::Result<(Digest, u64)> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        match content.read(&mut chunk) {
            Ok(0) => return Ok((bytes(&context.finish()), size)),
            Ok(read) => {
                size += read as u64;
                context.update(&chunk[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn bytes(sum: &Sum) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(sum.as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_digest() {
        let content = vec![7; CHUNK_BYTES + 1];
        let (digest, size) = sha256_of(&mut content.as_slice()).unwrap();
        assert_eq!((digest, size), (sha256(&content), content.len() as u64));
        // FIPS 180-4, the example of "abc".
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
