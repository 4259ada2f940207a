-- Sessions of the command line. A session belongs to a backend, and has branches of one history.
CREATE TABLE cli_sessions (
    backend TEXT    NOT NULL,
    -- A directory, or a name.
    key     TEXT    NOT NULL,
    -- The active branch.
    branch  TEXT    NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (backend, key)
) STRICT, WITHOUT ROWID;

-- `tip` is the newest entry of the branch.
CREATE TABLE cli_branches (
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    tip     INTEGER NOT NULL,
    PRIMARY KEY (backend, key, name)
) STRICT, WITHOUT ROWID;

-- Entries of the history. Each has the whole state of the session after it.
CREATE TABLE cli_entries (
    backend   TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    id        INTEGER NOT NULL,
    parent    INTEGER,
    -- use, run, cd or env.
    kind      TEXT    NOT NULL,
    title     TEXT    NOT NULL,
    image     TEXT    NOT NULL,
    operation TEXT,
    cwd       TEXT,
    -- A JSON object.
    env       TEXT    NOT NULL,
    made_at   INTEGER NOT NULL,
    PRIMARY KEY (backend, key, id)
) STRICT, WITHOUT ROWID;
