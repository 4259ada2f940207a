CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- A layer's directory is layers/<id>. `run` is the operation that is committing it, until `ready` is 1. A layer with `stands_for` is
-- a squashed layer: on its parent it shows the same files as the whole chain from `stands_for` down to there. No image names it.
CREATE TABLE layers (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    parent  INTEGER REFERENCES layers (id),
    depth   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    run     TEXT,
    stands_for INTEGER UNIQUE REFERENCES layers (id),
    ready   INTEGER NOT NULL,
    synced  INTEGER NOT NULL,
    boot_id TEXT    NOT NULL,
    chain   TEXT
) STRICT;
CREATE INDEX layers_parent ON layers (parent);
-- The OCI chain id of an imported layer, which identifies it with all layers below it. Images share layers by it.
CREATE UNIQUE INDEX layers_chain ON layers (chain) WHERE chain IS NOT NULL;

CREATE TABLE images (
    uuid       TEXT    PRIMARY KEY,
    layer      INTEGER NOT NULL REFERENCES layers (id),
    env        TEXT    NOT NULL,
    cwd        TEXT    NOT NULL,
    operation  TEXT,
    lost       INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX images_layer ON images (layer);
CREATE INDEX images_created ON images (created_at);

-- Imported images by key: the digest of an image's configuration or of an archive.
CREATE TABLE imports (
    key   TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (uuid) ON DELETE CASCADE
) STRICT;
CREATE INDEX imports_image ON imports (image);

CREATE TABLE tags (
    tag        TEXT    PRIMARY KEY,
    image      TEXT    NOT NULL REFERENCES images (uuid),
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tags_image ON tags (image);

CREATE TABLE files (
    uuid       TEXT    PRIMARY KEY,
    sha256     TEXT    NOT NULL UNIQUE,
    size       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE operations (
    uuid         TEXT    PRIMARY KEY,
    kind         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    error        TEXT,
    image        TEXT,
    result_image TEXT,
    request      TEXT    NOT NULL,
    outcome      TEXT,
    image_size   INTEGER,
    cancel       TEXT,
    -- The socket of the engine that runs it.
    door         TEXT,
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER
) STRICT;
CREATE INDEX operations_created ON operations (created_at);
CREATE INDEX operations_open ON operations (status) WHERE status IN ('PENDING', 'ASSIGNED', 'EXECUTING');
