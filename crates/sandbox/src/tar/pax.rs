//! Parses extended headers: records `LENGTH KEY=VALUE\n` (POSIX.1-2017, pax Extended Header).

use super::TarError;
use super::sparse::Sparse;

/// The records of one member.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_length: Option<u64>,
    /// True if the map is before the content (GNU's format 1.0).
    pub(super) sparse_in_data: bool,
    /// The offset of a piece whose length is in the next record (GNU's format 0.0).
    piece: Option<u64>,
}

impl PaxRecords {
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<(), TarError> {
        const DAMAGED: TarError = TarError::Damaged("an extended header cannot be read");
        while !text.is_empty() && text[0] != 0 {
            let space = text.iter().position(|&byte| byte == b' ').ok_or(DAMAGED)?;
            let length = decimal(&text[..space]).and_then(|n| usize::try_from(n).ok());
            let length = length
                .filter(|length| *length > space + 1 && *length <= text.len())
                .ok_or(DAMAGED)?;
            let record = text[space + 1..length].strip_suffix(b"\n").ok_or(DAMAGED)?;
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or(DAMAGED)?;
            self.record(&record[..equals], &record[equals + 1..])
                .ok_or(TarError::Damaged(
                    "a record of an extended header cannot be read",
                ))?;
            text = &text[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(timestamp(value)?),
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse_length = Some(decimal(value)?);
            }
            b"GNU.sparse.major" => self.sparse_in_data = value == b"1",
            b"GNU.sparse.offset" => self.piece = Some(decimal(value)?),
            b"GNU.sparse.numbytes" => {
                let offset = self.piece.take()?;
                self.map().push(offset, decimal(value)?).ok()?;
            }
            b"GNU.sparse.map" => {
                let mut numbers = value.split(|&byte| byte == b',').map(decimal);
                while let Some(offset) = numbers.next() {
                    let length = numbers.next()??;
                    self.map().push(offset?, length).ok()?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }

    fn map(&mut self) -> &mut Sparse {
        self.sparse.get_or_insert_with(|| Sparse::new(0))
    }
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses seconds with decimals, which may be negative.
fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{decimals:0<9.9}").parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        assert_eq!(
            timestamp(b"1700000000.5"),
            Some((1_700_000_000, 500_000_000))
        );
        assert_eq!(timestamp(b"1.1234567891"), Some((1, 123_456_789)));
        assert_eq!(timestamp(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(timestamp(b"7"), Some((7, 0)));
        assert_eq!(timestamp(b"1.x"), None);
        assert_eq!(timestamp(b""), None);
    }

    #[test]
    fn records_with_a_wrong_length_are_refused() {
        for text in [
            "5 a=b",
            "999 a=b\n",
            "0 a=b\n",
            "x a=b\n",
            "6 a=bc\n",
            "7 size=\n",
        ] {
            assert!(
                PaxRecords::default().read(text.as_bytes()).is_err(),
                "{text:?}"
            );
        }
        let mut records = PaxRecords::default();
        records.read(b"10 path=a\n14 size=12345\n").unwrap();
        assert_eq!(
            (records.path, records.size),
            (Some(b"a".to_vec()), Some(12345))
        );
    }
}
