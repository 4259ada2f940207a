//! Overlay layers: each names its parent, so an image's chain is followed upwards.

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use contree_sqlite::DbError;

/// One layer, top or below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Names the directory `layers/<id>`.
    pub(crate) id: u64,
    /// The layer below, if any.
    pub(crate) parent: Option<u64>,
    /// Apparent bytes of the layer's own files.
    pub(crate) bytes: u64,
    /// Whether it stands for several layers.
    pub(crate) squashed: bool,
}

/// Reserves an id for a layer that `run` is about to commit on `parent`.
pub(crate) fn reserve(
    c: &Connection,
    parent: Option<u64>,
    run: Uuid,
    boot: &str,
) -> Result<u64, DbError> {
    c.execute(
        "INSERT INTO layers (parent, depth, bytes, run, ready, synced, boot_id)
         VALUES (?1, 1 + coalesce((SELECT depth FROM layers WHERE id = ?1), 0), 0, ?2, 0, 0, ?3)",
        params![parent, run.to_string(), boot],
    )?;
    Ok(c.last_insert_rowid().unsigned_abs())
}

/// Marks a reserved layer as committed.
pub(crate) fn ready(c: &Connection, id: u64, bytes: u64) -> Result<(), DbError> {
    c.execute(
        "UPDATE layers SET ready = 1, run = NULL, bytes = ?2 WHERE id = ?1",
        params![id, bytes],
    )?;
    Ok(())
}

/// Marks a reserved layer of an import as committed, on a parent that may be another than it was reserved for: one with the same
/// content, which another import has made.
pub(crate) fn ready_imported(
    c: &Connection,
    id: u64,
    parent: Option<u64>,
    bytes: u64,
    chain: &str,
) -> Result<(), DbError> {
    c.execute(
        "UPDATE layers SET ready = 1, run = NULL, bytes = ?2, parent = ?3, chain = ?4 WHERE id = ?1",
        params![id, bytes, parent, chain],
    )?;
    Ok(())
}

/// The layer of imported images that is this one with all below it.
pub(crate) fn by_chain(c: &Connection, chain: &str) -> Result<Option<u64>, DbError> {
    let mut statement = c.prepare_cached("SELECT id FROM layers WHERE chain = ?1 AND ready = 1")?;
    Ok(statement.query_row([chain], |row| row.get(0)).optional()?)
}

/// The layers of a run that are not ready, the newest first.
pub(crate) fn of_run(c: &Connection, run: Uuid) -> Result<Vec<u64>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT id FROM layers WHERE run = ?1 AND ready = 0 ORDER BY id DESC")?;
    let rows = statement.query_map([run.to_string()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Layers whose commit was begun and not finished, with the run that began it.
pub(crate) fn unfinished(c: &Connection) -> Result<Vec<(u64, Uuid)>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT id, run FROM layers WHERE ready = 0 ORDER BY id DESC")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, Option<String>>(1)?
                .map(super::uuid)
                .unwrap_or_default(),
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a layer's commit was begun and is not finished.
pub(crate) fn is_unfinished(c: &Connection, id: u64) -> Result<bool, DbError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM layers WHERE id = ?1 AND ready = 0)",
        [id],
        |row| row.get(0),
    )?)
}

/// Forgets a layer that no image uses.
pub(crate) fn forget(c: &Connection, id: u64) -> Result<(), DbError> {
    c.execute("DELETE FROM layers WHERE id = ?1", [id])?;
    Ok(())
}

/// Reserves an id for a layer that is to show on `parent` what `stands_for` shows, in the place of several; none if there is one.
pub(crate) fn reserve_squash(
    c: &Connection,
    stands_for: u64,
    parent: u64,
    run: Uuid,
    boot: &str,
) -> Result<Option<u64>, DbError> {
    let made = c.execute(
        "INSERT OR IGNORE INTO layers (parent, depth, bytes, run, stands_for, ready, synced, boot_id)
         VALUES (?1, 1 + coalesce((SELECT depth FROM layers WHERE id = ?1), 0), 0, ?2, ?3, 0, 0, ?4)",
        params![parent, run.to_string(), stands_for, boot],
    )?;
    Ok((made > 0).then(|| c.last_insert_rowid().unsigned_abs()))
}

/// The chain of a layer, itself first, as it is mounted: what stands for several layers is there in their place.
pub(crate) fn chain(c: &Connection, top: u64) -> Result<Vec<Layer>, DbError> {
    let mut statement = c.prepare_cached(
        "WITH RECURSIVE chain (id, parent, bytes, squashed, step) AS (
             SELECT coalesce(s.id, l.id), CASE WHEN s.id IS NULL THEN l.parent ELSE s.parent END, coalesce(s.bytes, l.bytes), s.id IS NOT NULL, 0
             FROM layers l LEFT JOIN layers s ON s.stands_for = l.id AND s.ready = 1 WHERE l.id = ?1
             UNION ALL
             SELECT coalesce(s.id, l.id), CASE WHEN s.id IS NULL THEN l.parent ELSE s.parent END, coalesce(s.bytes, l.bytes), s.id IS NOT NULL, step + 1
             FROM chain JOIN layers l ON l.id = chain.parent LEFT JOIN layers s ON s.stands_for = l.id AND s.ready = 1
         ) SELECT id, parent, bytes, squashed FROM chain ORDER BY step",
    )?;
    let rows = statement.query_map([top], |row| {
        Ok(Layer {
            id: row.get(0)?,
            parent: row.get(1)?,
            bytes: row.get(2)?,
            squashed: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Committed layers that a sync has not covered yet.
pub(crate) fn unsynced(c: &Connection) -> Result<Vec<u64>, DbError> {
    let mut statement = c.prepare_cached("SELECT id FROM layers WHERE ready = 1 AND synced = 0")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks layers as safe against a power loss.
pub(crate) fn synced(c: &Connection, ids: &[u64]) -> Result<(), DbError> {
    let mut statement = c.prepare_cached("UPDATE layers SET synced = 1 WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

/// Marks the images lost that rest on a layer which was not synced when the machine went down (it was committed under
/// another boot than `boot`). Such a layer's files may be there in part, and are never served.
pub(crate) fn drop_unsynced(c: &Connection, boot: &str) -> Result<usize, DbError> {
    // What stands for others can be made again. Nobody will finish it, so that it is cleared away.
    c.execute(
        "UPDATE layers SET ready = 0, run = NULL WHERE synced = 0 AND boot_id <> ?1 AND stands_for IS NOT NULL",
        [boot],
    )?;
    let lost = c.execute(
        "WITH RECURSIVE gone (id) AS (
             SELECT id FROM layers WHERE synced = 0 AND boot_id <> ?1 AND stands_for IS NULL
             UNION SELECT l.id FROM layers l JOIN gone ON l.parent = gone.id
         ) UPDATE images SET lost = 1 WHERE lost = 0 AND layer IN (SELECT id FROM gone)",
        [boot],
    )?;
    // Nobody is to build on them.
    c.execute(
        "WITH RECURSIVE gone (id) AS (
             SELECT id FROM layers WHERE synced = 0 AND boot_id <> ?1
             UNION SELECT l.id FROM layers l JOIN gone ON l.parent = gone.id
         ) UPDATE layers SET chain = NULL WHERE chain IS NOT NULL AND id IN (SELECT id FROM gone)",
        [boot],
    )?;
    if lost > 0 {
        // The image of this machine's programs can be made again.
        c.execute(
            "DELETE FROM meta WHERE key = 'host_image' AND value IN (SELECT uuid FROM images WHERE lost = 1)",
            [],
        )?;
    }
    Ok(lost)
}
