//! What was read of images by their UUIDs. An image never changes, so nothing here grows old; what was not used for longest
//! makes room.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::now;
use contree_sqlite::DbError;

/// How many bytes all contents may take.
const MOST: i64 = 256 * 1024 * 1024;
/// What an entry costs beside its body, about.
const OVERHEAD: i64 = 256;
/// How old a note of use may be before it is renewed, in milliseconds: most reads are to write nothing.
const FRESH: i64 = 60_000;

/// A part of a file, or another answer about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedContent {
    pub(crate) body: Vec<u8>,
    /// Bytes of the whole.
    pub(crate) whole: u64,
    /// The note of its use should be renewed.
    pub(crate) stale: bool,
}

/// Looks up what was kept under a key.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Option<CachedContent>, DbError> {
    Ok(c.prepare_cached(
        "SELECT body, whole, used_at FROM contents WHERE backend = ?1 AND key = ?2",
    )?
    .query_row([backend, key], |row| {
        Ok(CachedContent {
            body: row.get(0)?,
            whole: row.get(1)?,
            stale: row.get::<_, i64>(2)? < now() - FRESH,
        })
    })
    .optional()?)
}

/// Notes that it was used.
pub(crate) fn touch(c: &Connection, backend: &str, key: &str) -> Result<(), DbError> {
    c.execute(
        "UPDATE contents SET used_at = ?3 WHERE backend = ?1 AND key = ?2",
        params![backend, key, now()],
    )?;
    Ok(())
}

/// Keeps a body, and makes room for it.
pub(crate) fn keep(
    c: &Connection,
    backend: &str,
    key: &str,
    body: &[u8],
    whole: u64,
) -> Result<(), DbError> {
    keep_within(c, backend, key, body, whole, MOST)
}

fn keep_within(
    c: &Connection,
    backend: &str,
    key: &str,
    body: &[u8],
    whole: u64,
    most: i64,
) -> Result<(), DbError> {
    let size = i64::try_from(body.len() + key.len()).unwrap_or(i64::MAX / 2) + OVERHEAD;
    // One entry is not worth all others.
    if size > most / 4 {
        return Ok(());
    }
    c.execute(
        "INSERT OR REPLACE INTO contents (backend, key, body, whole, size, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![backend, key, body, whole, size, now()],
    )?;
    c.execute(
        "DELETE FROM contents WHERE rowid IN (
            SELECT rowid FROM (
                SELECT rowid, sum(size) OVER (ORDER BY used_at DESC, rowid DESC) AS bytes FROM contents
            ) WHERE bytes > ?1
        )",
        [most],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let c = super::super::in_memory().unwrap();
        let body = vec![0; 1000];
        for n in 0..20 {
            keep_within(&c, "b", &n.to_string(), &body, 1000, 10_000).unwrap();
            // Time has a resolution, and the order is what matters here.
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
        keep_within(&c, "b", "huge", &vec![0; 5000], 5000, 10_000).unwrap();
        assert!(find(&c, "b", "huge").unwrap().is_none());
    }
}
