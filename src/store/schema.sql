-- State of the tools. All rows about a backend are keyed by the backend's identity.

-- Origins of images. `parent` is null for imports.
CREATE TABLE lineage (
    backend   TEXT NOT NULL,
    image     TEXT NOT NULL,
    parent    TEXT,
    operation TEXT,
    kind      TEXT NOT NULL,
    -- The command, or the reference that was imported.
    source    TEXT,
    made_at   TEXT,
    PRIMARY KEY (backend, image)
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_parent ON lineage (backend, parent);

-- Cached contents of images, which never change.
CREATE TABLE contents (
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    body    BLOB    NOT NULL,
    -- Bytes of the whole file, of which `body` may be a part.
    whole   INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (backend, key)
) STRICT;
CREATE INDEX contents_used ON contents (used_at, size);

-- Files that a backend is known to store.
CREATE TABLE uploads (
    backend    TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    uuid       TEXT    NOT NULL,
    -- 1 if the path uploaded last was executable.
    executable INTEGER NOT NULL DEFAULT 0,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (backend, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_uuid ON uploads (backend, uuid);

-- Hashes of files on this machine. They depend on no backend.
CREATE TABLE hashes (
    path    BLOB    PRIMARY KEY,
    device  INTEGER NOT NULL,
    inode   INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    mtime   INTEGER NOT NULL,
    ctime   INTEGER NOT NULL,
    sha256  TEXT    NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Directory states: the files of a directory when it was sent.
CREATE TABLE states (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    backend     TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    -- JSON.
    files       BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    used_at     INTEGER NOT NULL,
    UNIQUE (backend, digest)
) STRICT;

CREATE TABLE credentials (
    backend  TEXT NOT NULL,
    registry TEXT NOT NULL,
    username TEXT NOT NULL,
    secret   TEXT NOT NULL,
    PRIMARY KEY (backend, registry)
) STRICT, WITHOUT ROWID;
