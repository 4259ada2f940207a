-- The place in sandboxes for the content of a directory. It is null for one file, and for states of
-- earlier releases.
ALTER TABLE states ADD COLUMN destination TEXT;

-- Directory states that runs placed. An operation leads to the image that it made.
CREATE TABLE placements (
    backend   TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    state     INTEGER NOT NULL,
    PRIMARY KEY (backend, operation)
) STRICT, WITHOUT ROWID;
CREATE INDEX placements_state ON placements (state);
