-- Steps of Dockerfiles that were built. A key is the hash of all that the result depends on.
CREATE TABLE build_steps (
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    image   TEXT    NOT NULL,
    -- A JSON object about the image, for keys that ask for one.
    config  TEXT,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (backend, key)
) STRICT, WITHOUT ROWID;
