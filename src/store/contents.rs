//! Cache of image contents, keyed by image UUID.
//!
//! An image never changes, so its entries stay valid. When the entries exceed their total size, the
//! ones unused for longest are deleted.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::now;
use contree_sqlite::DatabaseError;

/// Maximum number of bytes that all entries may take together.
const MAX_TOTAL_BYTES: i64 = 256 * 1024 * 1024;
/// Approximate cost of an entry besides its key and body, in bytes.
const ENTRY_OVERHEAD: i64 = 256;
/// Age at which an entry's time of use is renewed, in milliseconds. Most reads thus write nothing.
const USE_RENEWAL_MS: i64 = 60_000;

/// A cached part of a file, or another cached answer about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedContent {
    pub(crate) body: Vec<u8>,
    /// Size of the whole file in bytes.
    pub(crate) file_size: u64,
    /// Whether the entry's time of use should be renewed.
    pub(crate) needs_renewal: bool,
}

/// Finds the entry under a key.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Option<CachedContent>, DatabaseError> {
    Ok(c.prepare_cached(
        "SELECT body, whole, used_at FROM contents WHERE backend = ?1 AND key = ?2",
    )?
    .query_row([backend, key], |row| {
        Ok(CachedContent {
            body: row.get(0)?,
            file_size: row.get(1)?,
            needs_renewal: row.get::<_, i64>(2)? < now() - USE_RENEWAL_MS,
        })
    })
    .optional()?)
}

/// Sets an entry's time of use to now.
pub(crate) fn touch(c: &Connection, backend: &str, key: &str) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE contents SET used_at = ?3 WHERE backend = ?1 AND key = ?2",
        params![backend, key, now()],
    )?;
    Ok(())
}

/// Deletes the entries about an image. Their keys have its UUID in the second line.
pub(crate) fn forget_image(
    c: &Connection,
    backend: &str,
    image: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "DELETE FROM contents WHERE backend = ?1
         AND substr(key, instr(key, char(10)) + 1, length(?2)) = ?2",
        [backend, image],
    )?;
    Ok(())
}

/// Stores a body and deletes the entries unused for longest, down to [`MAX_TOTAL_BYTES`].
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    key: &str,
    body: &[u8],
    file_size: u64,
) -> Result<(), DatabaseError> {
    insert_within(c, backend, key, body, file_size, MAX_TOTAL_BYTES)
}

fn insert_within(
    c: &Connection,
    backend: &str,
    key: &str,
    body: &[u8],
    file_size: u64,
    max_total: i64,
) -> Result<(), DatabaseError> {
    let size = i64::try_from(body.len() + key.len()).unwrap_or(i64::MAX / 2) + ENTRY_OVERHEAD;
    // A single large entry must not displace most others.
    if size > max_total / 4 {
        return Ok(());
    }
    c.execute(
        "INSERT OR REPLACE INTO contents (backend, key, body, whole, size, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![backend, key, body, file_size, size, now()],
    )?;
    c.execute(
        "DELETE FROM contents WHERE rowid IN (
            SELECT rowid FROM (
                SELECT rowid, sum(size) OVER (ORDER BY used_at DESC, rowid DESC) AS bytes FROM contents
            ) WHERE bytes > ?1
        )",
        [max_total],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entries_of_a_deleted_image_are_deleted() {
        let c = super::super::in_memory().unwrap();
        let (one, two) = ("11111111-aaaa", "22222222-bbbb");
        for image in [one, two] {
            for kind in ["list", "read", "grep"] {
                insert(&c, "b", &format!("{kind}\n{image}\n/{one}"), b"x", 1).unwrap();
            }
        }
        forget_image(&c, "b", one).unwrap();
        let left: Vec<String> = c
            .prepare("SELECT key FROM contents")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|key| key.contains(two)), "{left:?}");
    }

    #[test]
    fn the_least_recently_used_entries_are_deleted_first() {
        let c = super::super::in_memory().unwrap();
        let body = vec![0; 1000];
        for n in 0..20 {
            insert_within(&c, "b", &n.to_string(), &body, 1000, 10_000).unwrap();
            // All entries could get the same millisecond; this fixes their order.
            c.execute(
                "UPDATE contents SET used_at = ?1 WHERE key = ?2",
                params![n, n.to_string()],
            )
            .unwrap();
        }
        let sum: i64 = c
            .query_row("SELECT sum(size) FROM contents", [], |row| row.get(0))
            .unwrap();
        assert!(sum <= 10_000, "{sum}");
        assert!(find(&c, "b", "0").unwrap().is_none());
        assert_eq!(find(&c, "b", "19").unwrap().unwrap().body, body);
        assert!(find(&c, "other", "19").unwrap().is_none());
        insert_within(&c, "b", "huge", &vec![0; 5000], 5000, 10_000).unwrap();
        assert!(find(&c, "b", "huge").unwrap().is_none());
    }
}
