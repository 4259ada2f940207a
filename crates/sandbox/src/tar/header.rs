//! The 512-byte header of a member.

use super::TarError;

pub(super) const BLOCK: usize = 512;

/// A block that should be a header.
#[derive(Debug)]
pub(super) struct HeaderBlock(pub(super) [u8; BLOCK]);

impl HeaderBlock {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// Returns true if the checksum is right. Old writers summed signed bytes.
    pub(super) fn has_valid_checksum(&self) -> bool {
        let Ok(stated) = self.number(148, 8) else {
            return false;
        };
        let byte = |index: usize| {
            if (148..156).contains(&index) {
                b' '
            } else {
                self.0[index]
            }
        };
        let unsigned: u64 = (0..BLOCK).map(|index| u64::from(byte(index))).sum();
        let signed: i64 = (0..BLOCK)
            .map(|index| i64::from(byte(index).cast_signed()))
            .sum();
        stated == unsigned || i64::try_from(stated) == Ok(signed)
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.number(124, 12)
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        Ok((self.number(100, 8)? & 0xffff_ffff) as u32)
    }

    pub(super) fn uid(&self) -> Result<u64, TarError> {
        self.number(108, 8)
    }

    pub(super) fn gid(&self) -> Result<u64, TarError> {
        self.number(116, 8)
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        signed(&self.0[136..148]).ok_or(NUMBER)
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    /// The name with POSIX's prefix. GNU archives use the prefix field for other data.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        if &self.0[257..263] == b"ustar\0" && !prefix.is_empty() {
            return [prefix, b"/", name].concat();
        }
        name.to_vec()
    }

    /// Reads a number that cannot be negative.
    pub(super) fn number(&self, at: usize, length: usize) -> Result<u64, TarError> {
        number(&self.0[at..at + length])
    }
}

const NUMBER: TarError = TarError::Damaged("a number in a header cannot be read");

/// Reads a number that cannot be negative: octal digits, or base 256 if the first bit is set.
pub(super) fn number(field: &[u8]) -> Result<u64, TarError> {
    signed(field)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(NUMBER)
}

fn signed(field: &[u8]) -> Option<i64> {
    match field.first()? {
        0x80.. => {
            // Two's complement; the first byte has one bit less.
            let first = (field[0] << 1).cast_signed() >> 1;
            field[1..]
                .iter()
                .try_fold(i64::from(first), |number, &byte| {
                    number.checked_mul(256)?.checked_add(i64::from(byte))
                })
        }
        _ => {
            let digits = field
                .iter()
                .skip_while(|byte| **byte == b' ')
                .take_while(|byte| !matches!(**byte, b' ' | 0));
            digits
                .copied()
                .try_fold(0_i64, |number, digit| match digit {
                    b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
                    _ => None,
                })
        }
    }
}

/// The bytes up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}
