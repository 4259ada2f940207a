-- What pushing images needs to know: the archives of layers, the manifests of imported images, and the results of pushes.

-- The archives of a layer: the one that it was imported from, and those that pushes have made of it. `chain` is the OCI ChainID of the
-- layer with this archive. `source` says where the archive was imported from; it is NULL for an archive that was made here.
CREATE TABLE archives (
    layer      INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
    digest     TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    media_type TEXT    NOT NULL,
    diff_id    TEXT    NOT NULL,
    chain      TEXT    NOT NULL,
    source     TEXT,
    PRIMARY KEY (layer, digest)
) STRICT;
CREATE INDEX archives_chain ON archives (chain);

-- The manifests and configurations with which images were imported, by the digest of the configuration.
CREATE TABLE manifests (
    key        TEXT    PRIMARY KEY,
    layer      INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
    media_type TEXT    NOT NULL,
    manifest   BLOB    NOT NULL,
    config     BLOB    NOT NULL
) STRICT;
CREATE INDEX manifests_layer ON manifests (layer);

-- The results of pushes, as JSON.
CREATE TABLE pushes (
    operation TEXT PRIMARY KEY REFERENCES operations (uuid) ON DELETE CASCADE,
    result    TEXT NOT NULL
) STRICT;
