//! Maps of sparse files: the pieces that the archive holds.

use std::io::{self, Read};

use super::header::{BLOCK, number};
use super::{Archive, TarError};

/// The most pieces of one file.
const MAX_PIECES: usize = 1 << 18;

/// The positions of the content of a file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sparse {
    /// The bytes of the file, including holes.
    pub length: u64,
    /// The offset and length of each piece, in the order of the content.
    pub pieces: Vec<(u64, u64)>,
}

impl Sparse {
    pub(super) fn new(length: u64) -> Self {
        Self {
            length,
            pieces: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), TarError> {
        if self.pieces.len() >= MAX_PIECES {
            return Err(TarError::Damaged("a sparse file of too many pieces"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }

    /// Reads pieces of an old GNU header. Returns false at the end of the list.
    pub(super) fn pieces(&mut self, fields: &[u8]) -> Result<bool, TarError> {
        for field in fields.chunks_exact(24) {
            if field[0] == 0 {
                return Ok(false);
            }
            self.push(number(&field[..12])?, number(&field[12..])?)?;
        }
        Ok(true)
    }

    /// Checks that the pieces are in ascending order, end within the file and have `stored` bytes
    /// in total.
    pub(super) fn check(&self, stored: u64) -> Result<(), TarError> {
        const DAMAGED: TarError =
            TarError::Damaged("the pieces of a sparse file do not fit together");
        let mut end = 0;
        let mut sum = 0_u64;
        for &(offset, length) in &self.pieces {
            if offset < end {
                return Err(DAMAGED);
            }
            end = offset.checked_add(length).ok_or(DAMAGED)?;
            sum += length;
        }
        if end > self.length || sum != stored || self.length > i64::MAX as u64 {
            return Err(DAMAGED);
        }
        Ok(())
    }
}

/// Reads the map before the content: the count, then the offset and length of each piece. Each
/// number is a line, and the map is padded to a block.
pub(super) fn read_map_from_data<R: Read>(
    archive: &mut Archive<R>,
    length: u64,
) -> Result<Sparse, TarError> {
    const DAMAGED: TarError = TarError::Damaged("the map of a sparse file cannot be read");
    let mut lines = MapReader {
        archive,
        block: [0; BLOCK],
        at: BLOCK,
    };
    let count = lines.number()?.ok_or(DAMAGED)?;
    let mut map = Sparse::new(length);
    for _ in 0..count {
        let offset = lines.number()?.ok_or(DAMAGED)?;
        let length = lines.number()?.ok_or(DAMAGED)?;
        map.push(offset, length)?;
    }
    Ok(map)
}

struct MapReader<'a, R> {
    archive: &'a mut Archive<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> MapReader<'_, R> {
    fn number(&mut self) -> io::Result<Option<u64>> {
        let mut number = 0_u64;
        for _ in 0..21 {
            if self.at == BLOCK {
                let mut filled = 0;
                while filled < BLOCK {
                    match self.archive.read_data(&mut self.block[filled..])? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        read => filled += read,
                    }
                }
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            let digit = match byte {
                b'\n' => return Ok(Some(number)),
                b'0'..=b'9' => u64::from(byte - b'0'),
                _ => return Ok(None),
            };
            match number.checked_mul(10).and_then(|n| n.checked_add(digit)) {
                Some(next) => number = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}
